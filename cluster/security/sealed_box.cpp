#include "cluster/security/sealed_box.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/content/digest.hpp"
#include "cluster/content/file.hpp"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <memory>
#include <span>
#include <sys/stat.h>
#include <unistd.h>

namespace flywheel {
namespace {

namespace fs = std::filesystem;

// The bytes of a box and of a key file: docs/formats/sealed.md.
constexpr std::string_view box_magic = "FLYSEAL1";
constexpr std::string_view key_magic = "FLYKEY1\n";
constexpr std::string_view key_purpose = "flywheel sealed box v1";
constexpr std::size_t point_size = 32;
constexpr std::size_t tag_size = 16;
constexpr std::size_t nonce_size = 12;
constexpr std::size_t header_size = box_magic.size() + point_size;

using secret32 = std::array<std::uint8_t, 32>;

template <auto Free> struct freed_by {
  template <class T> void operator()(T* p) const { Free(p); }
};
using pkey_ptr = std::unique_ptr<EVP_PKEY, freed_by<EVP_PKEY_free>>;
using pkey_ctx_ptr = std::unique_ptr<EVP_PKEY_CTX, freed_by<EVP_PKEY_CTX_free>>;
using cipher_ctx_ptr = std::unique_ptr<EVP_CIPHER_CTX, freed_by<EVP_CIPHER_CTX_free>>;
using kdf_ptr = std::unique_ptr<EVP_KDF, freed_by<EVP_KDF_free>>;
using kdf_ctx_ptr = std::unique_ptr<EVP_KDF_CTX, freed_by<EVP_KDF_CTX_free>>;

/// Bytes that are overwritten when they go out of scope.
template <std::size_t N> struct wiped {
  std::array<std::uint8_t, N> bytes{};
  wiped() = default;
  wiped(const wiped&) = delete;
  wiped& operator=(const wiped&) = delete;
  ~wiped() { OPENSSL_cleanse(bytes.data(), bytes.size()); }
};

error openssl_failed(const char* call) { return error{errc::library_failed, std::string{"OpenSSL: "} + call}; }

error not_genuine() {
  return error{errc::checksum_mismatch, "the sealed bytes were altered, or sealed for another key or context"};
}

std::string_view text_of(std::span<const std::uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
const std::uint8_t* raw(std::string_view text) { return reinterpret_cast<const std::uint8_t*>(text.data()); }
std::uint8_t* raw(std::string& text) { return reinterpret_cast<std::uint8_t*>(text.data()); }

/// RFC 7748, section 5: the bits that every X25519 scalar has. Done before storing, so that the stored form is unique.
void clamp(secret32& scalar) {
  scalar[0] &= 248;
  scalar[31] = static_cast<std::uint8_t>((scalar[31] & 127) | 64);
}
bool is_clamped(const secret32& scalar) { return (scalar[0] & 7) == 0 && (scalar[31] & 192) == 64; }

status random_scalar(secret32& scalar) {
  if (RAND_priv_bytes(scalar.data(), static_cast<int>(scalar.size())) != 1)
    return openssl_failed("RAND_priv_bytes");
  clamp(scalar);
  return success();
}

result<seal_public_key> public_of(const secret32& scalar) {
  const pkey_ptr own{EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, scalar.data(), scalar.size())};
  seal_public_key key;
  std::size_t size = key.bytes.size();
  if (!own || EVP_PKEY_get_raw_public_key(own.get(), key.bytes.data(), &size) != 1 || size != point_size)
    return openssl_failed("X25519 public key");
  return key;
}

/// X25519; fails for points of small order, whose shared secret everybody knows.
status agree(const secret32& scalar, std::span<const std::uint8_t> point, secret32& shared) {
  const pkey_ptr own{EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, scalar.data(), scalar.size())};
  const pkey_ptr peer{EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, point.data(), point.size())};
  const pkey_ctx_ptr context{own ? EVP_PKEY_CTX_new(own.get(), nullptr) : nullptr};
  std::size_t size = shared.size();
  if (!context || !peer || EVP_PKEY_derive_init(context.get()) != 1 ||
      EVP_PKEY_derive_set_peer(context.get(), peer.get()) != 1 ||
      EVP_PKEY_derive(context.get(), shared.data(), &size) != 1 || size != shared.size())
    return error{errc::invalid_argument, "this is not a usable X25519 public key"};
  return success();
}

struct box_keys {
  wiped<32 + nonce_size> material; ///< AES-256 key, then the nonce
  const std::uint8_t* key() const { return material.bytes.data(); }
  const std::uint8_t* nonce() const { return material.bytes.data() + 32; }
};

