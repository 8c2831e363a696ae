#include "cluster/security/certificates.hpp"

#include "cluster/content/publish.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sys/stat.h>

using namespace flywheel;
using testing::HasSubstr;

namespace {

namespace fs = std::filesystem;

constexpr wall_time now{1'795'000'000'000'000'000};
wall_time in_days(int days) { return now + std::chrono::hours{24} * days; }

class certificates : public testing::Test {
protected:
  void SetUp() override {
    char name[] = "/tmp/flywheel-certs-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    root = name;
    ASSERT_TRUE(certificate_authority::create(root / "ca", "lab", now));
    auto opened = certificate_authority::open(root / "ca");
    ASSERT_TRUE(opened) << opened.error().to_string();
    ca.emplace(std::move(*opened));
  }
  void TearDown() override { fs::remove_all(root); }

  identity issued(const std::string& name, role as = role::node, int days = 365) {
    auto who = ca->issue({name, as, {"node-a.example", "10.0.0.7", "::1"}, days}, root / name, now);
    EXPECT_TRUE(who) << who.error().to_string();
    return who ? *who : identity{};
  }
  tls_files files(const std::string& name) const { return {root / name / (name + ".pem"), root / name / (name + ".key"), root / name / "ca.pem"}; }
  std::string text(const fs::path& path) const { return read_file(path, 1 << 20).value(); }

  fs::path root;
  std::optional<certificate_authority> ca;
};

} // namespace

TEST_F(certificates, say_who_somebody_is_and_in_which_role) {
  EXPECT_EQ(ca->cluster(), "lab");
  const auto who = issued("a");
  EXPECT_EQ(who.cluster, "lab");
  EXPECT_EQ(who.name, "a");
  EXPECT_EQ(who.as, role::node);
  EXPECT_EQ(who.not_after, in_days(365));
  EXPECT_EQ(check_tls_files(files("a"), now, role::node).value(), who);
  EXPECT_NE(issued("b").serial, who.serial);
  EXPECT_EQ(issued("maria", role::approver).as, role::approver);
}

TEST_F(certificates, keys_are_for_their_owner_alone) {
  issued("a");
  struct stat about {};
  for (const auto& key : {root / "ca" / "ca.key", root / "a" / "a.key"}) {
    ASSERT_EQ(::stat(key.c_str(), &about), 0);
    EXPECT_EQ(about.st_mode & 0777, 0600u) << key;
  }
  fs::permissions(root / "a" / "a.key", fs::perms::group_read, fs::perm_options::add);
  EXPECT_EQ(check_tls_files(files("a"), now).error().code, errc::permission_denied);
  fs::permissions(root / "ca" / "ca.key", fs::perms::others_read, fs::perm_options::add);
  EXPECT_EQ(certificate_authority::open(root / "ca").error().code, errc::permission_denied);
}

TEST_F(certificates, of_another_authority_are_refused) {
  issued("a");
  ASSERT_TRUE(certificate_authority::create(root / "other", "lab", now)); // of the same name
  const auto other = certificate_authority::open(root / "other").value();
  ASSERT_TRUE(other.issue({"a", role::node, {}, 365}, root / "stranger", now));
  const auto refused = identify(text(root / "stranger" / "a.pem"), text(root / "ca" / "ca.pem"), now);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::not_allowed) << refused.error().to_string();
}

TEST_F(certificates, are_refused_out_of_their_time) {
  issued("a", role::node, 10);
  EXPECT_TRUE(check_tls_files(files("a"), in_days(9)));
  EXPECT_TRUE(check_tls_files(files("a"), now + -std::chrono::minutes{4})) << "clocks differ a little";
  const auto late = check_tls_files(files("a"), in_days(11));
  ASSERT_FALSE(late);
  EXPECT_THAT(late.error().to_string(), HasSubstr("expired"));
  EXPECT_THAT(check_tls_files(files("a"), in_days(-1)).error().to_string(), HasSubstr("not yet valid"));
}

TEST_F(certificates, end_with_their_authority) {
  ASSERT_TRUE(certificate_authority::create(root / "short", "lab", now, 20));
  const auto authority = certificate_authority::open(root / "short").value();
  EXPECT_EQ(authority.issue({"a", role::node, {}, 365}, root / "x", now).value().not_after, in_days(20));
  const auto late = authority.issue({"b", role::node, {}, 1}, root / "x", in_days(21));
  ASSERT_FALSE(late);
  EXPECT_FALSE(fs::exists(root / "x" / "b.key")) << "nothing is left of what was refused";
}

TEST_F(certificates, of_another_role_do_not_open_a_nodes_port) {
  issued("maria", role::admin);
  const auto refused = check_tls_files(files("maria"), now, role::node);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().to_string(), testing::AllOf(HasSubstr("admin"), HasSubstr("node")));
}

TEST_F(certificates, a_key_of_somebody_else_is_noticed) {
  issued("a");
  issued("b");
  EXPECT_EQ(check_tls_files({files("a").certificate, files("b").key, files("a").authority}, now).error().code, errc::not_allowed);
  EXPECT_EQ(check_tls_files({files("a").certificate, files("a").key, files("a").certificate}, now).error().code, errc::not_allowed)
      << "a node's certificate is no authority";
}

TEST_F(certificates, a_certificate_cannot_issue_another) {
  // Somebody with a node's key plays authority: the files have the right names, and still it is none.
  issued("a");
  fs::create_directories(root / "fake");
  fs::copy_file(files("a").certificate, root / "fake" / "ca.pem");
  fs::copy_file(files("a").key, root / "fake" / "ca.key");
  EXPECT_EQ(certificate_authority::open(root / "fake").error().code, errc::invalid_format);
}

