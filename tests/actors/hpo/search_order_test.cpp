// From what the architect kept to what hpo searches, and from studies to finalists.

#include "actors/hpo/search_order.hpp"
#include "cluster/base/json.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace flywheel;
using nlohmann::json;
using ::testing::HasSubstr;

namespace {

learning_task a_task(metric_name m = metric_name::accuracy) {
  learning_task t;
  t.type = m == metric_name::rmse ? task_type::regression : task_type::binary;
  t.metric = m;
  t.target = "left";
  t.inputs = {"minutes"};
  if (t.type == task_type::binary)
    t.classes = {"no", "yes"};
  return t;
}

study_trial a_trial(std::string id, std::string how, double value, std::uint32_t resource) {
  study_trial t;
  t.trial = std::move(id);
  t.how = std::move(how);
  t.value = value;
  t.resource = resource;
  t.params = find_family("gbt")->defaults;
  t.fold_values = {value, value};
  return t;
}

study_summary a_study(std::string family, std::string best, std::vector<study_trial> trials, std::uint32_t resource_max) {
  study_summary s;
  s.study = family;
  s.family = std::move(family);
  s.best = std::move(best);
  s.trials = std::move(trials);
  s.resource_max = resource_max;
  return s;
}

goal_spec a_goal() {
  goal_spec g;
  g.metric = {"accuracy", 0.95, 0.95};
  g.search.budget = {20, std::chrono::seconds{100}, 200};
  return g;
}

json inputs_with(const std::vector<study_summary>& looks, std::uint64_t spent_trials = 2) {
  json studies = json::array(), kept = json::array();
  for (const auto& l : looks) {
    studies.push_back(to_json(l));
    kept.push_back({{"family", l.family}, {"share", 1.0 / static_cast<double>(looks.size())}});
  }
  return {{"ingest", {{"table", "/data/train.fwt"}, {"task", to_json(a_task())}}},
          {"explore",
           {{"studies", studies},
            {"kept", kept},
            {"spent", {{"trials", spent_trials}, {"wall_seconds", 20.0}, {"slot_seconds", 40.0}}}}}};
}

study_order an_order() {
  study_order o;
  o.task = a_task();
  o.table = "/data/train.fwt";
  return o;
}

study_request a_request(std::string family) {
  study_request r;
  r.study = family;
  r.family = std::move(family);
  return r;
}

} // namespace

TEST(search_order, a_family_gets_its_share_of_what_the_exploration_left) {
  const auto looks = std::vector{a_study("gbt", "look-gbt-0001", {a_trial("look-gbt-0001", "completed", 0.9, 40)}, 60),
                                 a_study("mlp", "", {}, 10)};
  const auto plan = plan_search(a_goal(), inputs_with(looks), 2, "/trials");
  ASSERT_TRUE(plan) << plan.error().to_string();
  ASSERT_EQ(plan->order.studies.size(), 2u);
  for (const auto& s : plan->order.studies) {
    EXPECT_EQ(s.trials, 9u);
    EXPECT_DOUBLE_EQ(s.wall_seconds, 40);
    EXPECT_DOUBLE_EQ(s.slot_seconds, 80);
    EXPECT_FALSE(s.good_enough) << "the whole budget is used unless the goal says otherwise";
  }
  ASSERT_EQ(plan->known.size(), 2u);
  ASSERT_EQ(plan->known[0].size(), 1u);
  EXPECT_EQ(plan->known[0][0].how, trial_outcome::pruned) << "a look is not a full trial";
}

TEST(search_order, a_budget_that_the_exploration_used_up_leaves_nothing_to_search) {
  const auto plan = plan_search(a_goal(), inputs_with({a_study("gbt", "", {}, 10)}, 20), 2, "/trials");
  ASSERT_TRUE(plan);
  EXPECT_TRUE(plan->order.studies.empty());
}

TEST(search_order, a_goal_may_stop_at_its_threshold) {
  auto goal = a_goal();
  goal.search.stop = "threshold";
  const auto plan = plan_search(goal, inputs_with({a_study("gbt", "", {}, 10)}), 2, "/trials");
  ASSERT_TRUE(plan);
  const auto config = config_of(plan->order, plan->order.studies.at(0), "g-1", "search", 1);
  ASSERT_TRUE(config) << config.error().to_string();
  ASSERT_TRUE(config->stop.good_enough);
  EXPECT_DOUBLE_EQ(*config->stop.good_enough, 0.95);
}

TEST(search_order, the_goals_ranges_replace_the_familys_and_bind_what_was_planned) {
  search_spec wishes;
  wishes.space["gbt"]["max_depth"].high = 4;
  wishes.space["gbt"]["not_a_parameter"].high = 1;
  auto request = a_request("gbt");
  request.space = space_for(*find_family("gbt"), wishes);
  EXPECT_EQ(request.space.at("max_depth").high, 4);
  EXPECT_EQ(request.space.at("max_depth").low, 3) << "what the goal does not name stays";
  EXPECT_EQ(request.space.size(), find_family("gbt")->space.size());
  request.planned = {{find_family("gbt")->defaults, "the family's defaults"}};
  const auto config = config_of(an_order(), request, "g-1", "search", 1);
  ASSERT_TRUE(config) << config.error().to_string();
  EXPECT_EQ(std::get<std::int64_t>(config->planned.at(0).params.at("max_depth")), 4);
}

