#pragma once
// SHA-256 names for content. Everything immutable (goals, snapshots, releases, model files) is named by its digest.

#include "cluster/base/error.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace flywheel {

struct digest {
  std::array<std::uint8_t, 32> bytes{};
  auto operator<=>(const digest&) const = default;
  /// 64 lower-case hexadecimal digits.
  std::string hex() const;
  /// The first 12 digits, for people.
  std::string brief() const { return hex().substr(0, 12); }
  static result<digest> from_hex(std::string_view hex);
};

/// SHA-256 (FIPS 180-4) through OpenSSL. One object hashes one message; not thread-safe.
class hasher {
public:
  hasher();
  ~hasher();
  hasher(hasher&&) noexcept;
  hasher& operator=(hasher&&) noexcept;
  hasher& update(std::string_view bytes);
  hasher& update(std::span<const std::byte> bytes);
  /// Length-prefixed, so that ("ab","c") and ("a","bc") differ.
  hasher& field(std::string_view bytes);
  hasher& field(std::uint64_t value);
  /// The digest; the object starts over afterwards.
  digest finish();

private:
  struct impl;
  std::unique_ptr<impl> impl_;
};

digest digest_of(std::string_view bytes);
/// Streams the file; bounded memory.
result<digest> digest_of_file(const std::filesystem::path& path);

} // namespace flywheel
