#include "tests/process/promises.hpp"

#include "cluster/chaos/promise_evidence_store.hpp"

#include <gtest/gtest.h>

namespace flywheel::testing {

void expect_promises_kept(const workshop& w) {
  auto evidence = gather_evidence(state_layout{w.state});
  ASSERT_TRUE(evidence) << evidence.error().to_string();
  evidence->settled = true;
  for (const auto& v : judge_promises(*evidence))
    for (const auto& e : v.evidence)
      ADD_FAILURE() << v.promise << " (" << v.title << "): " << e;
}

void expect_one_goal_done_once(const workshop& w) {
  expect_promises_kept(w);
  EXPECT_EQ(w.count(event_kind::goal_submitted), 1u);
  EXPECT_EQ(w.count(event_kind::effect_done), 2u) << "release and rollout";
  const auto evidence = gather_evidence(state_layout{w.state});
  ASSERT_TRUE(evidence);
  EXPECT_EQ(evidence->versions.size(), 1u);
}

} // namespace flywheel::testing
