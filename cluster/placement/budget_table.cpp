#include "cluster/placement/budget_table.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>

namespace flywheel {

status budget_table::open(const std::string& name, nanoseconds budget) {
  const auto found = accounts_.find(name);
  const auto bound = found == accounts_.end() ? nanoseconds{} : found->second.reserved + found->second.spent;
  if (budget < bound)
    return error{errc::budget_exhausted, format_duration(bound) + " are reserved or spent already, more than " + format_duration(budget), name,
                 "choose a larger budget"};
  accounts_[name].budget = budget;
  return {};
}

status budget_table::reserve(const std::string& name, nanoseconds amount) {
  FLYWHEEL_ASSERT(amount.count() >= 0, "a reservation is not negative");
  const auto found = accounts_.find(name);
  if (found == accounts_.end())
    return error{errc::not_found, "it has no budget", name, "submit the goal first"};
  if (amount > found->second.left())
    return error{errc::budget_exhausted, format_duration(amount) + " of slot time are wanted, and " + format_duration(found->second.left()) + " are left", name,
                 "raise goal.search.budget, or let other trials end"};
  found->second.reserved += amount;
  return {};
}

void budget_table::settle(const std::string& name, nanoseconds reserved, nanoseconds used) {
  const auto found = accounts_.find(name);
  FLYWHEEL_ASSERT(found != accounts_.end() && reserved <= found->second.reserved, "a reservation that was made");
  found->second.reserved -= reserved;
  found->second.spent += std::clamp(used, nanoseconds{}, reserved);
}

const account* budget_table::find(const std::string& name) const {
  const auto found = accounts_.find(name);
  return found == accounts_.end() ? nullptr : &found->second;
}

} // namespace flywheel
