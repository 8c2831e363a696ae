#pragma once
// The bytes of a data file, decompressed: gzip and zstd are told by their first bytes, not by the name.

#include "cluster/base/error.hpp"
#include "cluster/content/digest.hpp"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

namespace flywheel {

/// A stream read once, from its beginning. Not thread-safe.
class byte_source {
public:
  virtual ~byte_source() = default;
  /// Fills `to` completely unless the end comes first; 0 at the end. Damaged or cut-off compression is an error naming
  /// the byte of the file.
  virtual result<std::size_t> read(char* to, std::size_t size) = 0;
  /// Bytes of the file consumed so far, and its size (0: unknown).
  virtual std::uint64_t position() const = 0;
  virtual std::uint64_t size() const = 0;
  /// "none", "gzip" or "zstd".
  virtual std::string_view compression() const = 0;
};

/// Opens a regular file. Every raw byte read is also given to `hash` if there is one (it must outlive the source).
result<std::unique_ptr<byte_source>> open_source(const std::filesystem::path& path, hasher* hash = nullptr);

} // namespace flywheel
