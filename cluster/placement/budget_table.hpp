#pragma once
// Slot time, paid in advance: what is reserved and spent is never more than the budget (I9). A pure value.

#include "cluster/base/clock.hpp"
#include "cluster/base/error.hpp"

#include <map>
#include <string>

namespace flywheel {

/// All in slot time: an hour on two whole slots is two hours.
struct account {
  nanoseconds budget{}, reserved{}, spent{};
  nanoseconds left() const noexcept { return budget - reserved - spent; }
};

class budget_table {
public:
  /// Opens an account, or gives an open one another budget. budget_exhausted: less than what is reserved and spent already.
  status open(const std::string& name, nanoseconds budget);
  /// budget_exhausted: more than is left; not_found: no such account. Nothing is reserved then.
  status reserve(const std::string& name, nanoseconds amount);
  /// Takes back a reservation, of which `used` was spent; more than was reserved counts as that much: work is stopped when
  /// its time is over, and what stopping took is not the account's debt.
  void settle(const std::string& name, nanoseconds reserved, nanoseconds used);
  /// Nothing if there is no such account.
  const account* find(const std::string& name) const;
  const std::map<std::string, account>& all() const noexcept { return accounts_; }

private:
  std::map<std::string, account> accounts_;
};

} // namespace flywheel
