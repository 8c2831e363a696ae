#pragma once
// The bytes that an entry's hash covers. Shared by writer, reader and verifier; described for people in docs/journal.md
// and pinned by a golden test: a journal written today must verify for ever.

#include "cluster/journal/event.hpp"

#include <array>

namespace flywheel {

/// The texts of an entry in the order in which they are hashed and stored.
enum chain_text : std::size_t { text_kind, text_goal, text_step, text_subject, text_key, text_actor, text_text, text_body };
inline constexpr std::size_t chain_texts = 8;

/// An entry without owning its texts.
struct chain_entry {
  std::uint64_t seq = 0;
  std::int64_t time_ns = 0;
  std::uint64_t epoch = 0;
  std::array<std::string_view, chain_texts> texts{};
};

/// Makes the hash of one entry after the other; reuses its memory. Not thread-safe.
class chain_hasher {
public:
  /// SHA-256 over: previous hash (32 bytes), seq, time in ns, epoch (8 bytes each, little endian), then each text as its
  /// length (4 bytes, little endian) and its bytes. The first entry's previous hash is 32 zero bytes.
  digest hash(const digest& previous, const chain_entry& entry);

private:
  std::string bytes_;
  hasher hasher_;
};

/// The entry that `e` is; the texts point into `e`.
chain_entry chain_entry_of(const event& e);
/// What e.hash must be if the entry before it has the hash `previous`.
digest rehash(const digest& previous, const event& e);

} // namespace flywheel
