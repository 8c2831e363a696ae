// `flywheel certs` as an administrator uses it.

#include "cluster/base/json.hpp"
#include "tests/process/flywheel_program.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

using namespace flywheel;
using namespace flywheel::testing;
using ::testing::HasSubstr;

TEST(certs, an_authority_vouches_for_nodes_and_users_and_for_nobody_else) {
  const workshop w;
  const auto folder = [&](const char* name) { return (w.root / name).string(); };
  EXPECT_EQ(run(w, {"certs", "issue", "a", "--role", "node", "--to", folder("a")}).exit_code, 3) << "no authority yet";
  const auto made = run(w, {"certs", "init", "lab"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_THAT(made.out, HasSubstr("ca.key"));
  EXPECT_EQ(run(w, {"certs", "init", "lab"}).exit_code, 1) << "never overwritten";

  const auto issued = run(w, {"certs", "issue", "node1", "--role", "node", "--host", "node1.lab", "--host", "10.0.0.7", "--to", folder("node1")});
  ASSERT_EQ(issued.exit_code, 0) << issued.err;
  const auto shown = run(w, {"certs", "show", folder("node1") + "/node1.pem", "-o", "json"});
  ASSERT_EQ(shown.exit_code, 0) << shown.err;
  const auto who = nlohmann::json::parse(shown.out);
  EXPECT_EQ(who["name"], "node1");
  EXPECT_EQ(who["role"], "node");
  EXPECT_EQ(who["cluster"], "lab");

  ASSERT_EQ(run(w, {"certs", "init", "lab", "--dir", folder("other")}).exit_code, 0);
  const auto stranger = run(w, {"certs", "show", folder("node1") + "/node1.pem", "--ca", folder("other") + "/ca.pem"});
  EXPECT_EQ(stranger.exit_code, 4);
  EXPECT_THAT(stranger.err, HasSubstr("does not vouch"));

  EXPECT_EQ(run(w, {"certs", "issue", "../x", "--role", "node", "--to", folder("x")}).exit_code, 2);
  EXPECT_EQ(run(w, {"certs", "issue", "x", "--role", "root", "--to", folder("x")}).exit_code, 2);
  EXPECT_FALSE(std::filesystem::exists(folder("x")));
  std::filesystem::permissions(folder("other") + "/ca.key", std::filesystem::perms::group_read, std::filesystem::perm_options::add);
  EXPECT_EQ(run(w, {"certs", "issue", "x", "--role", "viewer", "--dir", folder("other"), "--to", folder("x")}).exit_code, 4);
}
