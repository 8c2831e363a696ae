#pragma once
// The seal in a checkpoint file's first 512 bytes. Shared by writer and reader; docs/formats/checkpoint.md.

#include "cluster/base/error.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace flywheel {

inline constexpr std::size_t seal_bytes = 512;
inline constexpr std::uint32_t seal_version = 1;

/// XXH3, 64 bits, seed 0: the hash of tensors and of the seal itself.
std::uint64_t fast_hash(std::span<const std::byte> bytes) noexcept;

/// Hashes the file behind its first 512 bytes and writes the seal there. Does not fsync.
status write_seal(const std::filesystem::path& path, std::uint64_t step);
/// The step, if the file is whole: magic, version, length, hash, and nothing else in the block.
result<std::uint64_t> check_seal(const std::filesystem::path& path);

} // namespace flywheel
