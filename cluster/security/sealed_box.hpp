#pragma once
// Anyone may seal, only the holder of the private key may open: how held-out rows get from the data steward to the
// evaluator without any other agent or worker being able to read them.
// X25519 (RFC 7748) + HKDF-SHA256 (RFC 5869) + AES-256-GCM, through OpenSSL. Format in docs/formats/sealed.md.

#include "cluster/base/error.hpp"

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace flywheel {

struct seal_public_key {
  std::array<std::uint8_t, 32> bytes{};
  std::string hex() const;
  static result<seal_public_key> from_hex(std::string_view hex);
};

/// Move-only; wiped on destruction; has no printing. Only the evaluator constructs one.
class seal_private_key {
public:
  /// Reads `path`, or creates it with mode 0600 (atomically) if it does not exist. permission_denied if anybody but
  /// its owner may use the file; checksum_mismatch if it is damaged.
  static result<seal_private_key> load_or_create(const std::filesystem::path& path);
  static result<seal_private_key> generate();
  seal_public_key public_key() const;
  /// checksum_mismatch if the bytes were altered, sealed for another key or for another context.
  result<std::string> open(std::string_view sealed, std::string_view context) const;

  seal_private_key(seal_private_key&&) noexcept;
  seal_private_key& operator=(seal_private_key&&) noexcept;
  ~seal_private_key();

private:
  seal_private_key() = default;
  static status create(const std::filesystem::path& path);
  std::array<std::uint8_t, 32> bytes_{};
};

/// `context` (e.g. the snapshot's name) is authenticated, not stored: a box cannot be passed off as another.
result<std::string> seal(const seal_public_key& to, std::string_view plain, std::string_view context);

} // namespace flywheel
