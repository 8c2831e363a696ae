#pragma once
// Time and chance of one history: what happens when, told by one seed.

#include "cluster/base/clock.hpp"
#include "cluster/base/random.hpp"
#include "tests/simulation/fibers.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>

namespace flywheel::simulation {

class stage {
public:
  explicit stage(std::uint64_t seed) : random(seed) {}
  mono_time now{1'000'000'000};
  random_source random;

  bool chance(std::uint64_t one_in) { return random.below(one_in) == 0; }
  /// Between the two, any nanosecond.
  nanoseconds between(nanoseconds low, nanoseconds high) {
    return low + nanoseconds{static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>((high - low).count()) + 1))};
  }
  void after(nanoseconds d, std::function<void()> f) { due_.emplace(now + d, std::move(f)); }
  std::optional<mono_time> next() const { return due_.empty() ? std::nullopt : std::optional{due_.begin()->first}; }
  /// What is due now, in order.
  void run_due() {
    while (!due_.empty() && due_.begin()->first <= now) {
      const auto f = std::move(due_.begin()->second);
      due_.erase(due_.begin());
      f();
    }
  }
  /// From inside a fiber.
  void sleep(nanoseconds d) {
    const auto over = std::make_shared<bool>(false);
    after(d, [over] { *over = true; });
    fiber::wait([over] { return *over; });
  }

private:
  std::multimap<mono_time, std::function<void()>> due_;
};

} // namespace flywheel::simulation
