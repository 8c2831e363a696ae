#include "checkpoints/block_hash.hpp"

#include "checkpoints/block_hash_avx2.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstring>

namespace flywheel {

std::uint64_t block_hash(std::span<const std::byte> block) noexcept {
#ifdef __x86_64__
  static const bool has_avx2 = __builtin_cpu_supports("avx2") != 0;
  if (has_avx2)
    return block_hash_avx2(block.data(), block.size());
#endif
  return XXH3_64bits(block.data(), block.size());
}

std::string wide_hash::hex() const {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const auto b : bytes) {
    text += digits[b >> 4];
    text += digits[b & 15];
  }
  return text;
}

wide_hash wide_hash_of(std::span<const std::byte> bytes) noexcept {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  wide_hash h;
  std::memcpy(h.bytes.data(), canonical.digest, h.bytes.size());
  return h;
}

} // namespace flywheel
