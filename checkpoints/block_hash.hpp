#pragma once
// Checksums by blocks: a reader of any slice verifies what it reads without reading the whole tensor, and several threads
// hash one tensor. docs/formats/checkpoint-sharded.md.
//
// XXH3, because it is the fastest we measured (a core here, from memory: 9 GB/s with the instructions that every x86-64 CPU
// has, 13 with AVX2, which is used where the CPU has it; 64 bits; CRC32C has 32 and needs hardware). It finds accidents,
// not forgers: whoever can write files can hash them.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace flywheel {

/// Every part of a tensor is cut into blocks of this size from its first byte; the last may be shorter.
inline constexpr std::uint64_t hash_block_bytes = std::uint64_t{1} << 20;

constexpr std::uint64_t hash_blocks_in(std::uint64_t bytes) noexcept {
  return bytes / hash_block_bytes + (bytes % hash_block_bytes != 0 ? 1 : 0);
}

/// XXH3, 64 bits, seed 0, of one block.
std::uint64_t block_hash(std::span<const std::byte> block) noexcept;

/// XXH3, 128 bits, seed 0, in canonical (big-endian) form.
struct wide_hash {
  std::array<std::uint8_t, 16> bytes{};
  bool operator==(const wide_hash&) const = default;
  /// 32 lower-case hexadecimal digits.
  std::string hex() const;
};
wide_hash wide_hash_of(std::span<const std::byte> bytes) noexcept;

} // namespace flywheel
