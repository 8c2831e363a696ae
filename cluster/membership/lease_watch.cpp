#include "cluster/membership/lease_watch.hpp"

#include "cluster/base/assert.hpp"

#include <algorithm>

namespace flywheel {

namespace {
constexpr std::size_t unanswered_max = 1024; // older ones could only confirm less
}

lease_watch::lease_watch(const lease_watch_rule& rule, mono_time admitted) : rule_(rule), confirmed_(admitted) {
  FLYWHEEL_ASSERT(rule_.drift >= 0 && rule_.drift < 0.5 && rule_.margin < rule_.dead_after / 2, "a lease longer than its margin");
}

void lease_watch::sent(std::uint64_t number, mono_time now) {
  unanswered_.emplace(number, now);
  if (unanswered_.size() > unanswered_max)
    unanswered_.erase(unanswered_.begin());
}

void lease_watch::answered(std::uint64_t number) {
  const auto found = unanswered_.find(number);
  if (found == unanswered_.end())
    return;
  confirmed_ = std::max(confirmed_, found->second);
  unanswered_.erase(unanswered_.begin(), std::next(found));
}

mono_time lease_watch::deadline() const {
  const auto whole = static_cast<double>(rule_.dead_after.count()) * (1 - rule_.drift);
  return confirmed_ + nanoseconds{static_cast<std::int64_t>(whole)} + -rule_.margin;
}

bool lease_watch::holds(mono_time now) {
  if (now >= deadline())
    refused_ = true;
  return !refused_;
}

} // namespace flywheel
