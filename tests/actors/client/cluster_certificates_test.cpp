#include "actors/client/cluster_certificates.hpp"
#include "cluster/content/publish.hpp"

#include <gtest/gtest.h>

#include <stdlib.h>

namespace flywheel {
namespace {

TEST(cluster_certificates, are_made_once_and_anew_when_their_time_is_over) {
  std::string pattern = "/tmp/fw-certs-XXXXXX";
  const std::filesystem::path root = ::mkdtemp(pattern.data());
  const auto folder = root / "certs", file = folder / "node1" / "node1.pem";
  const auto now = system_clock().wall();
  EXPECT_FALSE(ensure_certificate(folder, "node1", role::node, {}, now)) << "there is no authority";
  ASSERT_TRUE(ensure_authority(folder, now));
  ASSERT_TRUE(ensure_authority(folder, now)) << "it is kept";
  ASSERT_TRUE(ensure_certificate(folder, "node1", role::node, {"node1.lab"}, now));
  const auto first = read_file(file, 1 << 16);
  ASSERT_TRUE(first);
  ASSERT_TRUE(ensure_certificate(folder, "node1", role::node, {"node1.lab"}, now));
  EXPECT_EQ(*read_file(file, 1 << 16), *first) << "it is valid, and kept";
  ASSERT_TRUE(ensure_certificate(folder, "node1", role::node, {"node1.lab"}, now + std::chrono::hours{24 * 400}));
  EXPECT_NE(*read_file(file, 1 << 16), *first) << "its year is over";
  std::filesystem::remove_all(root);
}

TEST(cluster_certificates, names_of_hosts_and_users_become_names_that_a_certificate_can_hold) {
  EXPECT_EQ(certificate_name("node1"), "node1");
  EXPECT_EQ(certificate_name("GPU_07.Lab"), "gpu-07.lab");
  EXPECT_EQ(certificate_name("-x-"), "x");
  EXPECT_EQ(certificate_name("__"), "node");
  EXPECT_EQ(certificate_name(std::string(200, 'a')).size(), 63U);
  EXPECT_EQ(admin_name("Maria.Muster"), "admin-mariamuster");
  EXPECT_EQ(admin_name("?"), "admin-user");
}

} // namespace
} // namespace flywheel
