#include "cluster/base/clock.hpp"

#include "cluster/base/clock_skew.hpp"

#include <array>
#include <atomic>
#include <cstdio>
#include <ctime>

namespace flywheel {
namespace {

std::int64_t read_ns(clockid_t id) {
  timespec t{};
  ::clock_gettime(id, &t);
  return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

// Lock-free, so that a signal handler may still read the clock.
std::atomic<std::int64_t> skew_ns{0}, skewed_until_ns{0};
static_assert(std::atomic<std::int64_t>::is_always_lock_free);

class machine_clock final : public time_source {
public:
  wall_time wall() const override {
    const auto skew = skew_ns.load(std::memory_order_acquire);
    return {read_ns(CLOCK_REALTIME) + (skew != 0 && read_ns(CLOCK_MONOTONIC) < skewed_until_ns.load(std::memory_order_relaxed) ? skew : 0)};
  }
  mono_time mono() const override { return {read_ns(CLOCK_MONOTONIC)}; }
};

} // namespace

const time_source& system_clock() {
  static const machine_clock instance;
  return instance;
}

void skew_wall_clock(nanoseconds by, nanoseconds lasting) noexcept {
  skew_ns.store(0, std::memory_order_release);
  skewed_until_ns.store(read_ns(CLOCK_MONOTONIC) + lasting.count(), std::memory_order_relaxed);
  skew_ns.store(by.count(), std::memory_order_release);
}

std::string to_iso8601(wall_time t) {
  const std::time_t seconds = static_cast<std::time_t>(t.ns / 1'000'000'000);
  const int millis = static_cast<int>(t.ns / 1'000'000 % 1000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900,
                parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, millis);
  return text.data();
}

} // namespace flywheel
