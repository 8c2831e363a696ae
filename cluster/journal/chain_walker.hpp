#pragma once
// Decides, entry by entry, whether what is stored is the chain that was written. Pure: told rows, answers verdicts.

#include "cluster/journal/journal_store.hpp"

namespace flywheel {

class chain_walker {
public:
  /// Continues after a known good entry; the default is the journal's beginning.
  explicit chain_walker(store::tail from = {}) : good_(from) {}

  /// Empty if `r` is the entry that follows; else a sentence about what is wrong. first_bad() is then the culprit's seq.
  std::string next(const store::row& r);
  /// As next(), for the case that the stored rows end or cannot be read here.
  std::string cannot_read(const std::string& why) const;

  const store::tail& good() const noexcept { return good_; }  ///< the last entry that fitted
  std::uint64_t first_bad() const noexcept { return good_.seq + 1; }

private:
  store::tail good_;
  chain_hasher hasher_;
};

} // namespace flywheel
