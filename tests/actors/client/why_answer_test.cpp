#include "actors/client/why_answer.hpp"

#include "cluster/base/text.hpp"
#include "tests/actors/client/goal_history.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace flywheel;
using flywheel::testing::goal_history;
using nlohmann::json;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

namespace {

struct why_test : ::testing::Test {
  goal_history h;
  why_test() {
    h.submitted("churn-1", "churn");
    h.step("churn-1", "ingest", "started");
    h.step("churn-1", "ingest", "done");
    h.step("churn-1", "explore", "started");
    h.add(event_kind::decision, "churn-1", "explore", "", "keep gbt",
          {{"choice", "keep gbt"}, {"reason", "it is surely better"}, {"evidence", {{"gbt", 0.95}}},
           {"rejected", {{{"what", "search mlp"}, {"why", "it is 2 points behind"}}}}});
    h.trial("churn-1", "gbt-0001", "completed", 0.9);
    h.trial("churn-1", "gbt-0002", "pruned", 0.8);
    h.add(event_kind::approval_requested, "churn-1", "rollout", "a-12", "approval a-12 is needed");
    h.add(event_kind::model_registered, "churn-1", "release", "churn/v1", "churn/v1 is registered");
    h.submitted("churn2-1", "churn2");
    h.step("churn2-1", "ingest", "started");
    h.add(event_kind::model_registered, "churn2-1", "release", "churn2/v1", "churn2/v1 is registered");
    h.submitted("churn-2", "churn");
  }
  std::vector<why_subject> asked(const std::string& question) const { return find_subjects(h.events, question); }
  std::string answer(const std::string& question, bool all = false) const {
    const auto subjects = asked(question);
    EXPECT_FALSE(subjects.empty()) << question;
    return subjects.empty() ? "" : join(why(h.events, subjects.front(), {.all = all}), "\n");
  }
};

} // namespace

TEST_F(why_test, everything_can_be_asked_by_its_name) {
  struct row { const char* question; const char* kind; const char* goal; };
  for (const auto& [question, kind, goal] :
       {row{"churn-1", "goal", "churn-1"}, {"gbt-0001", "trial", "churn-1"}, {"a-12", "approval", "churn-1"},
        {"churn/v1", "model", "churn-1"}, {"churn-1/explore", "step", "churn-1"}, {"explore", "step", "churn-1"}}) {
    const auto found = asked(question);
    ASSERT_FALSE(found.empty()) << question;
    EXPECT_EQ(found.front().kind, kind) << question;
    EXPECT_EQ(found.front().goal, goal) << question;
  }
  EXPECT_THAT(asked("nothing-of-the-kind"), IsEmpty());
}

TEST_F(why_test, a_name_means_the_goal_submitted_last) { EXPECT_EQ(asked("churn").front().goal, "churn-2"); }

TEST_F(why_test, a_step_of_several_goals_is_asked_of_each) {
  EXPECT_EQ(asked("ingest").size(), 2u);
  EXPECT_EQ(asked("churn2/ingest").size(), 1u);
}

TEST_F(why_test, a_decision_is_told_with_reason_and_what_was_not_done) {
  const auto text = answer("churn-1");
  EXPECT_THAT(text, HasSubstr("hpo decided to keep gbt"));
  EXPECT_THAT(text, HasSubstr("Because it is surely better"));
  EXPECT_THAT(text, HasSubstr("Not search mlp: it is 2 points behind"));
  EXPECT_THAT(text, Not(HasSubstr("Evidence")));
  EXPECT_THAT(answer("churn-1", true), HasSubstr("Evidence: {\"gbt\":0.95}"));
}

TEST_F(why_test, small_things_are_told_only_when_all_is_asked_for) {
  EXPECT_THAT(answer("churn-1"), Not(HasSubstr("gbt-0002")));
  EXPECT_THAT(answer("churn-1", true), HasSubstr("gbt-0002"));
  EXPECT_THAT(answer("gbt-0002"), HasSubstr("pruned"));
  EXPECT_THAT(answer("gbt-0002"), Not(HasSubstr("gbt-0001")));
}

TEST_F(why_test, a_models_answer_is_not_that_of_a_model_whose_name_begins_alike) {
  EXPECT_THAT(answer("churn/v1"), HasSubstr("churn/v1 is registered"));
  EXPECT_THAT(answer("churn/v1"), Not(HasSubstr("churn2/v1")));
}

TEST_F(why_test, what_can_be_asked_is_known_for_did_you_mean) {
  const auto all = known_subjects(h.events);
  for (const auto* name : {"churn-1", "churn", "ingest", "gbt-0001", "churn/v1", "churn2", "a-12"})
    EXPECT_THAT(all, Contains(name));
}

TEST_F(why_test, events_of_a_goal_whose_beginning_is_lost_end_no_program) {
  h.events.erase(h.events.begin());
  EXPECT_NO_THROW(asked("ingest"));
  EXPECT_NO_THROW(asked("churn2/ingest"));
  h.events.front().body = "[]";
  EXPECT_NO_THROW(answer("churn2-1", true));
}

TEST_F(why_test, a_gang_is_asked_for_by_its_name) {
  h.add(event_kind::gang_state, "", "", "g1", "gang g1: attempt 1 begins on a (cpu 0)", {{"state", "started"}});
  h.add(event_kind::decision, "", "", "g1", "start gang g1 again", {{"choice", "start gang g1 again"}, {"reason", "rank 0 was killed"}});
  h.add(event_kind::gang_state, "", "", "g2", "gang g2: something else", {{"state", "started"}});
  ASSERT_FALSE(asked("g1").empty());
  EXPECT_EQ(asked("g1").front().kind, "gang");
  EXPECT_THAT(answer("g1"), HasSubstr("attempt 1 begins"));
  EXPECT_THAT(answer("g1"), HasSubstr("Because rank 0 was killed"));
  EXPECT_THAT(answer("g1"), Not(HasSubstr("g2")));
  EXPECT_THAT(known_subjects(h.events), Contains("g2"));
}
