#include "cluster/content/digest.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/content/file.hpp"

#include <openssl/evp.h>

#include <bit>
#include <vector>

namespace flywheel {
namespace {

/// Fetched once for the process: a fetch walks OpenSSL's provider tables and costs more than hashing a short message.
const EVP_MD* sha256() {
  static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  FLYWHEEL_ASSERT(algorithm != nullptr, "OpenSSL's default provider has SHA-256");
  return algorithm;
}

constexpr std::string_view hex_digits = "0123456789abcdef";

int nibble(char c) noexcept {
  if (c >= '0' && c <= '9')
    return c - '0';
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  return -1;
}

} // namespace

std::string digest::hex() const {
  std::string text;
  text.reserve(2 * bytes.size());
  for (const auto b : bytes) {
    text += hex_digits[b >> 4];
    text += hex_digits[b & 15];
  }
  return text;
}

result<digest> digest::from_hex(std::string_view hex) {
  digest d;
  const auto bad = [] {
    return error{errc::invalid_format, "a digest is 64 lower-case hexadecimal digits"};
  };
  if (hex.size() != 2 * d.bytes.size())
    return bad();
  for (std::size_t i = 0; i < d.bytes.size(); ++i) {
    const int high = nibble(hex[2 * i]);
    const int low = nibble(hex[2 * i + 1]);
    if (high < 0 || low < 0)
      return bad();
    d.bytes[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return d;
}

struct hasher::impl {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  impl() {
    FLYWHEEL_ASSERT(context != nullptr, "memory for one SHA-256 state");
    start(sha256());
  }
  ~impl() { EVP_MD_CTX_free(context); }
  impl(const impl&) = delete;
  impl& operator=(const impl&) = delete;

  /// With no algorithm the context keeps the one it has, which spares its setup.
  void start(const EVP_MD* algorithm) {
    const int ok = EVP_DigestInit_ex2(context, algorithm, nullptr);
    FLYWHEEL_ASSERT(ok == 1, "SHA-256 starts");
  }
};

hasher::hasher() : impl_(std::make_unique<impl>()) {}
hasher::~hasher() = default;
hasher::hasher(hasher&&) noexcept = default;
hasher& hasher::operator=(hasher&&) noexcept = default;

hasher& hasher::update(std::string_view bytes) {
  FLYWHEEL_ASSERT(impl_ != nullptr, "a moved-from hasher is not used");
  const int ok = EVP_DigestUpdate(impl_->context, bytes.data(), bytes.size());
  FLYWHEEL_ASSERT(ok == 1, "SHA-256 takes bytes");
  return *this;
}

hasher& hasher::update(std::span<const std::byte> bytes) {
  return update(std::string_view{reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

hasher& hasher::field(std::string_view bytes) { return field(std::uint64_t{bytes.size()}).update(bytes); }

hasher& hasher::field(std::uint64_t value) {
  std::array<char, 8> little_endian{};
  for (std::size_t i = 0; i < little_endian.size(); ++i)
    little_endian[i] = static_cast<char>(value >> (8 * i));
  return update(std::string_view{little_endian.data(), little_endian.size()});
}

digest hasher::finish() {
  FLYWHEEL_ASSERT(impl_ != nullptr, "a moved-from hasher is not used");
  digest d;
  const int ok = EVP_DigestFinal_ex(impl_->context, d.bytes.data(), nullptr);
  FLYWHEEL_ASSERT(ok == 1, "SHA-256 finishes");
  impl_->start(nullptr);
  return d;
}

digest digest_of(std::string_view bytes) {
  thread_local hasher h;
  return h.update(bytes).finish();
}

result<digest> digest_of_file(const std::filesystem::path& path) {
  FLYWHEEL_TRY(auto file, open_regular_file(path));
  std::vector<char> buffer(std::size_t{256} << 10);
  hasher h;
  for (;;) {
    FLYWHEEL_TRY(const auto got, read_some(file.get(), buffer.data(), buffer.size(), path));
    if (got == 0)
      return h.finish();
    h.update(std::string_view{buffer.data(), got});
  }
}

} // namespace flywheel
