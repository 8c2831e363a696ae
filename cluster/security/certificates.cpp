#include "cluster/security/certificates.hpp"

#include "cluster/content/file.hpp"
#include "cluster/content/publish.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>

namespace flywheel {

namespace {

namespace fs = std::filesystem;

template <auto Free> struct freed {
  template <class T> void operator()(T* p) const noexcept { Free(p); }
};
using key_ptr = std::unique_ptr<EVP_PKEY, freed<EVP_PKEY_free>>;
using x509_ptr = std::unique_ptr<X509, freed<X509_free>>;
using bio_ptr = std::unique_ptr<BIO, freed<BIO_free>>;
using names_ptr = std::unique_ptr<GENERAL_NAMES, freed<GENERAL_NAMES_free>>;

constexpr std::size_t pem_bytes_max = 64 << 10;
constexpr int serial_bytes = 16;
constexpr int days_max = 36'500;
constexpr long clock_skew = 300; ///< seconds a certificate is valid before it was made: clocks differ
constexpr std::string_view scheme = "flywheel://";

/// What OpenSSL says last, which is closest to the cause.
std::string library_reason() {
  const auto code = ::ERR_peek_last_error();
  ::ERR_clear_error();
  std::array<char, 256> text{};
  if (code == 0)
    return "no reason given";
  ::ERR_error_string_n(code, text.data(), text.size());
  return text.data();
}
error library_failed(const char* what) { return {errc::library_failed, std::string{"OpenSSL cannot "} + what + ": " + library_reason()}; }

bool is_name(std::string_view name) {
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !name.empty() && name.size() <= 63 && plain(name.front()) && plain(name.back()) &&
         std::ranges::all_of(name, [&](char c) { return plain(c) || c == '.' || c == '-'; });
}

/// DNS names and addresses, nothing that could add another field to the extension's text.
bool is_host(std::string_view host) {
  return !host.empty() && host.size() <= 253 && std::ranges::all_of(host, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == ':';
  });
}
bool is_address(const std::string& host) {
  const std::unique_ptr<ASN1_OCTET_STRING, freed<ASN1_OCTET_STRING_free>> address{::a2i_IPADDRESS(host.c_str())};
  ::ERR_clear_error();
  return address != nullptr;
}

result<key_ptr> new_key() {
  key_ptr key{EVP_EC_gen("P-256")};
  if (!key)
    return library_failed("make a key");
  return key;
}

std::string text_in(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return size > 0 ? std::string{data, static_cast<std::size_t>(size)} : std::string{};
}

result<std::string> pem_of(X509* certificate) {
  const bio_ptr bio{::BIO_new(::BIO_s_mem())};
  if (!bio || ::PEM_write_bio_X509(bio.get(), certificate) != 1)
    return library_failed("write a certificate");
  return text_in(bio.get());
}

/// Into a file of its owner alone, whole or not at all.
status publish_secret(const fs::path& path, EVP_PKEY* key) {
  const bio_ptr bio{::BIO_new(::BIO_s_secmem())};
  if (!bio || ::PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return library_failed("write a key");
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return publish_with(path, [&](const fs::path& temporary) -> status {
    FLYWHEEL_TRY(auto file, open_file(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    FLYWHEEL_CHECK(write_all(file.get(), {data, static_cast<std::size_t>(size)}, path));
    return file.close(path);
  });
}

result<x509_ptr> parse_certificate(std::string_view pem, const std::string& where) {
  const bio_ptr bio{::BIO_new_mem_buf(pem.data(), static_cast<int>(std::min(pem.size(), pem_bytes_max)))};
  x509_ptr certificate{bio ? ::PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr) : nullptr};
  if (!certificate)
    return error{errc::invalid_format, "no certificate in PEM form: " + library_reason(), where, "issue it again: flywheel certs"};
  return certificate;
}

/// A key that only its owner may read.
result<key_ptr> read_key(const fs::path& path) {
  struct stat about {};
  if (::stat(path.c_str(), &about) != 0)
    return error_from_errno(errno, "open the key " + path.string());
  if ((about.st_mode & 077) != 0)
    return error{errc::permission_denied, "others than its owner may use this key", path.string(), "chmod 600, and issue a new one if somebody did"};
  FLYWHEEL_TRY(std::string pem, read_file(path, pem_bytes_max));
  const bio_ptr bio{::BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
  // No passphrase is ever asked for on a terminal.
  key_ptr key{bio ? ::PEM_read_bio_PrivateKey(bio.get(), nullptr, [](char*, int, int, void*) { return 0; }, nullptr) : nullptr};
  std::ranges::fill(pem, '\0');
  if (!key)
    return error{errc::invalid_format, "no private key without passphrase in PEM form: " + library_reason(), path.string(), "issue it again: flywheel certs"};
  return key;
}

std::string serial_of(const X509* certificate) {
  const std::unique_ptr<BIGNUM, freed<BN_free>> number{::ASN1_INTEGER_to_BN(::X509_get0_serialNumber(certificate), nullptr)};
  char* text = number ? ::BN_bn2hex(number.get()) : nullptr;
  std::string hex = text != nullptr ? text : "";
  ::OPENSSL_free(text);
  return hex;
}

wall_time wall_of(const ASN1_TIME* t) {
  std::tm parts{};
  if (::ASN1_TIME_to_tm(t, &parts) != 1)
    return {};
  return {static_cast<std::int64_t>(::timegm(&parts)) * 1'000'000'000};
}
std::int64_t seconds_of(wall_time t) { return t.ns / 1'000'000'000; }

status add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  ::X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, freed<X509_EXTENSION_free>> extension{::X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str())};
  if (!extension || ::X509_add_ext(certificate, extension.get(), -1) != 1)
    return library_failed("describe a certificate");
  return {};
}

struct drawn_certificate {
  std::string cluster, name, alternative_names;
  bool is_authority = false, is_node = false;
  wall_time now, until;
};

result<x509_ptr> draw(const drawn_certificate& d, EVP_PKEY* key, X509* issuer, EVP_PKEY* issuer_key) {
  x509_ptr certificate{::X509_new()};
  std::array<unsigned char, serial_bytes> serial{};
  if (!certificate || ::RAND_bytes(serial.data(), serial_bytes) != 1)
    return library_failed("make a certificate");
  serial[0] = static_cast<unsigned char>((serial[0] & 0x7F) | 0x40); // positive, and of full length
  const std::unique_ptr<BIGNUM, freed<BN_free>> number{::BN_bin2bn(serial.data(), serial_bytes, nullptr)};
  X509* c = certificate.get();
  X509_NAME* subject = ::X509_get_subject_name(c);
  const auto add = [&](const char* field, const std::string& value) {
    return ::X509_NAME_add_entry_by_txt(subject, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(value.data()), static_cast<int>(value.size()), -1, 0) == 1;
  };
  const bool named = ::X509_set_version(c, X509_VERSION_3) == 1 && number && ::BN_to_ASN1_INTEGER(number.get(), ::X509_get_serialNumber(c)) != nullptr &&
                     ::ASN1_TIME_set(::X509_getm_notBefore(c), seconds_of(d.now) - clock_skew) != nullptr &&
                     ::ASN1_TIME_set(::X509_getm_notAfter(c), seconds_of(d.until)) != nullptr && ::X509_set_pubkey(c, key) == 1 &&
                     add("O", "Flywheel " + d.cluster) && add("CN", d.name);
  if (!named)
    return library_failed("fill in a certificate");
  X509* from = issuer != nullptr ? issuer : c;
  if (::X509_set_issuer_name(c, ::X509_get_subject_name(from)) != 1)
    return library_failed("name the issuer");
  FLYWHEEL_CHECK(add_extension(c, from, NID_basic_constraints, d.is_authority ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE"));
  FLYWHEEL_CHECK(add_extension(c, from, NID_key_usage, d.is_authority ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature"));
  FLYWHEEL_CHECK(add_extension(c, from, NID_subject_key_identifier, "hash"));
  FLYWHEEL_CHECK(add_extension(c, from, NID_authority_key_identifier, "keyid"));
  if (!d.is_authority)
    FLYWHEEL_CHECK(add_extension(c, from, NID_ext_key_usage, d.is_node ? "serverAuth,clientAuth" : "clientAuth"));
  FLYWHEEL_CHECK(add_extension(c, from, NID_subject_alt_name, d.alternative_names));
  if (::X509_sign(c, issuer_key, ::EVP_sha256()) == 0)
    return library_failed("sign a certificate");
  return certificate;
}

/// The one URI of ours among the alternative names, split; nothing if there is none, or more than one.
std::optional<identity> written_identity(X509* certificate) {
  const names_ptr names{static_cast<GENERAL_NAMES*>(::X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr))};
  std::optional<std::string> found;
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI)
      continue;
    const std::string uri{reinterpret_cast<const char*>(::ASN1_STRING_get0_data(name->d.uniformResourceIdentifier)),
                          static_cast<std::size_t>(::ASN1_STRING_length(name->d.uniformResourceIdentifier))};
    if (!uri.starts_with(scheme))
      continue;
    if (found)
      return std::nullopt;
    found = uri.substr(scheme.size());
  }
  if (!found)
    return std::nullopt;
  const auto first = found->find('/'), last = found->rfind('/');
  if (first == std::string::npos || first == last)
    return std::nullopt;
  const auto as = role_from_name(std::string_view{*found}.substr(first + 1, last - first - 1));
  identity who{found->substr(0, first), found->substr(last + 1), as.value_or(role::viewer), wall_of(::X509_get0_notBefore(certificate)),
               wall_of(::X509_get0_notAfter(certificate)), serial_of(certificate)};
  if (!as || !is_name(who.cluster) || !is_name(who.name))
    return std::nullopt;
  return who;
}

} // namespace

std::string_view name_of(role r) noexcept {
  switch (r) {
  case role::node: return "node";
  case role::viewer: return "viewer";
  case role::submitter: return "submitter";
  case role::approver: return "approver";
  case role::admin: return "admin";
  }
  return "unknown";
}

std::optional<role> role_from_name(std::string_view name) noexcept {
  for (const auto r : {role::node, role::viewer, role::submitter, role::approver, role::admin})
    if (name_of(r) == name)
      return r;
  return std::nullopt;
}

status certificate_authority::create(const fs::path& folder, const std::string& cluster, wall_time now, int days) {
  if (!is_name(cluster) || days < 1 || days > days_max)
    return error{errc::invalid_argument, "a cluster's name is 1 to 63 of a-z 0-9 . -, and its authority lasts 1 to 36,500 days", cluster};
  std::error_code failed;
  if (!fs::exists(folder, failed)) {
    fs::create_directories(folder, failed);
    if (!failed)
      fs::permissions(folder, fs::perms::owner_all, failed);
    if (failed)
      return error_from_errno(failed.value(), "create folder " + folder.string());
  }
  const bool has_key = fs::exists(folder / "ca.key", failed), has_certificate = fs::exists(folder / "ca.pem", failed);
  if (has_key && !has_certificate)
    return error{errc::already_exists, "ca.key is there without ca.pem", folder.string(),
                 "if making it was cut short, remove ca.key and make it again; if it was in use, restore ca.pem from any node's folder"};
  if (has_key || has_certificate)
    return error{errc::already_exists, "there is an authority already", folder.string(), "every certificate it issued would become worthless; choose another folder"};
  FLYWHEEL_TRY(const auto key, new_key());
  FLYWHEEL_TRY(const auto certificate, draw({cluster, cluster + " authority", "URI:" + std::string{scheme} + cluster, true, false, now,
                                             now + std::chrono::hours{24} * days},
                                            key.get(), nullptr, key.get()));
  FLYWHEEL_TRY(const auto pem, pem_of(certificate.get()));
  FLYWHEEL_CHECK(publish_secret(folder / "ca.key", key.get())); // first: without a certificate it is not an authority yet
  return publish_file(folder / "ca.pem", pem);
}

result<certificate_authority> certificate_authority::open(const fs::path& folder) {
  certificate_authority ca;
  ca.key_ = folder / "ca.key";
  FLYWHEEL_TRY(ca.certificate_, read_file(folder / "ca.pem", pem_bytes_max));
  FLYWHEEL_TRY(const auto certificate, parse_certificate(ca.certificate_, (folder / "ca.pem").string()));
  FLYWHEEL_TRY(const auto key, read_key(ca.key_));
  if (::X509_check_private_key(certificate.get(), key.get()) != 1) {
    ::ERR_clear_error();
    return error{errc::invalid_format, "ca.key does not belong to ca.pem", folder.string(), "restore both from one backup"};
  }
  const names_ptr names{static_cast<GENERAL_NAMES*>(::X509_get_ext_d2i(certificate.get(), NID_subject_alt_name, nullptr, nullptr))};
  if (names && sk_GENERAL_NAME_num(names.get()) == 1 && sk_GENERAL_NAME_value(names.get(), 0)->type == GEN_URI) {
    const auto* uri = sk_GENERAL_NAME_value(names.get(), 0)->d.uniformResourceIdentifier;
    const std::string text{reinterpret_cast<const char*>(::ASN1_STRING_get0_data(uri)), static_cast<std::size_t>(::ASN1_STRING_length(uri))};
    if (text.starts_with(scheme) && is_name(text.substr(scheme.size())))
      ca.cluster_ = text.substr(scheme.size());
  }
  if (ca.cluster_.empty() || ::X509_check_ca(certificate.get()) != 1)
    return error{errc::invalid_format, "this is no authority of a Flywheel cluster", (folder / "ca.pem").string(), "make one: flywheel certs"};
  return ca;
}

result<identity> certificate_authority::issue(const certificate_request& r, const fs::path& folder, wall_time now) const {
  if (!is_name(r.name) || r.name == "ca" || r.days < 1 || r.days > days_max)
    return error{errc::invalid_argument, "a name is 1 to 63 of a-z 0-9 . - (and not ca), and a certificate lasts 1 to 36,500 days", r.name};
  std::string names = "URI:" + std::string{scheme} + cluster_ + "/" + std::string{name_of(r.as)} + "/" + r.name;
  for (const auto& host : r.hosts) {
    if (!is_host(host))
      return error{errc::invalid_argument, "'" + host + "' is neither a DNS name nor an IP address", r.name};
    names += (is_address(host) ? ",IP:" : ",DNS:") + host;
  }
  FLYWHEEL_TRY(const auto authority, parse_certificate(certificate_, "ca.pem"));
  FLYWHEEL_TRY(const auto authority_key, read_key(key_));
  const auto authority_ends = wall_of(::X509_get0_notAfter(authority.get()));
  if (now >= authority_ends)
    return error{errc::not_allowed, "the authority itself ended on " + to_iso8601(authority_ends), cluster_, "make a new one, and issue every certificate again"};
  FLYWHEEL_TRY(const auto key, new_key());
  FLYWHEEL_TRY(const auto certificate, draw({cluster_, r.name, names, false, r.as == role::node, now, std::min(authority_ends, now + std::chrono::hours{24} * r.days)},
                                            key.get(), authority.get(), authority_key.get()));
  FLYWHEEL_TRY(const auto pem, pem_of(certificate.get()));
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed)
    return error_from_errno(failed.value(), "create folder " + folder.string());
  FLYWHEEL_CHECK(publish_secret(folder / (r.name + ".key"), key.get()));
  FLYWHEEL_CHECK(publish_file(folder / (r.name + ".pem"), pem));
  FLYWHEEL_CHECK(publish_file(folder / "ca.pem", certificate_));
  return identify(pem, certificate_, now);
}

result<identity> identify(std::string_view certificate, std::string_view authority, wall_time now) {
  FLYWHEEL_TRY(const auto subject, parse_certificate(certificate, "certificate"));
  FLYWHEEL_TRY(const auto root, parse_certificate(authority, "authority"));
  const std::unique_ptr<X509_STORE, freed<X509_STORE_free>> store{::X509_STORE_new()};
  const std::unique_ptr<X509_STORE_CTX, freed<X509_STORE_CTX_free>> context{::X509_STORE_CTX_new()};
  if (!store || !context || ::X509_STORE_add_cert(store.get(), root.get()) != 1 ||
      ::X509_STORE_CTX_init(context.get(), store.get(), subject.get(), nullptr) != 1)
    return library_failed("prepare the check of a certificate");
  ::X509_VERIFY_PARAM_set_time(::X509_STORE_CTX_get0_param(context.get()), seconds_of(now));
  ::X509_STORE_CTX_set_flags(context.get(), X509_V_FLAG_X509_STRICT);
  const bool trusted = ::X509_verify_cert(context.get()) == 1;
  const std::string reason = ::X509_verify_cert_error_string(::X509_STORE_CTX_get_error(context.get()));
  ::ERR_clear_error();
  const auto who = written_identity(subject.get());
  const std::string where = who ? who->name : "certificate " + serial_of(subject.get());
  if (!trusted)
    return error{errc::not_allowed, "the cluster's authority does not vouch for it: " + reason, where, "issue a certificate of this cluster: flywheel certs"};
  if (!who)
    return error{errc::invalid_format, "the certificate names no one identity in this cluster", where, "issue it again: flywheel certs"};
  return *who;
}

result<tls_files> tls_files_in(const std::filesystem::path& folder) {
  std::error_code failed;
  std::vector<std::filesystem::path> keys;
  for (const auto& entry : std::filesystem::directory_iterator{folder, failed})
    if (entry.path().extension() == ".key" && entry.path().stem() != "ca")
      keys.push_back(entry.path());
  if (failed)
    return error_from_errno(failed.value(), "looking for a certificate", folder.string());
  const std::string hint = "flywheel certs issue NAME --role ... --to DIR makes such a folder";
  if (keys.empty())
    return error{errc::not_found, "there is no certificate with its key here", folder.string(), hint};
  if (keys.size() > 1)
    return error{errc::invalid_argument, "there are several keys here: " + keys[0].filename().string() + ", " + keys[1].filename().string(), folder.string(),
                 "keep each certificate in a folder of its own"};
  auto certificate = keys[0];
  certificate.replace_extension(".pem");
  return tls_files{certificate, keys[0], folder / "ca.pem"};
}

result<identity> check_tls_files(const tls_files& files, wall_time now, std::optional<role> wanted) {
  FLYWHEEL_TRY(const auto authority, read_file(files.authority, pem_bytes_max));
  FLYWHEEL_TRY(const auto pem, read_file(files.certificate, pem_bytes_max));
  FLYWHEEL_TRY(const auto certificate, parse_certificate(pem, files.certificate.string()));
  FLYWHEEL_TRY(const auto key, read_key(files.key));
  if (::X509_check_private_key(certificate.get(), key.get()) != 1) {
    ::ERR_clear_error();
    return error{errc::not_allowed, "the key does not belong to the certificate " + files.certificate.string(), files.key.string(), "issue both again: flywheel certs"};
  }
  FLYWHEEL_TRY(auto who, identify(pem, authority, now));
  if (wanted && who.as != *wanted)
    return error{errc::not_allowed, "the certificate is of a " + std::string{name_of(who.as)} + ", and a " + std::string{name_of(*wanted)} + "'s is needed",
                 files.certificate.string(), "issue one of that role: flywheel certs"};
  return who;
}

namespace {
using digest_ptr = std::unique_ptr<EVP_MD_CTX, freed<EVP_MD_CTX_free>>;
const unsigned char* octets(std::string_view bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); }
} // namespace

result<std::string> sign(const tls_files& files, std::string_view bytes) {
  FLYWHEEL_TRY(const auto key, read_key(files.key));
  const digest_ptr context{::EVP_MD_CTX_new()};
  std::size_t size = 0;
  if (!context || ::EVP_DigestSignInit(context.get(), nullptr, ::EVP_sha256(), nullptr, key.get()) != 1 ||
      ::EVP_DigestSign(context.get(), nullptr, &size, octets(bytes), bytes.size()) != 1)
    return library_failed("sign");
  std::string signature(size, '\0');
  if (::EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size, octets(bytes), bytes.size()) != 1)
    return library_failed("sign");
  signature.resize(size);
  return signature;
}

status verify(std::string_view certificate, std::string_view bytes, std::string_view signature) {
  FLYWHEEL_TRY(const auto subject, parse_certificate(certificate, "certificate"));
  const digest_ptr context{::EVP_MD_CTX_new()};
  if (!context || ::EVP_DigestVerifyInit(context.get(), nullptr, ::EVP_sha256(), nullptr, ::X509_get0_pubkey(subject.get())) != 1)
    return library_failed("prepare the check of a signature");
  if (::EVP_DigestVerify(context.get(), octets(signature), signature.size(), octets(bytes), bytes.size()) != 1) {
    ::ERR_clear_error();
    return error{errc::not_allowed, "the signature was not made with the key of certificate " + serial_of(subject.get()), {},
                 "whoever showed it does not own it"};
  }
  return success();
}

} // namespace flywheel
