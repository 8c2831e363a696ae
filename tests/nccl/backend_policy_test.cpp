#include "nccl/backend_policy.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace flywheel::nccl;

TEST(backend_policy, table_of_places) {
  const struct { std::vector<rank_place> ranks; backend use; std::string reason; } table[] = {
      {{{"a", -1}}, backend::shared_memory, "rank 0 has no GPU, and all ranks are on one host"},
      {{{"a", -1}, {"a", -1}}, backend::shared_memory, "one host"},
      {{{"a", -1}, {"b", -1}}, backend::gloo, "2 hosts"},
      {{{"a", 0}}, backend::nccl, "GPU of its own"},
      {{{"a", 0}, {"a", 1}}, backend::nccl, "each of the 2 ranks"},
      {{{"a", 0}, {"b", 0}}, backend::nccl, "GPU of its own"},
      {{{"a", 0}, {"a", 0}}, backend::shared_memory, "ranks 0 and 1 share GPU 0 of a"},
      {{{"a", 0}, {"b", 1}, {"b", 1}}, backend::gloo, "ranks 1 and 2 share GPU 1 of b"},
      {{{"a", 0}, {"a", -1}}, backend::shared_memory, "rank 1 has no GPU"},
      {{}, backend::shared_memory, "no ranks"}};
  for (const auto& t : table) {
    const auto choice = choose_backend(t.ranks);
    EXPECT_EQ(choice.use, t.use) << choice.reason;
    EXPECT_THAT(choice.reason, testing::HasSubstr(t.reason));
  }
}

TEST(backend_policy, names_read_back) {
  for (const auto b : {backend::shared_memory, backend::gloo, backend::nccl})
    EXPECT_EQ(backend_from_name(name_of(b)), b);
  EXPECT_EQ(backend_from_name("mpi"), std::nullopt);
}