TEST(search_order, a_planned_setting_outside_the_space_is_kept) {
  auto request = a_request("mlp");
  request.planned = {{find_family("mlp")->defaults, "the family's defaults"}};
  const auto config = config_of(an_order(), request, "g-1", "search", 1);
  ASSERT_TRUE(config) << config.error().to_string();
  EXPECT_EQ(config->planned.at(0).params, find_family("mlp")->defaults);
}

TEST(search_order, an_unknown_family_is_named) {
  const auto config = config_of(an_order(), a_request("forest"), "g-1", "search", 1);
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().code, errc::not_found);
  EXPECT_THAT(config.error().to_string(), HasSubstr("forest"));
}

TEST(search_order, finalists_are_the_best_of_each_family_the_winner_first) {
  search_plan plan;
  plan.order = an_order();
  plan.looks = {a_study("gbt", "look-gbt-0001", {a_trial("look-gbt-0001", "completed", 0.91, 40)}, 60)};
  const auto out = search_outputs(plan, {a_study("mlp", "mlp-0002", {a_trial("mlp-0002", "completed", 0.93, 12)}, 40),
                                         a_study("gbt", "gbt-0003", {a_trial("gbt-0003", "completed", 0.96, 150)}, 200)});
  const auto& finalists = out.at("finalists");
  ASSERT_EQ(finalists.size(), 2u);
  EXPECT_EQ(finalists[0].at("trial"), "gbt-0003");
  EXPECT_EQ(finalists[1].at("trial"), "mlp-0002");
}

TEST(search_order, the_final_fit_follows_the_trials_own_schedule_and_stops_where_it_was_best) {
  search_plan plan;
  plan.order = an_order();
  const auto out = search_outputs(plan, {a_study("mlp", "mlp-0002", {a_trial("mlp-0002", "completed", 0.93, 12)}, 40)});
  const auto& job = out.at("finalists").at(0).at("job");
  EXPECT_EQ(job.at("resource"), 12);
  EXPECT_EQ(job.at("spec").at("resource_max"), 40) << "not 12: the learning rate would fall too early";
}

TEST(search_order, a_look_that_beat_the_search_is_a_finalist_with_the_looks_schedule) {
  search_plan plan;
  plan.order = an_order();
  plan.looks = {a_study("gbt", "look-gbt-0001", {a_trial("look-gbt-0001", "completed", 0.97, 50)}, 60)};
  const auto out = search_outputs(plan, {a_study("gbt", "gbt-0003", {a_trial("gbt-0003", "completed", 0.96, 150)}, 200)});
  EXPECT_EQ(out.at("finalists").at(0).at("trial"), "look-gbt-0001");
  EXPECT_EQ(out.at("finalists").at(0).at("job").at("spec").at("resource_max"), 60);
}

TEST(search_order, a_complete_trial_beats_a_better_one_that_was_cut_short) {
  search_plan plan;
  plan.order = an_order();
  const auto out = search_outputs(plan, {a_study("gbt", "gbt-0003", {a_trial("gbt-0003", "pruned", 0.99, 20)}, 200),
                                         a_study("mlp", "mlp-0002", {a_trial("mlp-0002", "completed", 0.93, 12)}, 40)});
  EXPECT_EQ(out.at("finalists").at(0).at("trial"), "mlp-0002");
}

TEST(search_order, for_an_error_smaller_is_better) {
  search_plan plan;
  plan.order = an_order();
  plan.order.task = a_task(metric_name::rmse);
  const auto out = search_outputs(plan, {a_study("gbt", "gbt-0003", {a_trial("gbt-0003", "completed", 4.0, 20)}, 200),
                                         a_study("mlp", "mlp-0002", {a_trial("mlp-0002", "completed", 3.0, 12)}, 40)});
  EXPECT_EQ(out.at("finalists").at(0).at("trial"), "mlp-0002");
}

TEST(search_order, nothing_tried_gives_no_finalist) {
  search_plan plan;
  plan.order = an_order();
  EXPECT_TRUE(search_outputs(plan, {a_study("gbt", "", {}, 200)}).at("finalists").empty());
}

TEST(search_order, damaged_inputs_are_an_error_not_an_end) {
  EXPECT_EQ(plan_search(a_goal(), json::object(), 2, "/t").error().code, errc::internal);
  auto j = inputs_with({a_study("gbt", "", {}, 10)});
  j["explore"]["kept"][0]["family"] = "forest";
  EXPECT_EQ(plan_search(a_goal(), j, 2, "/t").error().code, errc::not_found);
}
