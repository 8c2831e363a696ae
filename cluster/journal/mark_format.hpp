#pragma once
// journal.mark: up to which entry the journal was once known to be whole. It lies outside the database, so that a
// database that lost its end is noticed, and lets open() verify only what came later.

#include "cluster/content/digest.hpp"

#include <optional>

namespace flywheel {

struct journal_mark {
  std::uint64_t seq = 0; ///< this entry was durable ...
  digest hash;           ///< ... and had this hash; 0 and zeros for an empty journal
  bool operator==(const journal_mark&) const = default;
};

/// Three lines of text and their check; see docs/journal.md.
std::string to_text(const journal_mark& mark);
/// Nothing if the text was altered in any way.
std::optional<journal_mark> mark_from_text(std::string_view text);

/// Nothing if there is no mark or it is damaged: then everything has to be verified.
std::optional<journal_mark> read_mark(const std::filesystem::path& folder);
status write_mark(const std::filesystem::path& folder, const journal_mark& mark);

} // namespace flywheel
