#include "cluster/gang/rank_environment.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace flywheel;
using testing::Contains;
using testing::IsSupersetOf;
using testing::Not;

namespace {

const std::vector<rank_seat> two_hosts{{"a", "gpu 0", 0}, {"a", "gpu 1", 1}, {"b", "gpu 0", 0}};
const gang_place place{"g-1", 5, 2, 3, "a", 29400, "/run/g", "/ckpt"};

} // namespace

TEST(rank_environment, is_what_torchrun_sets) {
  const auto all = rank_environment({}, place, two_hosts, 2, "0");
  EXPECT_THAT(all, IsSupersetOf({"RANK=2", "WORLD_SIZE=3", "LOCAL_RANK=0", "LOCAL_WORLD_SIZE=1", "GROUP_RANK=1", "GROUP_WORLD_SIZE=2",
                                 "MASTER_ADDR=a", "MASTER_PORT=29400", "TORCHELASTIC_RESTART_COUNT=2", "TORCHELASTIC_MAX_RESTARTS=3",
                                 "TORCHELASTIC_RUN_ID=g-1", "FLYWHEEL_ATTEMPT=5", "FLYWHEEL_RENDEZVOUS=/run/g", "FLYWHEEL_CHECKPOINT=/ckpt",
                                 "CUDA_VISIBLE_DEVICES=0"}));
  EXPECT_THAT(rank_environment({}, place, two_hosts, 1, ""), IsSupersetOf({"RANK=1", "LOCAL_RANK=1", "LOCAL_WORLD_SIZE=2", "GROUP_RANK=0"}));
}

TEST(rank_environment, replaces_variables_of_the_same_name_and_keeps_the_rest) {
  const std::vector<std::string> base{"PATH=/bin", "RANK=77", "RANKS=8", "CUDA_VISIBLE_DEVICES=3"};
  const auto all = rank_environment(base, place, two_hosts, 0, "");
  EXPECT_THAT(all, IsSupersetOf({"PATH=/bin", "RANKS=8", "RANK=0", "CUDA_VISIBLE_DEVICES=3"}));
  EXPECT_THAT(all, Not(Contains("RANK=77")));
  EXPECT_THAT(rank_environment(base, place, two_hosts, 0, "1"), Not(Contains("CUDA_VISIBLE_DEVICES=3")));
}

TEST(rank_environment, ranks_that_share_a_host_get_one_thread_each_unless_told_otherwise) {
  EXPECT_THAT(rank_environment({}, place, two_hosts, 0, ""), Contains("OMP_NUM_THREADS=1"));
  EXPECT_THAT(rank_environment({}, place, two_hosts, 2, ""), Not(Contains("OMP_NUM_THREADS=1"))) << "alone on its host";
  const std::vector<std::string> base{"OMP_NUM_THREADS=4"};
  EXPECT_THAT(rank_environment(base, place, two_hosts, 0, ""), Contains("OMP_NUM_THREADS=4"));
  EXPECT_THAT(rank_environment(base, place, two_hosts, 0, ""), Not(Contains("OMP_NUM_THREADS=1")));
}
