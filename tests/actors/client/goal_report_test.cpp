#include "actors/client/goal_report.hpp"

#include "cluster/base/text.hpp"
#include "tests/actors/client/goal_history.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace flywheel;
using flywheel::testing::goal_history;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

namespace {

goal_spec a_spec(std::string metric = "accuracy") {
  goal_spec s;
  s.name = "churn";
  s.target = "left";
  s.data.source = "/data/customers.csv";
  s.metric = {std::move(metric), 0.95, 0.95};
  s.policy.approvals = {{"rollout", {"bo"}, std::chrono::hours{1}}};
  return s;
}

struct report_test : ::testing::Test {
  goal_history h;
  report_test() {
    const auto plan = make_plan("g-1", "d", a_spec(), 1000, 2);
    h.submitted("g-1", "churn");
    h.add(event_kind::plan_made, "g-1", "", "g-1", "planned", {{"plan", to_json(plan)}, {"digest", plan_digest(plan)}});
  }
  void done(const std::string& step, const json& outputs) {
    h.step("g-1", step, "started", {{"attempt", 1}});
    h.step("g-1", step, "done", {{"outputs", outputs}, {"summary", step + " went well"}});
  }
  void whole() {
    done("ingest", {{"snapshot", "abc"}, {"train_rows", 700}, {"holdout_rows", 300}, {"rows_quarantined", 4}});
    h.add(event_kind::decision, "g-1", "ingest", "", "leave out column id",
          {{"choice", "leave out column id"}, {"reason", "it is different in every row"}});
    done("explore", {{"families", {{{"family", "gbt"}, {"value", 0.94}, {"trials", 1}, {"kept", true}},
                                   {{"family", "mlp"}, {"value", 0.9}, {"trials", 1}, {"kept", false}, {"reason", "behind"}}}}});
    done("search", {{"finalists", {{{"family", "gbt"}, {"value", 0.955}, {"trials", 9}}}}});
    done("evaluate", {{"value", 0.9616}, {"low", 0.951}, {"high", 0.97}, {"rows", 300}, {"gate", "pass"},
                      {"models", {{{"family", "gbt"}, {"value", 0.9616}, {"low", 0.951}, {"high", 0.97}, {"winner", true}}}}});
    done("release", {{"version", "churn/v1"}});
    done("rollout", {{"url", "http://127.0.0.1:1"}, {"summary", "5 -> 25 -> 100 %"}});
    h.add(event_kind::goal_state, "g-1", "", "g-1", "goal is done", {{"state", "done"}, {"reason", "all steps are done"}});
  }
  json report() const {
    goal_table table;
    for (const auto& e : h.events)
      table.apply(e);
    return goal_report(*table.find("g-1"), h.events);
  }
};

} // namespace

TEST_F(report_test, a_finished_goal_tells_what_each_family_reached_and_what_was_dropped) {
  whole();
  const auto r = report();
  EXPECT_EQ(r.at("state"), "done");
  EXPECT_EQ(r.at("data").at("quarantined"), 4);
  ASSERT_EQ(r.at("families").size(), 2u);
  EXPECT_EQ(r.at("families")[0].at("trials"), 10) << "looks and search";
  EXPECT_EQ(r.at("families")[0].at("held_out"), 0.9616);
  EXPECT_EQ(r.at("families")[1].at("note"), "behind");
  EXPECT_EQ(r.at("dropped").size(), 1u);
  const auto text = render_report(r, false);
  for (const auto& part : std::vector<std::string>{"is done", format_percent(0.9616), "95.1", "churn/v1", "http://127.0.0.1:1", "leave out column id",
                           "it is different in every row", "flywheel why churn", "pass"})
    EXPECT_THAT(text, HasSubstr(part)) << text;
}

TEST_F(report_test, a_failed_goal_says_why_and_shows_no_model) {
  h.step("g-1", "ingest", "started", {{"attempt", 1}});
  h.step("g-1", "ingest", "failed", {{"error", "not_found"}, {"what", "open customers.csv"}, {"hint", "look there"}, {"attempt", 1}});
  h.add(event_kind::goal_state, "g-1", "", "g-1", "goal is failed", {{"state", "failed"}, {"reason", "step ingest failed"}});
  const auto text = render_report(report(), false);
  EXPECT_THAT(text, HasSubstr("step ingest failed"));
  EXPECT_THAT(text, HasSubstr("open customers.csv"));
  EXPECT_THAT(text, HasSubstr("look there"));
  EXPECT_THAT(text, Not(HasSubstr("flywheel predict")));
}

TEST_F(report_test, a_goal_at_any_moment_has_a_report) {
  whole();
  const auto all = h.events;
  for (std::size_t n = 2; n <= all.size(); ++n) {
    h.events.assign(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(n));
    const auto r = report();
    EXPECT_FALSE(render_report(r, true).empty());
    EXPECT_EQ(r.at("steps").size(), 9u);
  }
}

TEST_F(report_test, a_terminal_is_never_sent_what_data_holds) {
  h.add(event_kind::decision, "g-1", "ingest", "", "x",
        {{"choice", "leave out column \x1b[2J"}, {"reason", "\x1b]0;t\x07"}});
  EXPECT_THAT(render_report(report(), false), Not(HasSubstr("\x1b")));
}

TEST_F(report_test, a_plan_says_what_it_aims_at_costs_and_needs) {
  const auto text = render_plan(make_plan("g-1", "d", a_spec(), 1000, 2), a_spec(), false);
  for (const auto* part : {"accuracy of left >= 0.95", "/data/customers.csv", "ingest", "slot-seconds", "approval of rollout by bo"})
    EXPECT_THAT(text, HasSubstr(part)) << text;
  const auto error = a_spec("rmse");
  EXPECT_THAT(render_plan(make_plan("g-1", "d", error, 1000, 2), error, false), HasSubstr("rmse of left <= 0.95"));
}
