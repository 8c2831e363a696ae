// 3,200 histories of a cluster, each from its seed; and ten deliberate defects, each of which must be found.

#include "tests/simulation/simulated_cluster.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace flywheel;
using namespace flywheel::simulation;

namespace {
constexpr std::uint64_t shards = 8, seeds_each = 400;

std::string text(const findings& all) {
  std::string out;
  for (const auto& f : all)
    out += "  " + f + "\n";
  return out;
}
} // namespace

class histories : public testing::TestWithParam<std::uint64_t> {};

TEST_P(histories, keep_every_promise) {
  for (std::uint64_t seed = GetParam() * seeds_each; seed < (GetParam() + 1) * seeds_each; ++seed) {
    const auto found = run_history(seed, {});
    ASSERT_TRUE(found.empty()) << "run_history(" << seed << ", {}) shows it again:\n" << text(found);
  }
}
INSTANTIATE_TEST_SUITE_P(cluster_simulation, histories, testing::Range<std::uint64_t>(0, shards));

TEST(cluster_simulation, the_same_seed_is_the_same_history) {
  for (const std::uint64_t seed : {3, 77, 1234}) {
    EXPECT_EQ(fingerprint(seed, {}), fingerprint(seed, {}));
    EXPECT_NE(fingerprint(seed, {}), fingerprint(seed + 1, {}));
  }
}

struct seeded_bug {
  defect what;
  const char* name;
};
class seeded_bugs : public testing::TestWithParam<seeded_bug> {};

TEST_P(seeded_bugs, are_found) {
  rules r;
  r.seeded = GetParam().what;
  std::uint64_t seed = 0;
  findings found;
  for (; seed < 400 && found.empty(); ++seed)
    found = run_history(seed, r);
  EXPECT_FALSE(found.empty()) << GetParam().name << " went unnoticed in 400 histories";
  if (!found.empty())
    std::printf("%s: found by seed %llu: %s\n", GetParam().name, static_cast<unsigned long long>(seed - 1), found.front().c_str());
}
INSTANTIATE_TEST_SUITE_P(cluster_simulation, seeded_bugs,
                         testing::Values(seeded_bug{defect::acknowledge_before_write, "acknowledge_before_write"}, seeded_bug{defect::skip_fence, "skip_fence"},
                                         seeded_bug{defect::forget_effect_key, "forget_effect_key"}, seeded_bug{defect::skip_recovery_grace, "skip_recovery_grace"},
                                         seeded_bug{defect::lease_too_long, "lease_too_long"}, seeded_bug{defect::keep_old_heads_work, "keep_old_heads_work"},
                                         seeded_bug{defect::count_ends_twice, "count_ends_twice"}, seeded_bug{defect::forget_unreported_ends, "forget_unreported_ends"},
                                         seeded_bug{defect::hide_running_work, "hide_running_work"}, seeded_bug{defect::effect_before_intent, "effect_before_intent"}),
                         [](const auto& p) { return std::string{p.param.name}; });
