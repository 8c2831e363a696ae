#pragma once
// The certificates of a cluster that makes its own: an authority in a folder, and beside it a folder for each node and person.

#include "cluster/security/certificates.hpp"

namespace flywheel {

/// Makes the authority in `folder` if there is none. One process at a time.
status ensure_authority(const std::filesystem::path& folder, wall_time now);
/// <folder>/<name>/ with a certificate of the authority in `folder`, dialled by `hosts`; one that is there and valid is kept.
/// Processes may do so at the same time for different names.
status ensure_certificate(const std::filesystem::path& folder, const std::string& name, role as, const std::vector<std::string>& hosts, wall_time now);
/// What a host or user is called in a certificate: lower case, letters, digits, dots and dashes; "node" if nothing is left of it.
std::string certificate_name(std::string_view text);
/// "admin-<user>"
std::string admin_name(std::string_view user);

} // namespace flywheel