TEST_F(certificates, damaged_or_missing_files_are_told_and_never_crash) {
  issued("a");
  EXPECT_FALSE(check_tls_files({root / "none.pem", files("a").key, files("a").authority}, now));
  EXPECT_FALSE(check_tls_files({files("a").certificate, root / "none.key", files("a").authority}, now));
  const std::string whole = text(files("a").certificate);
  for (std::size_t cut = 0; cut < whole.size(); cut += 7)
    EXPECT_FALSE(identify(whole.substr(0, cut), text(files("a").authority), now) && cut + 30 < whole.size()) << cut;
  std::size_t refused = 0;
  for (std::size_t at = 30; at + 30 < whole.size(); at += 3) { // inside the base64 text
    std::string bent = whole;
    bent[at] = bent[at] == 'A' ? 'B' : bent[at] == '\n' ? '\n' : 'A';
    if (bent == whole)
      continue;
    ++refused;
    EXPECT_FALSE(identify(bent, text(files("a").authority), now)) << at;
  }
  EXPECT_GT(refused, 200u);
  for (const char* garbage : {"", "garbage", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"})
    EXPECT_EQ(identify(garbage, text(files("a").authority), now).error().code, errc::invalid_format);
}

TEST_F(certificates, names_that_could_be_taken_for_something_else_are_refused) {
  for (const char* name : {"", "ca", "A", "a/admin/b", "../a", "a,DNS:b", "-a", "a.", "a b", "\xc3\xa4"})
    EXPECT_EQ(ca->issue({name, role::viewer, {}, 1}, root / "x", now).error().code, errc::invalid_argument) << name;
  for (const char* host : {"", "a,IP:1.2.3.4", "a\n", "a b", "URI:x y"})
    EXPECT_EQ(ca->issue({"a", role::node, {host}, 1}, root / "x", now).error().code, errc::invalid_argument) << host;
  EXPECT_EQ(ca->issue({"a", role::node, {}, 0}, root / "x", now).error().code, errc::invalid_argument);
  EXPECT_EQ(certificate_authority::create(root / "y", "No Good", now).error().code, errc::invalid_argument);
  EXPECT_FALSE(fs::exists(root / "x"));
}

TEST_F(certificates, an_authority_is_never_overwritten) {
  const auto before = text(root / "ca" / "ca.pem");
  EXPECT_EQ(certificate_authority::create(root / "ca", "lab", now).error().code, errc::already_exists);
  EXPECT_EQ(text(root / "ca" / "ca.pem"), before);
}

TEST_F(certificates, half_an_authority_is_kept_and_says_what_to_do) {
  issued("a");
  const auto key = text(root / "ca" / "ca.key");
  fs::remove(root / "ca" / "ca.pem"); // lost, or killed before it was written
  const auto refused = certificate_authority::create(root / "ca", "lab", now);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().to_string(), testing::AllOf(HasSubstr("without ca.pem"), HasSubstr("restore")));
  EXPECT_EQ(text(root / "ca" / "ca.key"), key) << "it may be the only copy";
  fs::copy_file(files("a").authority, root / "ca" / "ca.pem");
  EXPECT_TRUE(certificate_authority::open(root / "ca")) << "as the hint says";
}

TEST_F(certificates, a_key_without_its_certificate_is_noticed_and_issuing_again_mends_it) {
  issued("a");
  const auto old = text(files("a").certificate);
  issued("a");
  ASSERT_TRUE(publish_file(files("a").certificate, old)); // as if killed after the new key
  EXPECT_THAT(check_tls_files(files("a"), now).error().to_string(), HasSubstr("issue both again"));
  issued("a");
  EXPECT_TRUE(check_tls_files(files("a"), now));
}

TEST(roles, have_names) {
  for (const auto r : {role::node, role::viewer, role::submitter, role::approver, role::admin})
    EXPECT_EQ(role_from_name(name_of(r)), r);
  EXPECT_FALSE(role_from_name("root"));
}

TEST_F(certificates, a_folder_holds_one_identity) {
  const auto home = root / "home";
  fs::create_directories(home);
  EXPECT_EQ(tls_files_in(home / "nothing").error().code, errc::not_found);
  EXPECT_EQ(tls_files_in(home).error().code, errc::not_found);
  std::ofstream{home / "ca.key"} << "the authority's own does not count";
  EXPECT_EQ(tls_files_in(home).error().code, errc::not_found);
  std::ofstream{home / "node1.key"} << "x";
  const auto files = tls_files_in(home);
  ASSERT_TRUE(files) << files.error().to_string();
  EXPECT_EQ(files->key, home / "node1.key");
  EXPECT_EQ(files->certificate, home / "node1.pem");
  EXPECT_EQ(files->authority, home / "ca.pem");
  std::ofstream{home / "node2.key"} << "x";
  EXPECT_EQ(tls_files_in(home).error().code, errc::invalid_argument) << "which?";
}

TEST_F(certificates, a_signature_is_its_owners_and_of_those_bytes) {
  issued("a");
  issued("b");
  const auto signature = sign(files("a"), "a statement");
  ASSERT_TRUE(signature) << signature.error().to_string();
  const auto a = text(files("a").certificate), b = text(files("b").certificate);
  EXPECT_TRUE(verify(a, "a statement", *signature));
  EXPECT_EQ(verify(b, "a statement", *signature).error().code, errc::not_allowed);
  EXPECT_EQ(verify(a, "another statement", *signature).error().code, errc::not_allowed);
  EXPECT_EQ(verify(a, "a statement", "").error().code, errc::not_allowed);
  EXPECT_EQ(verify("no certificate", "a statement", *signature).error().code, errc::invalid_format);
  fs::permissions(files("a").key, fs::perms::group_read, fs::perm_options::add);
  EXPECT_EQ(sign(files("a"), "x").error().code, errc::permission_denied);
}
