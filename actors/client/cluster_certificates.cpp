#include "actors/client/cluster_certificates.hpp"

#include "cluster/base/text.hpp"

#include <cctype>

namespace flywheel {

namespace fs = std::filesystem;

namespace {
constexpr std::size_t name_bytes_max = 63;
} // namespace

status ensure_authority(const fs::path& folder, wall_time now) {
  std::error_code ignored;
  return fs::exists(folder / "ca.key", ignored) ? success() : certificate_authority::create(folder, "local", now);
}

status ensure_certificate(const fs::path& folder, const std::string& name, role as, const std::vector<std::string>& hosts, wall_time now) {
  const auto own = folder / name;
  if (check_tls_files({own / (name + ".pem"), own / (name + ".key"), own / "ca.pem"}, now, as))
    return success();
  FLYWHEEL_TRY(const auto authority, certificate_authority::open(folder));
  FLYWHEEL_TRY([[maybe_unused]] const auto who, authority.issue({name, as, hosts, 365}, own, now));
  return success();
}

std::string certificate_name(std::string_view text) {
  std::string name;
  for (const char ch : lower(text.substr(0, name_bytes_max)))
    if ((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9'))
      name.push_back(ch);
    else if (!name.empty())
      name.push_back(ch == '.' ? '.' : '-');
  while (!name.empty() && (name.back() == '.' || name.back() == '-'))
    name.pop_back();
  return name.empty() ? "node" : name;
}

std::string admin_name(std::string_view user) {
  std::string name;
  for (const char ch : lower(user))
    if ((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9'))
      name.push_back(ch);
  return "admin-" + (name.empty() ? std::string{"user"} : name.substr(0, 32));
}

} // namespace flywheel
