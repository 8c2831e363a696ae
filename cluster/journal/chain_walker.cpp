#include "cluster/journal/chain_walker.hpp"

namespace flywheel {

std::string chain_walker::next(const store::row& r) {
  const auto expected = good_.seq + 1;
  const auto name = [&] { return "entry " + std::to_string(expected); };
  if (r.entry.seq != expected)
    return name() + " is missing: after entry " + std::to_string(good_.seq) + " the journal stores entry " +
           std::to_string(r.entry.seq);
  if (!r.well_formed)
    return name() + " is not stored in the form in which it was written";
  if (hasher_.hash(good_.hash, r.entry) != r.hash)
    return expected == 1 ? name() + " does not match its hash: it was altered"
                         : name() + " does not fit the chain: it, or entry " + std::to_string(good_.seq) +
                               " before it, was altered";
  good_ = {expected, r.hash};
  return {};
}

std::string chain_walker::cannot_read(const std::string& why) const {
  return "entry " + std::to_string(first_bad()) + " cannot be read: " + why;
}

} // namespace flywheel
