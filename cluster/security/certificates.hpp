#pragma once
// Who is who on the wire: a cluster's own certificate authority, a certificate for each node and each user with their role
// in it, and the check of all files before a TLS library sees them (CAF's hangs or aborts on bad ones).
//
// X.509 version 3 (RFC 5280), keys on P-256, ECDSA with SHA-256. Identity is one URI in the subject's alternative names:
//   flywheel://<cluster>/<role>/<name>
// A certificate that the authority signed proves membership; the role is what it says there, and nothing else.

#include "cluster/base/clock.hpp"
#include "cluster/base/error.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

enum class role : std::uint8_t {
  node,      ///< a node process
  viewer,    ///< looks
  submitter, ///< and submits, watches and cancels own goals
  approver,  ///< and approves others' effects
  admin,     ///< and drains nodes
};
std::string_view name_of(role r) noexcept;
std::optional<role> role_from_name(std::string_view name) noexcept;

struct identity {
  std::string cluster, name;
  role as = role::viewer;
  wall_time not_before, not_after;
  std::string serial;                  ///< hexadecimal, unique in the cluster
  bool operator==(const identity&) const = default;
};

struct certificate_request {
  std::string name;                    ///< 1 to 63 of a-z 0-9 . - , first and last a letter or digit
  role as = role::viewer;
  std::vector<std::string> hosts;      ///< of a node: DNS names and IP addresses it is dialled by
  int days = 365;
};

/// What a process needs for TLS.
struct tls_files {
  std::filesystem::path certificate, key, authority;
};

/// The one certificate and key in `folder`, and ca.pem beside them, as `flywheel certs issue` leaves them. not_found, invalid_argument.
result<tls_files> tls_files_in(const std::filesystem::path& folder);

/// The private key stays in its folder; whoever can read that folder can make anybody. Thread-safe.
class certificate_authority {
public:
  /// Makes ca.pem and ca.key (0600) in `folder`, which is made (0700) if it is not there. already_exists: one is there, or half
  /// of one, which says what to do.
  static status create(const std::filesystem::path& folder, const std::string& cluster, wall_time now, int days = 3650);
  /// permission_denied: others can read the key. invalid_format: not an authority of ours.
  static result<certificate_authority> open(const std::filesystem::path& folder);

  /// Makes <name>.pem, <name>.key (0600) and ca.pem in `folder`; each file is replaced whole. Killed in between, the key and the
  /// certificate do not belong together, which check_tls_files notices: issue again. invalid_argument: name, hosts or days. A
  /// certificate ends no later than its authority.
  result<identity> issue(const certificate_request& r, const std::filesystem::path& folder, wall_time now) const;
  const std::string& cluster() const noexcept { return cluster_; }

private:
  certificate_authority() = default;
  std::string cluster_, certificate_;  ///< PEM
  std::filesystem::path key_;
};

/// Whom a certificate (PEM) is about, if `authority` (PEM) signed it and `now` is in its time. not_allowed with the reason
/// otherwise; invalid_format if it is no certificate, or one without an identity of ours.
result<identity> identify(std::string_view certificate, std::string_view authority, wall_time now);

/// Everything that must hold before a port opens with these files: readable, the key for its owner alone and belonging to
/// the certificate, the certificate signed by the authority, in its time, and of `wanted` if that is given.
result<identity> check_tls_files(const tls_files& files, wall_time now, std::optional<role> wanted = std::nullopt);

/// Signs `bytes` with the key in `files` (ECDSA with SHA-256, DER). The key is read anew each time, so that a renewed one is used at
/// once. Errors as of check_tls_files for the key.
result<std::string> sign(const tls_files& files, std::string_view bytes);
/// Whether the owner of `certificate` (PEM) signed `bytes`; not_allowed if not. Does not look at who vouches for the certificate:
/// ask identify() too.
status verify(std::string_view certificate, std::string_view bytes, std::string_view signature);

} // namespace flywheel
