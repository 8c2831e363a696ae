#include "actors/client/event_view.hpp"

#include "tests/actors/client/goal_history.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace flywheel;
using flywheel::testing::goal_history;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

namespace {

struct event_view_test : ::testing::Test {
  goal_history h;
  event_view view{{}};
  std::vector<std::string> shown(const event& e) { return view.lines(e); }
};

} // namespace

TEST_F(event_view_test, a_step_says_how_long_it_took) {
  EXPECT_THAT(shown(h.step("g-1", "ingest", "started")), ElementsAre("> ingest  ingest started"));
  h.events.resize(h.events.size() + 2);
  EXPECT_THAT(shown(h.step("g-1", "ingest", "done")), ElementsAre(HasSubstr("ok ingest done (3")));
}

TEST_F(event_view_test, a_failure_comes_with_what_to_do_next) {
  shown(h.step("g-1", "ingest", "started"));
  EXPECT_THAT(shown(h.step("g-1", "ingest", "failed", {{"hint", "free some disk"}})),
              ElementsAre(HasSubstr("FAILED"), "    free some disk"));
  EXPECT_THAT(shown(h.step("g-1", "ingest", "retrying")), ElementsAre(HasSubstr("again")));
}

TEST_F(event_view_test, a_decision_comes_with_its_reason_and_what_was_not_done) {
  EXPECT_THAT(shown(h.add(event_kind::decision, "g-1", "explore", "", "keep gbt",
                          {{"choice", "keep gbt"}, {"reason", "it is better"},
                           {"rejected", {{{"what", "mlp"}, {"why", "it is worse"}}}}})),
              ElementsAre("  decided keep gbt", "    because it is better", "    not mlp: it is worse"));
}

TEST_F(event_view_test, who_must_act_is_told_how) {
  auto& e = h.add(event_kind::approval_requested, "g-1", "rollout", "a-1", "approval a-1 is needed");
  EXPECT_THAT(shown(e), ElementsAre(HasSubstr("WAITING"), HasSubstr("flywheel approve a-1"), HasSubstr("flywheel deny a-1")));
  e.body = R"({"in_advance":true})";
  EXPECT_THAT(shown(e), IsEmpty()) << "nobody has to act";
}

TEST_F(event_view_test, single_trials_are_only_for_who_asks_but_a_failed_one_is_for_all) {
  EXPECT_THAT(shown(h.trial("g-1", "gbt-0001", "completed", 0.9)), IsEmpty());
  EXPECT_THAT(shown(h.trial("g-1", "gbt-0002", "failed")), ElementsAre(HasSubstr("gbt-0002")));
  event_view all{{.verbose = true}};
  EXPECT_THAT(all.lines(h.trial("g-1", "gbt-0003", "completed", 0.9)), ElementsAre(HasSubstr("gbt-0003")));
}

TEST_F(event_view_test, the_progress_counts_trials_against_the_budget_and_names_the_best) {
  EXPECT_EQ(view.progress(goal_history::start).what, "");
  auto& goal = h.submitted("g-1", "churn");
  auto body = nlohmann::json::parse(goal.body);
  body["spec"]["search"]["budget"]["trials"] = 40;
  goal.body = body.dump();
  shown(goal);
  shown(h.step("g-1", "search", "started"));
  EXPECT_EQ(view.progress(goal_history::start).total, 0u) << "no trial yet, nothing to count";
  for (const auto& [trial, value] : {std::pair{"gbt-0001", 0.9}, {"gbt-0002", 0.95}, {"gbt-0003", 0.8}}) {
    shown(h.trial("g-1", trial, "created"));
    shown(h.trial("g-1", trial, "completed", value));
  }
  shown(h.step("g-1", "watch", "started"));
  const auto v = view.progress(goal_history::start + std::chrono::seconds{32});
  EXPECT_EQ(v.what, "search + watch, best gbt-0002 0.95");
  EXPECT_EQ(v.done, 3u);
  EXPECT_EQ(v.total, 40u);
  EXPECT_EQ(v.elapsed, std::chrono::seconds{30});
  shown(h.step("g-1", "search", "done"));
  EXPECT_EQ(view.progress(goal_history::start).what, "watch");
  EXPECT_EQ(view.progress(goal_history::start).total, 0u) << "the bar goes with the step that had trials";
}

TEST_F(event_view_test, of_an_error_the_smallest_is_best) {
  shown(h.submitted("g-1", "prices", "rmse"));
  shown(h.step("g-1", "search", "started"));
  for (const auto& [trial, value] : {std::pair{"gbt-0001", 9.0}, {"gbt-0002", 7.0}, {"gbt-0003", 8.0}}) {
    shown(h.trial("g-1", trial, "created"));
    shown(h.trial("g-1", trial, "completed", value));
  }
  EXPECT_THAT(view.progress(goal_history::start).what, HasSubstr("best gbt-0002 7"));
}

TEST_F(event_view_test, a_terminal_is_never_sent_what_data_holds) {
  for (const auto& line : shown(h.add(event_kind::decision, "g-1", "ingest", "", "leave out \x1b[2J\x07",
                                      {{"reason", "\x1b]0;title\x07"}, {"rejected", {{{"what", "\x1b[31m"}, {"why", "\r"}}}}})))
    for (const char c : line)
      EXPECT_GE(static_cast<unsigned char>(c), 0x20) << line;
}

TEST_F(event_view_test, an_unreadable_body_shows_nothing) {
  auto& e = h.step("g-1", "ingest", "done");
  for (const auto* body : {"", "[]", "{", "7"}) {
    e.body = body;
    EXPECT_THAT(shown(e), IsEmpty());
  }
}
