#include "cluster/base/clock.hpp"

#include <array>
#include <cstdio>
#include <ctime>

namespace flywheel {
namespace {

std::int64_t read_ns(clockid_t id) {
  timespec t{};
  ::clock_gettime(id, &t);
  return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

class machine_clock final : public time_source {
public:
  wall_time wall() const override { return {read_ns(CLOCK_REALTIME)}; }
  mono_time mono() const override { return {read_ns(CLOCK_MONOTONIC)}; }
};

} // namespace

const time_source& system_clock() {
  static const machine_clock instance;
  return instance;
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
