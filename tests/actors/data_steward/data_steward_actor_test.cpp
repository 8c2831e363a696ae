// The steward's way with the other agents; what it does with data is tested without actors.

#include "actors/data_steward/data_steward_actor.hpp"

#include "cluster/base/json.hpp"
#include "cluster/goal/goal_parser.hpp"
#include "cluster/security/sealed_box.hpp"
#include "tests/actors/agent_workbench.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

using namespace flywheel;
using ::testing::HasSubstr;

namespace {

/// An evaluator that is asked before it has its key: it answers later, from another message.
struct late_evaluator_state {
  caf::typed_response_promise<sealing_key> asked;
};
using late_evaluator = evaluator_agent::stateful_pointer<late_evaluator_state>;

evaluator_agent::behavior_type late(late_evaluator self, sealing_key key) {
  return {
      [](const run_step&) { return step_outcome{}; },
      [=](seal_key_atom) -> caf::result<sealing_key> {
        self->state.asked = self->make_response_promise<sealing_key>();
        cafx::delayed_send(self, self, std::chrono::milliseconds{20}, stop_step{});
        return self->state.asked;
      },
      [](const replay_traffic&) { return replay_report{}; },
      [=](const stop_step&) { self->state.asked.deliver(key); },
  };
}

struct data_steward_agent_test : ::testing::Test {
  flywheel::testing::agent_workbench bench;

  run_step an_ingest() {
    std::ofstream rows{bench.root / "rows.csv"};
    rows << "minutes,left\n";
    for (int i = 0; i < 100; ++i)
      rows << i * 37 % 90 << (i % 3 == 0 ? ",yes\n" : ",no\n");
    rows.close();
    std::ofstream goal{bench.root / "goal.yaml"};
    goal << "flywheel: 1\nname: small\ndata: {source: rows.csv}\ntarget: left\nmetric: accuracy >= 0.5\n";
    goal.close();
    const auto parsed = parse_goal_file(bench.root / "goal.yaml");
    EXPECT_TRUE(parsed && parsed->ok());
    return {"g-1", "ingest", "ana", to_json(parsed->spec).dump(), "{}", 1};
  }
  evaluator_agent an_evaluator(sealing_key key) { return bench.keep(bench.system->spawn(late, std::move(key))); }
  /// What the steward answers.
  step_outcome ingest_with(evaluator_agent evaluator) {
    bench.agents.set(&agent_directory::parts::evaluator, evaluator);
    const auto steward = bench.keep(spawn_data_steward(*bench.system, bench.context));
    caf::scoped_actor self{*bench.system};
    step_outcome out;
    cafx::request(self.ptr(), steward, std::chrono::seconds{60}, an_ingest())
        .receive([&](step_outcome& o) { out = std::move(o); },
                 [](caf::error& e) { ADD_FAILURE() << cafx::render(e); });
    return out;
  }
};

} // namespace

TEST_F(data_steward_agent_test, waits_for_an_evaluator_that_is_still_making_its_key) {
  const auto key = seal_private_key::load_or_create(bench.root / "key");
  ASSERT_TRUE(key);
  const auto out = ingest_with(an_evaluator({{}, key->public_key().hex()}));
  EXPECT_FALSE(out.problem) << out.problem.to_error().to_string();
  EXPECT_THAT(out.summary, HasSubstr("sealed for the evaluator"));
}

TEST_F(data_steward_agent_test, says_why_an_evaluator_has_no_key) {
  const auto out = ingest_with(an_evaluator({error{errc::disk_full, "no room for the key"}, {}}));
  EXPECT_EQ(out.problem.to_error().code, errc::disk_full);
  EXPECT_THAT(out.problem.to_error().to_string(), HasSubstr("asking the evaluator for its key"));
}

TEST_F(data_steward_agent_test, a_dead_evaluator_means_try_again) {
  const auto evaluator = an_evaluator({});
  caf::scoped_actor self{*bench.system};
  self->send_exit(evaluator, caf::exit_reason::kill);
  self->wait_for(evaluator);
  EXPECT_EQ(ingest_with(evaluator).problem.to_error().code, errc::interrupted);
}

TEST_F(data_steward_agent_test, garbage_for_a_key_seals_nothing) {
  const auto out = ingest_with(an_evaluator({{}, "00ff"}));
  EXPECT_TRUE(static_cast<bool>(out.problem));
}
