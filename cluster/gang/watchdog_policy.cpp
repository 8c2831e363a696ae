#include "cluster/gang/watchdog_policy.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <utility>

namespace flywheel {
namespace {

/// The lower median: robust against up to half of the values being anything.
nanoseconds median(std::vector<nanoseconds> xs) {
  if (xs.empty())
    return {};
  const auto middle = xs.begin() + static_cast<std::ptrdiff_t>((xs.size() - 1) / 2);
  std::nth_element(xs.begin(), middle, xs.end());
  return *middle;
}

std::string rank_name(std::size_t r) { return "rank " + std::to_string(r); }

} // namespace

std::string_view name_of(rank_health h) noexcept {
  switch (h) {
  case rank_health::healthy: return "healthy";
  case rank_health::slow: return "slow";
  case rank_health::hung: return "hung";
  case rank_health::dead: return "dead";
  }
  return "unknown";
}

watchdog_policy::watchdog_policy(int ranks, mono_time start, watchdog_options options) : options_(options), pause_until_(start) {
  FLYWHEEL_ASSERT(ranks > 0, "a gang has ranks");
  ranks_.resize(static_cast<std::size_t>(ranks));
  for (auto& r : ranks_)
    r.since = start;
}

const watchdog_policy::seen& watchdog_policy::of(int rank) const {
  FLYWHEEL_ASSERT(rank >= 0 && static_cast<std::size_t>(rank) < ranks_.size(), "a rank of this gang");
  return ranks_[static_cast<std::size_t>(rank)];
}
watchdog_policy::seen& watchdog_policy::of(int rank) { return const_cast<seen&>(std::as_const(*this).of(rank)); }

void watchdog_policy::learn(seen& r, std::uint64_t step, nanoseconds own, std::size_t window) {
  if (step < r.learnt_through)
    return;
  r.learnt_through = step + 1;
  r.own.push_back(own);
  if (r.own.size() > window)
    r.own.pop_front();
}

void watchdog_policy::took(int rank, std::uint64_t step, nanoseconds own) { learn(of(rank), step, own, options_.window); }

void watchdog_policy::arrived(int rank, std::uint64_t step, mono_time at) {
  auto& r = of(rank);
  if (step < r.step || (step == r.step && r.is_waiting))
    return;
  if (r.has_started && step == r.step && !r.skip_next && at >= r.since)
    learn(r, step, at - r.since, options_.window);
  r.skip_next = false;
  r.step = step;
  r.is_waiting = true;
  r.since = at;
}

void watchdog_policy::finished(int rank, std::uint64_t step, mono_time at) {
  auto& r = of(rank);
  if (step < r.step)
    return;
  r.step = step + 1;
  r.is_waiting = false;
  r.has_started = true;
  r.since = at;
}

void watchdog_policy::ended(int rank, std::string how) {
  if (dead_ >= 0)
    return;
  dead_ = rank;
  how_ = std::move(how);
}

void watchdog_policy::expect_pause(mono_time until) {
  pause_until_ = std::max(pause_until_, until);
  for (auto& r : ranks_)
    r.skip_next = true;
}

nanoseconds watchdog_policy::own_time(int rank) const {
  const auto& own = of(rank).own;
  return median({own.begin(), own.end()});
}

/// How long a rank may work, or all ranks may wait, before that is a hang.
nanoseconds watchdog_policy::patience() const {
  if (options_.fixed.count() > 0 && std::any_of(ranks_.begin(), ranks_.end(), [](const seen& r) { return r.has_started; }))
    return options_.fixed;
  std::vector<nanoseconds> medians;
  for (std::size_t r = 0; r < ranks_.size(); ++r)
    if (ranks_[r].own.size() >= options_.learnt_after)
      medians.push_back(own_time(static_cast<int>(r)));
  if (medians.empty())
    return options_.first_step_max;
  // The slowest learnt time, not the median: a rank with more work is slow, not hung.
  const auto slowest = *std::max_element(medians.begin(), medians.end());
  return std::max(options_.hung_min, nanoseconds{static_cast<std::int64_t>(static_cast<double>(slowest.count()) * options_.hung_factor)});
}

gang_verdict watchdog_policy::judge_hung(mono_time now) const {
  // Whoever is furthest behind holds up the rest: an older step, or the same one and still at work.
  std::size_t last = 0;
  for (std::size_t r = 1; r < ranks_.size(); ++r) {
    const auto &a = ranks_[r], &b = ranks_[last];
    const bool behind = a.step < b.step || (a.step == b.step && !a.is_waiting && b.is_waiting) ||
                        (a.step == b.step && a.is_waiting == b.is_waiting && a.since < b.since);
    if (behind)
      last = r;
  }
  const auto& r = ranks_[last];
  const auto limit = patience();
  const auto stuck = now - std::max(r.since, pause_until_);
  if (stuck <= limit)
    return {};
  const auto numbers = format_duration(stuck) + ", allowed " + format_duration(limit);
  const bool all_wait = std::all_of(ranks_.begin(), ranks_.end(), [&](const seen& s) { return s.is_waiting && s.step == r.step; });
  if (all_wait) {
    auto newest = r.since;
    for (const auto& s : ranks_)
      newest = std::max(newest, s.since);
    if (now - std::max(newest, pause_until_) <= limit)
      return {};
    return {rank_health::hung, -1, "all ranks have been in the collective of step " + std::to_string(r.step) + " for " + numbers};
  }
  return {rank_health::hung, static_cast<int>(last),
          rank_name(last) + (r.is_waiting ? " has been in the collective of step " : " has worked on step ") + std::to_string(r.step) +
              " for " + numbers};
}

gang_verdict watchdog_policy::judge_slow() const {
  gang_verdict worst;
  double worst_factor = options_.slow_factor;
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    std::vector<nanoseconds> others;
    for (std::size_t o = 0; o < ranks_.size(); ++o)
      if (o != r && ranks_[o].own.size() >= options_.learnt_after)
        others.push_back(own_time(static_cast<int>(o)));
    if (others.empty() || ranks_[r].own.size() < options_.learnt_after)
      continue;
    const auto mine = own_time(static_cast<int>(r)), usual = median(others);
    const double factor = static_cast<double>(mine.count()) / static_cast<double>(std::max<std::int64_t>(1, usual.count()));
    if (factor > worst_factor) {
      worst_factor = factor;
      worst = {rank_health::slow, static_cast<int>(r),
               rank_name(r) + " needs " + format_duration(mine) + " a step, the others " + format_duration(usual)};
    }
  }
  return worst;
}

gang_verdict watchdog_policy::judge(mono_time now) const {
  if (dead_ >= 0)
    return {rank_health::dead, dead_, rank_name(static_cast<std::size_t>(dead_)) + " ended: " + how_};
  if (auto hung = judge_hung(now); hung.health != rank_health::healthy)
    return hung;
  if (auto slow = judge_slow(); slow.health != rank_health::healthy)
    return slow;
  return {rank_health::healthy, -1, "every rank is in time"};
}

} // namespace flywheel