/// HKDF-SHA256 with both public keys as salt, so that a box opens only for the pair it was made for. The nonce may be
/// derived too: the ephemeral key, and with it the AES key, is used for one box only.
status derive(const secret32& shared, std::span<const std::uint8_t> ephemeral, std::span<const std::uint8_t> recipient,
              box_keys& out) {
  std::array<std::uint8_t, 2 * point_size> salt{};
  std::copy(ephemeral.begin(), ephemeral.end(), salt.begin());
  std::copy(recipient.begin(), recipient.end(), salt.begin() + point_size);
  const kdf_ptr hkdf{EVP_KDF_fetch(nullptr, "HKDF", nullptr)};
  const kdf_ctx_ptr context{hkdf ? EVP_KDF_CTX_new(hkdf.get()) : nullptr};
  std::string digest_name = "SHA256";
  std::string info{key_purpose};
  const std::array parameters{
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest_name.data(), 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, const_cast<std::uint8_t*>(shared.data()), shared.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, salt.data(), salt.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.data(), info.size()),
      OSSL_PARAM_construct_end()};
  if (!context ||
      EVP_KDF_derive(context.get(), out.material.bytes.data(), out.material.bytes.size(), parameters.data()) != 1)
    return openssl_failed("HKDF-SHA256");
  return success();
}

/// What is authenticated besides the text: the header, and the context with its length.
std::string associated(std::string_view header, std::string_view context) {
  std::string bytes{header};
  for (int i = 0; i < 8; ++i)
    bytes += static_cast<char>(std::uint64_t{context.size()} >> (8 * i));
  bytes += context;
  return bytes;
}

/// EVP takes lengths as int: feeds `in` in pieces. `out` may be null for associated data.
bool feed(EVP_CIPHER_CTX* context, std::uint8_t* out, std::string_view in) {
  constexpr std::size_t piece_max = std::size_t{1} << 30;
  while (!in.empty()) {
    const auto piece = in.substr(0, piece_max);
    int written = 0;
    if (EVP_CipherUpdate(context, out, &written, raw(piece), static_cast<int>(piece.size())) != 1)
      return false;
    if (out != nullptr)
      out += written;
    in.remove_prefix(piece.size());
  }
  return true;
}

} // namespace

std::string seal_public_key::hex() const {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (const auto b : bytes) {
    text += digits[b >> 4];
    text += digits[b & 15];
  }
  return text;
}

result<seal_public_key> seal_public_key::from_hex(std::string_view hex) {
  FLYWHEEL_TRY(const auto same_shape, digest::from_hex(hex));
  return seal_public_key{same_shape.bytes};
}

seal_private_key::seal_private_key(seal_private_key&& other) noexcept : bytes_(other.bytes_) {
  OPENSSL_cleanse(other.bytes_.data(), other.bytes_.size());
}

seal_private_key& seal_private_key::operator=(seal_private_key&& other) noexcept {
  if (this != &other) {
    bytes_ = other.bytes_;
    OPENSSL_cleanse(other.bytes_.data(), other.bytes_.size());
  }
  return *this;
}

seal_private_key::~seal_private_key() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

result<seal_private_key> seal_private_key::generate() {
  seal_private_key key;
  FLYWHEEL_CHECK(random_scalar(key.bytes_));
  return key;
}

seal_public_key seal_private_key::public_key() const {
  FLYWHEEL_ASSERT(is_clamped(bytes_), "a moved-from private key is not used");
  const auto key = public_of(bytes_);
  FLYWHEEL_ASSERT(key, "every clamped scalar has a public key");
  return *key;
}

result<seal_private_key> seal_private_key::load_or_create(const fs::path& path) {
  auto file = open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!file && file.error().code == errc::not_found) {
    FLYWHEEL_CHECK(create(path));
    // Read back what lies there now: if another process was quicker, its key is the one.
    file = open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  }
  if (!file)
    return std::move(file).error();

  struct stat about {};
  if (::fstat(file->get(), &about) != 0)
    return error_from_errno(errno, "stat " + path.string());
  if (!S_ISREG(about.st_mode))
    return error{errc::invalid_format, path.string() + " is not a key file"};
  if ((about.st_mode & 077) != 0 || about.st_uid != ::geteuid())
    return error{errc::permission_denied, "others than its owner may use the private key " + path.string(), {},
                 "check who could read it; then run: chmod 600 " + path.string()};

  wiped<key_magic.size() + 2 * point_size + 1> stored; // one byte more, to notice a longer file
  std::size_t size = 0;
  while (size < stored.bytes.size()) {
    FLYWHEEL_TRY(const auto got, read_some(file->get(), reinterpret_cast<char*>(stored.bytes.data()) + size,
                                           stored.bytes.size() - size, path));
    if (got == 0)
      break;
    size += got;
  }
  const auto damaged = [&] {
    return error{errc::checksum_mismatch, "the private key file " + path.string() + " is damaged", {},
                 "restore it from a backup; without it what was sealed for it cannot be read"};
  };
  if (size != stored.bytes.size() - 1 || text_of({stored.bytes.data(), key_magic.size()}) != key_magic)
    return damaged();
  seal_private_key key;
  std::copy_n(stored.bytes.begin() + key_magic.size(), point_size, key.bytes_.begin());
  if (!is_clamped(key.bytes_) || !std::equal(stored.bytes.begin() + key_magic.size() + point_size,
                                             stored.bytes.end() - 1, key.public_key().bytes.begin()))
    return damaged();
  return key;
}

