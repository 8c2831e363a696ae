// Orders and reports travel as JSON between agents and from the journal: what goes in must come out, and nothing else.

#include "actors/protocol/study_order.hpp"
#include "cluster/base/json.hpp"

#include <gtest/gtest.h>

using namespace flywheel;
using nlohmann::json;

namespace {

study_order whole_order() {
  study_order o;
  o.table = "/data/train.fwt";
  o.folder = "/state/trials/g-1";
  o.task.type = task_type::multiclass;
  o.task.metric = metric_name::f1;
  o.task.target = "kind";
  o.task.inputs = {"a", "b"};
  o.task.classes = {"x", "y", "z"};
  o.folds = 3;
  o.seed = 18446744073709551615u;
  o.slots = 7;
  o.memory_max = 1ull << 40;
  o.trial_seconds_max = 12.5;
  study_request r;
  r.study = "gbt";
  r.family = "gbt";
  r.space = find_family("mlp")->space;
  r.space["kind"] = {param_range::kind::choice, 0, 0, false, {"one", "two"}};
  r.planned = {{find_family("mlp")->defaults, "because"}};
  r.sampler = "random";
  r.pruner = "none";
  r.resource_max = 9;
  r.trials = 4;
  r.wall_seconds = 1.25;
  r.slot_seconds = 2.5;
  r.patience = 3;
  r.good_enough = 0.75;
  o.studies = {r, study_request{}};
  return o;
}

study_summary whole_summary() {
  study_summary s;
  s.study = "gbt";
  s.family = "gbt";
  s.ended = "trials";
  s.reason = "that part of the budget is used up";
  s.best = "gbt-0001";
  s.slot_seconds = 3.5;
  s.resource_max = 200;
  study_trial t;
  t.trial = "gbt-0001";
  t.how = "completed";
  t.params = find_family("gbt")->defaults;
  t.value = 0.1 + 0.2;
  t.standard_error = 1e-17;
  t.seconds = 0.25;
  t.resource = 60;
  t.fold_values = {0.25, 0.35};
  s.trials = {t, study_trial{"gbt-0002", "failed", {}, 0, 0, 0, 0, {}, "out of memory"}};
  return s;
}

/// Every way to lose or spoil one key of `j`, at any depth, goes through `read`: none may end the program.
template <class Read> int refusals(const json& j, Read read) {
  int refused = 0;
  const auto flat = j.flatten();
  for (const auto& [path, value] : flat.items()) {
    const json::json_pointer at{path};
    for (const json& other : {json(nullptr), json("?"), json(-1), json::array(), json::object()}) {
      auto damaged = j;
      damaged[at] = other;
      refused += read(damaged) ? 0 : 1;
    }
    auto shorter = j;
    auto& parent = shorter[at.parent_pointer()];
    if (parent.is_object()) {
      parent.erase(at.back());
      refused += read(shorter) ? 0 : 1;
    }
  }
  return refused;
}

} // namespace

TEST(study_order, an_order_survives_the_journey) {
  const auto j = json::parse(to_json(whole_order()).dump());
  const auto back = order_from_json(j);
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(to_json(*back), j);
  EXPECT_EQ(back->seed, 18446744073709551615u);
  EXPECT_EQ(back->studies[0].planned[0].first, find_family("mlp")->defaults);
  EXPECT_EQ(back->studies[0].good_enough, 0.75);
  EXPECT_FALSE(back->studies[1].good_enough);
}

TEST(study_order, a_summary_survives_the_journey_to_the_last_bit) {
  const auto j = json::parse(to_json(whole_summary()).dump());
  const auto back = summary_from_json(j);
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(to_json(*back), j);
  EXPECT_EQ(back->trials[0].value, 0.1 + 0.2);
  EXPECT_EQ(back->trials[0].standard_error, 1e-17);
}

TEST(study_order, what_is_damaged_is_refused_with_a_word_about_it) {
  EXPECT_GT(refusals(to_json(whole_order()), [](const json& j) { return bool(order_from_json(j)); }), 100);
  EXPECT_GT(refusals(to_json(whole_summary()), [](const json& j) { return bool(summary_from_json(j)); }), 60);
  for (const json& j : {json(nullptr), json(7), json::array({1}), json::object()}) {
    EXPECT_EQ(order_from_json(j).error().code, errc::invalid_format);
    EXPECT_EQ(summary_from_json(j).error().code, errc::invalid_format);
  }
}
