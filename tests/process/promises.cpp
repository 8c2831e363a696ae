#include "tests/process/promises.hpp"

#include "checkpoints/registry.hpp"
#include "cluster/base/json.hpp"
#include "cluster/journal/journal.hpp"
#include "cluster/journal/state_directory.hpp"

#include <gtest/gtest.h>

#include <map>

namespace flywheel::testing {

using nlohmann::json;

void expect_one_goal_done_once(const workshop& w) {
  const auto verdict = verify_journal(w.state);
  ASSERT_TRUE(verdict);
  EXPECT_TRUE(verdict->intact) << verdict->reason;
  EXPECT_EQ(w.count(event_kind::goal_submitted), 1u);
  std::map<std::string, int> done, ends;
  for (const auto& e : w.journal()) {
    if (e.kind == event_kind::effect_done) {
      EXPECT_EQ(++done[e.key], 1) << e.key << " was done twice (I3)";
    }
    if (e.kind == event_kind::trial_state) {
      const auto state = json::parse(e.body).value("state", "");
      if (state == "completed" || state == "pruned" || state == "failed") {
        EXPECT_EQ(++ends[e.subject], 1) << e.subject << " was counted twice (I15)";
      }
    }
  }
  EXPECT_EQ(done.size(), 2u) << "release and rollout";
  const auto registry = model_registry::open(state_layout{w.state}.models());
  ASSERT_TRUE(registry);
  const auto versions = registry->list();
  ASSERT_TRUE(versions);
  EXPECT_EQ(versions->size(), 1u);
}

} // namespace flywheel::testing
