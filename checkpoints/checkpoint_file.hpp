#pragma once
// One checkpoint as one HDF5 file behind a seal. Bytes in docs/formats/checkpoint.md; h5py reads it without our code.
//
// The first 512 bytes (HDF5's user block) are the seal: length and hash of everything after it. It is checked before
// HDF5 parses a byte, because HDF5 1.10 crashes on some damaged files; each tensor has its own hash besides.

#include "checkpoints/checkpoint.hpp"
#include "cluster/base/error.hpp"

#include <filesystem>

namespace flywheel {

/// Writes `path` atomically and durably (temporary file, fsync, rename, fsync of the folder). On error (disk_full,
/// io_failed, invalid_argument for a bad name or shape) nothing at `path` has changed.
status write_checkpoint(const std::filesystem::path& path, const checkpoint& c);

/// Reads everything back, verified. checksum_mismatch: damaged or cut; invalid_format: sealed, but not what we write
/// (links elsewhere, chunks, filters, impossible sizes); incompatible_version; not_found. Memory stays below the file's
/// size. Any thread; HDF5 serialises calls inside.
result<checkpoint> read_checkpoint(const std::filesystem::path& path);

} // namespace flywheel
