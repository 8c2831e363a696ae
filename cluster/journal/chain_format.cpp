#include "cluster/journal/chain_format.hpp"

#include "cluster/base/assert.hpp"

#include <limits>

namespace flywheel {
namespace {

template <class Integer> void put(std::string& bytes, Integer value) {
  for (std::size_t i = 0; i < sizeof value; ++i)
    bytes += static_cast<char>(value >> (8 * i));
}

} // namespace

digest chain_hasher::hash(const digest& previous, const chain_entry& entry) {
  bytes_.assign(reinterpret_cast<const char*>(previous.bytes.data()), previous.bytes.size());
  put(bytes_, entry.seq);
  put(bytes_, static_cast<std::uint64_t>(entry.time_ns));
  put(bytes_, entry.epoch);
  for (const auto text : entry.texts) {
    FLYWHEEL_ASSERT(text.size() <= std::numeric_limits<std::uint32_t>::max(), "SQLite holds no text of 4 GiB");
    put(bytes_, static_cast<std::uint32_t>(text.size()));
    bytes_ += text;
  }
  return hasher_.update(bytes_).finish();
}

chain_entry chain_entry_of(const event& e) {
  return {e.seq, e.time.ns, e.epoch, {name_of(e.kind), e.goal, e.step, e.subject, e.key, e.actor, e.text, e.body}};
}

digest rehash(const digest& previous, const event& e) { return chain_hasher{}.hash(previous, chain_entry_of(e)); }

} // namespace flywheel
