#pragma once
// A budget that cannot be overdrawn: reserve before spending, settle afterwards; reserved + spent <= budget, always (I9).
// A value: copy it, compare it, rebuild it from the journal. Amounts are whole nanoseconds, so that sums are exact.

#include "cluster/base/error.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

namespace flywheel {

using std::chrono::nanoseconds;

struct budget_limits {
  std::uint64_t trials = 40;
  nanoseconds wall_time = std::chrono::minutes{10}; ///< of running, not of being switched off; <= 0 means none is left
  double slot_seconds = 1200;
};

struct budget_use {
  std::uint64_t trials = 0;
  nanoseconds slots{0}; ///< time on a slot, summed over slots
  bool operator==(const budget_use&) const = default;
};

struct budget_verdict {
  bool granted = false;
  std::string reason; ///< what is left, or what ran out, in numbers
};

class budget_ledger {
public:
  explicit budget_ledger(const budget_limits& limits);

  /// Sets `amount` aside under `key`. Refused if it is more than what is left. The same key again: granted and counted
  /// once, if the amount is the same or the key is settled already.
  budget_verdict reserve(const std::string& key, const budget_use& amount);
  /// What was really used; the rest of the reservation is free again. Settling twice counts once. What exceeds the
  /// reservation is taken from what is left; what exceeds even that is recorded as overrun and never as spent.
  /// not_found if the key was never reserved; invalid_argument if `used` is negative.
  status settle(const std::string& key, const budget_use& used);

  budget_use reserved() const noexcept { return reserved_; }
  budget_use spent() const noexcept { return spent_; }
  budget_use left() const noexcept;
  nanoseconds overrun() const noexcept { return overrun_; }
  nanoseconds slot_limit() const noexcept { return slots_; }
  std::uint64_t trial_limit() const noexcept { return trials_; }
  /// What is reserved under `key` and not yet settled; zero otherwise.
  budget_use open(const std::string& key) const;

private:
  struct entry {
    budget_use amount;
    bool settled = false;
  };
  std::uint64_t trials_;
  nanoseconds slots_;
  budget_use reserved_, spent_;
  nanoseconds overrun_{0};
  std::map<std::string, entry> entries_;
};

} // namespace flywheel
