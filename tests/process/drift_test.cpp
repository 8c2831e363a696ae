// The world changes under a served model: live requests over HTTP -> a confirmed shift -> a bounded retrain goal.

#include "cluster/base/json.hpp"
#include "tests/process/flywheel_program.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <sstream>

using namespace flywheel;
using namespace flywheel::testing;
using ::testing::HasSubstr;
using nlohmann::json;

namespace {

/// The workshop's customers, `times` over; `changed` edits each row's cells.
std::filesystem::path requests(const workshop& w, const std::string& name, int times,
                               const std::function<void(const std::vector<std::string>&, std::vector<std::string>&)>& changed) {
  std::ifstream in{w.root / "customers.csv"};
  const auto cells_of = [](const std::string& line) {
    std::vector<std::string> cells;
    std::istringstream s{line};
    for (std::string cell; std::getline(s, cell, ',');) {
      std::erase(cell, '"');
      cells.push_back(cell);
    }
    return cells;
  };
  std::string line;
  std::getline(in, line);
  const auto header = cells_of(line);
  std::vector<std::string> rows;
  while (std::getline(in, line)) {
    auto cells = cells_of(line);
    changed(header, cells);
    std::string joined;
    for (const auto& c : cells)
      joined += (joined.empty() ? "" : ",") + c;
    rows.push_back(joined);
  }
  const auto file = w.root / name;
  std::ofstream out{file};
  for (std::size_t i = 0; i < header.size(); ++i)
    out << (i == 0 ? "" : ",") << header[i];
  out << '\n';
  for (int i = 0; i < times; ++i)
    for (const auto& r : rows)
      out << r << '\n';
  return file;
}

const char* const watched = "policy:\n"
                            "  watch: {window: 200, confirm: 2}\n"
                            "  retrain: {automatic: true, cooldown: 0s}\n";

std::vector<event> of_kind(const workshop& w, event_kind kind) {
  std::vector<event> out;
  for (auto& e : w.journal())
    if (e.kind == kind)
      out.push_back(std::move(e));
  return out;
}

/// The rollout is over: what is asked from now on is live traffic.
bool served(const workshop& w) {
  for (const auto& e : of_kind(w, event_kind::goal_state))
    if (json::parse(e.body).value("state", "") == "done")
      return true;
  return false;
}

} // namespace

TEST(drift, a_shift_of_live_traffic_opens_one_bounded_retrain_goal_and_the_same_traffic_as_before_none) {
  workshop w;
  w.small_goal(watched);
  program p{w, {"run", w.goal.string(), "--approve", "--serve"}};
  ASSERT_TRUE(eventually([&] { return served(w); })) << p.err();

  const auto same = requests(w, "same.csv", 2, [](const auto&, auto&) {});
  ASSERT_EQ(run(w, {"predict", "small", "--input", same.string()}).exit_code, 0);
  ASSERT_TRUE(eventually([&] {
    for (const auto& e : of_kind(w, event_kind::observation))
      if (e.step == "watch" && json::parse(e.body).value("window", 0) >= 4)
        return true;
    return false;
  })) << "the windows of ordinary traffic were not judged";
  EXPECT_EQ(w.count(event_kind::incident), 0u);

  const auto changed = requests(w, "changed.csv", 2, [](const auto& header, auto& cells) {
    for (std::size_t i = 0; i < cells.size(); ++i) {
      if (header[i] == "total_day_minutes")
        cells[i] = std::to_string(std::stod(cells[i]) + 150);
      if (header[i] == "international_plan")
        cells[i] = "family"; // never seen
    }
  });
  ASSERT_EQ(run(w, {"predict", "small", "--input", changed.string()}).exit_code, 0);
  ASSERT_TRUE(eventually([&] { return w.count(event_kind::goal_submitted) == 2; })) << p.err();

  const auto incidents = of_kind(w, event_kind::incident);
  ASSERT_EQ(incidents.size(), 1u) << "one incident is acted on once";
  const auto subjects = json::parse(incidents[0].body).at("subjects").dump();
  EXPECT_THAT(subjects, HasSubstr("total_day_minutes"));
  EXPECT_THAT(subjects, HasSubstr("international_plan (unknown values)"));

  const auto goals = of_kind(w, event_kind::goal_submitted);
  const auto first = json::parse(goals[0].body), retrain = json::parse(goals[1].body);
  EXPECT_THAT(goals[1].goal, HasSubstr("small-retrain-"));
  EXPECT_EQ(retrain.at("user"), first.at("user")) << "its approvals are asked of whoever asked for the model";
  EXPECT_LT(retrain.at("spec").at("search").at("budget").at("trials"), first.at("spec").at("search").at("budget").at("trials"));
  EXPECT_FALSE(retrain.at("spec").at("policy").at("retrain").at("automatic")) << "a retrain does not itself retrain";

  // It needs its own approval: the first goal's --approve does not reach it.
  ASSERT_TRUE(eventually([&] {
    for (const auto& e : of_kind(w, event_kind::approval_requested))
      if (e.goal == goals[1].goal)
        return true;
    for (const auto& e : of_kind(w, event_kind::goal_state))
      if (e.goal == goals[1].goal && json::parse(e.body).value("state", "") == "failed")
        return true; // no better than the champion: that is an answer, too
    return false;
  })) << p.err();
  for (const auto& e : of_kind(w, event_kind::approval_granted))
    EXPECT_NE(e.goal, goals[1].goal);

  EXPECT_THAT(run(w, {"why", incidents[0].goal}).out, HasSubstr("total_day_minutes shifted"));
  p.signal(SIGTERM);
  EXPECT_EQ(p.wait().exit_code, 0);
}

TEST(drift, an_incident_survives_the_death_of_the_program) {
  workshop w;
  w.small_goal(watched);
  program p{w, {"run", w.goal.string(), "--approve", "--serve"}};
  ASSERT_TRUE(eventually([&] { return served(w); })) << p.err();
  const auto changed = requests(w, "changed.csv", 2, [](const auto& header, auto& cells) {
    for (std::size_t i = 0; i < cells.size(); ++i)
      if (header[i] == "total_day_minutes")
        cells[i] = std::to_string(std::stod(cells[i]) + 150);
  });
  ASSERT_EQ(run(w, {"predict", "small", "--input", changed.string()}).exit_code, 0);
  ASSERT_TRUE(eventually([&] {
    for (const auto& e : of_kind(w, event_kind::decision))
      if (e.actor == "monitor" && e.text.starts_with("confirm a shift"))
        return true;
    return false;
  })) << p.err();
  p.signal(SIGKILL); // before, while or after the learner answers
  (void)p.wait();
  program again{w, {"serve"}};
  EXPECT_TRUE(eventually([&] { return w.count(event_kind::goal_submitted) == 2; })) << again.err();
  again.signal(SIGTERM);
  (void)again.wait();
  EXPECT_EQ(w.count(event_kind::goal_submitted), 2u);
  std::map<std::string, int> done;
  for (const auto& e : of_kind(w, event_kind::effect_done)) {
    EXPECT_EQ(++done[e.key], 1) << e.key << " was done twice (I3)";
  }
}