status seal_private_key::create(const fs::path& path) {
  seal_private_key key;
  FLYWHEEL_CHECK(random_scalar(key.bytes_));
  wiped<key_magic.size() + 2 * point_size> stored;
  const auto pub = key.public_key();
  auto at = std::copy(key_magic.begin(), key_magic.end(), stored.bytes.begin());
  at = std::copy(key.bytes_.begin(), key.bytes_.end(), at);
  std::copy(pub.bytes.begin(), pub.bytes.end(), at);

  const fs::path temporary = path.string() + ".tmp-" + std::to_string(::getpid()) + "-" +
                             pub.hex().substr(0, 8); // unlike a counter, unique among threads too
  FLYWHEEL_TRY(auto file, open_file(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  auto written = write_all(file.get(), text_of(stored.bytes), path);
  if (written)
    written = sync_file(file.get(), path);
  if (written)
    written = file.close(path);
  // link, not rename: it never replaces a key that another process made meanwhile.
  if (written && ::link(temporary.c_str(), path.c_str()) != 0 && errno != EEXIST)
    written = error_from_errno(errno, "create " + path.string());
  ::unlink(temporary.c_str());
  FLYWHEEL_CHECK(std::move(written));
  return sync_folder(folder_of(path));
}

result<std::string> seal(const seal_public_key& to, std::string_view plain, std::string_view context) {
  wiped<32> ephemeral;
  wiped<32> shared;
  box_keys keys;
  FLYWHEEL_CHECK(random_scalar(ephemeral.bytes));
  FLYWHEEL_TRY(const auto ephemeral_public, public_of(ephemeral.bytes));
  FLYWHEEL_CHECK(agree(ephemeral.bytes, to.bytes, shared.bytes));
  FLYWHEEL_CHECK(derive(shared.bytes, ephemeral_public.bytes, to.bytes, keys));

  std::string box;
  box.reserve(header_size + plain.size() + tag_size);
  box += box_magic;
  box += text_of(ephemeral_public.bytes);
  const auto more = associated(box, context);
  box.resize(header_size + plain.size() + tag_size);

  const cipher_ctx_ptr cipher{EVP_CIPHER_CTX_new()};
  int written = 0;
  auto* const text = raw(box) + header_size;
  if (!cipher || EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, keys.key(), keys.nonce()) != 1 ||
      !feed(cipher.get(), nullptr, more) || !feed(cipher.get(), text, plain) ||
      EVP_EncryptFinal_ex(cipher.get(), text + plain.size(), &written) != 1 ||
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, tag_size, text + plain.size()) != 1)
    return openssl_failed("AES-256-GCM encryption");
  return box;
}

result<std::string> seal_private_key::open(std::string_view sealed, std::string_view context) const {
  if (sealed.size() < header_size + tag_size || !sealed.starts_with(box_magic))
    return not_genuine();
  const auto header = sealed.substr(0, header_size);
  const auto tag = sealed.substr(sealed.size() - tag_size);
  const auto text = sealed.substr(header_size, sealed.size() - header_size - tag_size);
  const std::span<const std::uint8_t> ephemeral{raw(header) + box_magic.size(), point_size};

  wiped<32> shared;
  box_keys keys;
  if (!agree(bytes_, ephemeral, shared.bytes))
    return not_genuine();
  FLYWHEEL_CHECK(derive(shared.bytes, ephemeral, public_key().bytes, keys));

  const cipher_ctx_ptr cipher{EVP_CIPHER_CTX_new()};
  std::array<std::uint8_t, tag_size> expected{};
  std::copy(tag.begin(), tag.end(), expected.begin());
  std::string plain(text.size(), '\0');
  int written = 0;
  std::uint8_t none = 0;
  if (!cipher || EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, keys.key(), keys.nonce()) != 1 ||
      !feed(cipher.get(), nullptr, associated(header, context)) || !feed(cipher.get(), raw(plain), text) ||
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, tag_size, expected.data()) != 1)
    return openssl_failed("AES-256-GCM decryption");
  if (EVP_DecryptFinal_ex(cipher.get(), &none, &written) != 1) {
    OPENSSL_cleanse(plain.data(), plain.size()); // not genuine: nobody may look at it
    return not_genuine();
  }
  return plain;
}

} // namespace flywheel
