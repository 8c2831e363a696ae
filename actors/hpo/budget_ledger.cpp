#include "actors/hpo/budget_ledger.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>
#include <cmath>

namespace flywheel {
namespace {

/// Seconds as nanoseconds, bounded far from overflow (146 years); not a number counts as nothing.
nanoseconds bounded(double seconds) {
  constexpr double most = 4.6e18;
  const double ns = seconds * 1e9;
  return nanoseconds{ns > 0 ? static_cast<std::int64_t>(std::min(ns, most)) : 0};
}

} // namespace

budget_ledger::budget_ledger(const budget_limits& limits)
    : trials_(limits.trials), slots_(bounded(limits.slot_seconds)) {}

budget_use budget_ledger::left() const noexcept {
  return {trials_ - reserved_.trials - spent_.trials, slots_ - reserved_.slots - spent_.slots};
}

budget_use budget_ledger::open(const std::string& key) const {
  const auto it = entries_.find(key);
  return it == entries_.end() || it->second.settled ? budget_use{} : it->second.amount;
}

budget_verdict budget_ledger::reserve(const std::string& key, const budget_use& amount) {
  if (const auto it = entries_.find(key); it != entries_.end()) {
    if (it->second.settled || it->second.amount == amount)
      return {true, "reserved before"};
    return {false, "\"" + key + "\" is reserved already with another amount"};
  }
  if (amount.slots < nanoseconds{0})
    return {false, "a negative amount cannot be reserved"};
  const auto free = left();
  if (amount.trials > free.trials)
    return {false, "all " + std::to_string(trials_) + " trials of the budget are used"};
  if (amount.slots > free.slots)
    return {false, format_duration(amount.slots) + " of slot time was asked for and " + format_duration(free.slots) +
                       " of " + format_duration(slots_) + " are left"};
  entries_.emplace(key, entry{amount, false});
  reserved_.trials += amount.trials;
  reserved_.slots += amount.slots;
  const auto now = left();
  return {true, "leaves " + std::to_string(now.trials) + " of " + std::to_string(trials_) + " trials and " +
                    format_duration(now.slots) + " of " + format_duration(slots_) + " slot time"};
}

status budget_ledger::settle(const std::string& key, const budget_use& used) {
  const auto it = entries_.find(key);
  if (it == entries_.end())
    return {errc::not_found, "nothing was reserved under \"" + printable(key) + "\""};
  if (used.slots < nanoseconds{0})
    return {errc::invalid_argument, "\"" + printable(key) + "\" cannot have used a negative time"};
  if (it->second.settled)
    return success();
  it->second.settled = true;
  reserved_.trials -= it->second.amount.trials;
  reserved_.slots -= it->second.amount.slots;
  const auto free = left();
  const auto charged = std::min(used.slots, free.slots);
  spent_.slots += charged;
  overrun_ += used.slots - charged;
  spent_.trials += std::min(used.trials, free.trials);
  return success();
}

} // namespace flywheel
