// flywheel certs: a cluster's authority, and who it vouches for.

#include "actors/client/commands.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/content/publish.hpp"
#include "cluster/security/certificates.hpp"

#include <iostream>

namespace flywheel {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t certificate_bytes_max = 64 << 10;

/// --dir, or the state directory's own folder.
fs::path authority_folder(const command_context& c) { return c.line.given("dir") ? fs::path{c.line.text("dir")} : c.state / "certs"; }

int days_of(const command_context& c) { return static_cast<int>(std::min<std::uint64_t>(c.line.integer("days"), 1'000'000)); }

json record_of(const identity& who) {
  return {{"cluster", who.cluster},
          {"name", who.name},
          {"role", std::string{name_of(who.as)}},
          {"from", to_iso8601(who.not_before)},
          {"until", to_iso8601(who.not_after)},
          {"serial", who.serial}};
}

} // namespace

result<int> make_authority(const command_context& c) {
  const auto folder = authority_folder(c);
  FLYWHEEL_CHECK(certificate_authority::create(folder, c.line.argument("CLUSTER"), system_clock().wall(), days_of(c)));
  const json made{{"cluster", c.line.argument("CLUSTER")}, {"folder", folder.string()}};
  if (c.style == output_style::table)
    std::cout << "made the authority of cluster " << c.line.argument("CLUSTER") << " in " << folder.string() << "\n"
              << "whoever can read " << (folder / "ca.key").string() << " can become anybody: keep it, and keep it to yourself\n";
  else
    print_record(std::cout, made, print_options_for_stdout(c.style, !c.colour));
  return 0;
}

result<int> issue_certificate(const command_context& c) {
  FLYWHEEL_TRY(const auto authority, certificate_authority::open(authority_folder(c)));
  const auto name = c.line.argument("NAME");
  const fs::path folder = c.line.given("to") ? fs::path{c.line.text("to")} : fs::path{name};
  const auto as = role_from_name(c.line.text("role"));
  FLYWHEEL_TRY(const auto who, authority.issue({name, as.value_or(role::viewer), c.line.list("host"), days_of(c)}, folder, system_clock().wall()));
  auto made = record_of(who);
  made["folder"] = folder.string();
  if (c.style == output_style::table)
    std::cout << who.name << " is a " << name_of(who.as) << " of cluster " << who.cluster << " until " << to_iso8601(who.not_after) << "\n"
              << "hand over " << folder.string() << " (" << name << ".pem, " << name << ".key, ca.pem) on a way nobody else can read\n";
  else
    print_record(std::cout, made, print_options_for_stdout(c.style, !c.colour));
  return 0;
}

result<int> show_certificate(const command_context& c) {
  const fs::path file = c.line.argument("FILE");
  const fs::path authority = c.line.given("ca") ? fs::path{c.line.text("ca")} : file.parent_path() / "ca.pem";
  FLYWHEEL_TRY(const auto pem, read_file(file, certificate_bytes_max));
  FLYWHEEL_TRY(const auto root, read_file(authority, certificate_bytes_max));
  FLYWHEEL_TRY(const auto who, identify(pem, root, system_clock().wall()));
  print_record(std::cout, record_of(who), print_options_for_stdout(c.style, !c.colour));
  return 0;
}

} // namespace flywheel
