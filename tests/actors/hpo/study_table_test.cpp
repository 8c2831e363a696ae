#include "cluster/base/json.hpp"
#include "tests/actors/hpo/study_driver.hpp"

#include "actors/hpo/study_format.hpp"
#include "cluster/base/random.hpp"

namespace flywheel {
namespace {
using namespace testing;
using namespace std::chrono_literals;
using flywheel::testing::range;
using kind = study_action::kind;

study_config small_study() {
  study_config c;
  c.goal = "g-1";
  c.step = "search";
  c.epoch = 7;
  c.study = "gbt";
  c.family = "gbt";
  c.space = mixed().space;
  c.planned = {{{{"kind", std::string{"a"}}, {"depth", std::int64_t{3}}, {"rate", 0.1}}, "the family's defaults"}};
  c.maximise = false;
  c.resource_max = 9;
  c.rungs = {1, 3, 9};
  c.parallel = 1;
  c.budget = {20, 10h, 100'000};
  return c;
}

/// Value falls with the resource towards the objective's.
fake_work mixed_work() {
  return {[o = mixed()](const param_set& p, std::uint32_t r) { return o.value(p) + 1.0 / r; }};
}

TEST(study_table, runs_to_the_end_of_its_trials_and_finds_a_good_one) {
  study_driver d{small_study(), mixed_work()};
  ASSERT_TRUE(d.run());
  const auto v = d.table.verdict();
  EXPECT_EQ(v.why, study_end::trials);
  EXPECT_EQ(v.counts.created, 20u);
  EXPECT_EQ(v.counts.running, 0u);
  EXPECT_GT(v.counts.pruned, 5u) << "halving at eta 3 stops most";
  ASSERT_TRUE(v.best);
  EXPECT_EQ(v.best->how, trial_outcome::completed);
  EXPECT_LT(v.best->value, 1.0);
  EXPECT_EQ(v.best->fold_values.size(), 3u);
  EXPECT_EQ(v.spent.trials, 20u);
  EXPECT_EQ(d.table.ledger().reserved(), budget_use{}) << "nothing stays reserved";
  EXPECT_EQ(d.table.find("gbt-0001")->source, "planned");
}

TEST(study_table, writes_each_start_with_reason_and_reservation_before_acting) {
  study_table t{small_study()};
  t.begin_session({0});
  const auto a = t.next({0});
  ASSERT_EQ(a.what, kind::start);
  ASSERT_EQ(a.drafts.size(), 3u);
  EXPECT_EQ(a.drafts[0].kind, event_kind::trial_state);
  EXPECT_NE(a.drafts[0].text.find("the family's defaults"), std::string::npos);
  EXPECT_EQ(a.drafts[1].kind, event_kind::budget_reserved);
  EXPECT_EQ(a.drafts[1].key, "gbt-0001/1");
  EXPECT_EQ(a.drafts[2].kind, event_kind::trial_state);
  for (const auto& d : a.drafts) {
    EXPECT_EQ(d.goal, "g-1");
    EXPECT_EQ(d.step, "search");
    EXPECT_EQ(d.epoch, 7u);
    EXPECT_EQ(d.subject, "gbt-0001");
  }
  EXPECT_EQ(a.spec.seed, 1u);
  EXPECT_EQ(a.spec.rungs, (std::vector<std::uint32_t>{1, 3, 9}));
  // Not appended, so not so: asked again, it says the same.
  const auto again = t.next({0});
  EXPECT_EQ(again.spec.trial, a.spec.trial);
  EXPECT_EQ(again.drafts[0].body, a.drafts[0].body);
  EXPECT_EQ(t.counts().created, 0u);
}

// --- promises -----------------------------------------------------------------------------------------------------------

std::map<std::uint32_t, param_set> params_of(const study_table& t) {
  std::map<std::uint32_t, param_set> all;
  for (const auto& [number, trial] : t.trials())
    all[number] = trial.params;
  return all;
}

TEST(study_table, killed_after_any_event_it_goes_on_as_if_nothing_had_happened) { // I13, I15, I9
  const auto config = small_study();
  study_driver undisturbed{config, mixed_work()};
  ASSERT_TRUE(undisturbed.run());
  const std::size_t total = undisturbed.events.size();
  ASSERT_GT(total, 80u);
  for (std::size_t kill = 0; kill < total; ++kill) {
    study_driver first{config, mixed_work()};
    ASSERT_FALSE(first.run(kill)) << "killed at " << kill;
    auto later = config;
    later.epoch = 8;
    study_driver second{later, mixed_work(), first.events, first.now() + 1h};
    ASSERT_TRUE(second.run());
    ASSERT_EQ(params_of(second.table), params_of(undisturbed.table)) << "killed at " << kill;
    const auto a = second.table.verdict(), b = undisturbed.table.verdict();
    ASSERT_EQ(a.why, b.why);
    ASSERT_EQ(a.best->id, b.best->id);
    ASSERT_EQ(a.best->value, b.best->value);
    ASSERT_EQ(a.counts.completed, b.counts.completed);
    ASSERT_EQ(a.counts.pruned, b.counts.pruned);
    ASSERT_EQ(a.spent.trials, 20u);
  }
}

TEST(study_table, survives_being_killed_again_and_again_with_many_workers) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    auto random = random_source{seed};
    auto config = small_study();
    config.parallel = static_cast<std::uint32_t>(1 + random.below(4));
    config.attempts_max = 1000;
    std::vector<written> events;
    wall_time now{0};
    bool done = false;
    for (int process = 0; process < 200 && !done; ++process) {
      config.epoch = static_cast<std::uint64_t>(process);
      study_driver d{config, mixed_work(), events, now};
      done = d.run(events.size() + random.below(40));
      events = d.events;
      now = d.now() + std::chrono::minutes{random.below(100)};
      if (done) {
        const auto v = d.table.verdict();
        EXPECT_EQ(v.counts.created, 20u);
        EXPECT_EQ(v.counts.failed, 0u);
        EXPECT_EQ(v.spent.trials, 20u);
        EXPECT_EQ(d.table.ledger().reserved(), budget_use{});
      }
    }
    EXPECT_TRUE(done) << "seed " << seed;
  }
}

TEST(study_table, counts_an_event_once_however_often_it_comes) { // I15
  study_driver d{small_study(), mixed_work()};
  ASSERT_TRUE(d.run());
  study_table twice{small_study()};
  for (const auto& w : d.events)
    for (int i = 0; i < 2; ++i)
      ASSERT_TRUE(twice.apply(w.e, w.at).ok()) << w.e.text;
  for (const auto& w : d.events)
    ASSERT_TRUE(twice.apply(w.e, w.at).ok()) << w.e.text;
  EXPECT_EQ(twice.counts().completed, d.table.counts().completed);
  EXPECT_EQ(twice.counts().pruned, d.table.counts().pruned);
  EXPECT_EQ(twice.ledger().spent(), d.table.ledger().spent());
  EXPECT_EQ(twice.verdict().reason, d.table.verdict().reason);
}

TEST(study_table, a_result_that_comes_twice_or_from_an_older_attempt_writes_nothing) {
  study_table t{small_study()};
  t.begin_session({0});
  const auto a = t.next({0});
  ASSERT_TRUE(t.apply_all(a.drafts, {0}).ok());
  t.begin_session({1'000'000'000}); // the trainer was restarted
  const auto b = t.next({1'000'000'000});
  ASSERT_EQ(b.what, kind::start);
  EXPECT_EQ(b.spec.trial, a.spec.trial);
  EXPECT_EQ(b.attempt, 2u);
  ASSERT_TRUE(t.apply_all(b.drafts, {1'000'000'000}).ok());

  trial_result r;
  r.best_value = 0.5;
  r.best_resource = 9;
  r.seconds = 3;
  EXPECT_TRUE(t.on_end(a.spec.trial, 1, r).empty()) << "attempt 1 is gone";
  EXPECT_FALSE(t.on_report(a.spec.trial, 1, {0, 1, 0.5, 0.1}, {}).go_on);
  const auto end = t.on_end(a.spec.trial, 2, r);
  ASSERT_EQ(end.size(), 2u);
  ASSERT_TRUE(t.apply_all(end, {4'000'000'000}).ok());
  EXPECT_TRUE(t.on_end(a.spec.trial, 2, r).empty());
  EXPECT_TRUE(t.on_failure(a.spec.trial, 2, error{errc::worker_lost, "late"}, 1).empty());
  EXPECT_TRUE(t.on_failure("gbt-9999", 1, error{errc::worker_lost, "never was"}, 1).empty());
  EXPECT_EQ(t.counts().completed, 1u);
}

TEST(study_table, judges_a_rung_once_and_repeats_its_word_after_a_resume) {
  study_table t{small_study()};
  t.begin_session({0});
  const auto a = t.next({0});
  ASSERT_TRUE(t.apply_all(a.drafts, {0}).ok());
  const auto v = t.on_report(a.spec.trial, 1, {0, 1, 0.5, 0.1}, {0});
  ASSERT_EQ(v.drafts.size(), 1u);
  ASSERT_TRUE(t.apply_all(v.drafts, {0}).ok());
  const auto again = t.on_report(a.spec.trial, 1, {0, 1, 0.7, 0.1}, {0});
  EXPECT_TRUE(again.drafts.empty());
  EXPECT_EQ(again.go_on, v.go_on);
  EXPECT_EQ(again.reason, v.reason);
}

// --- budgets ------------------------------------------------------------------------------------------------------------

TEST(study_table, never_spends_more_slot_time_than_it_has_and_says_so) {
  auto c = small_study();
  c.budget.slot_seconds = 73;
  c.parallel = 2;
  c.kill_grace = 1s;
  study_driver d{c, mixed_work()}; // ten seconds a full trial
  ASSERT_TRUE(d.run());
  const auto v = d.table.verdict();
  EXPECT_EQ(v.why, study_end::slot_time) << v.reason;
  EXPECT_NE(v.reason.find("slot time are left"), std::string::npos) << v.reason;
  EXPECT_LE(v.spent.slots, 73s);
  EXPECT_GE(v.spent.slots, 55s) << "and does not give up early";
  EXPECT_EQ(d.table.ledger().overrun(), 0s);
  EXPECT_TRUE(v.best);
}

TEST(study_table, a_budget_too_small_for_any_trial_ends_at_once) {
  for (const auto& b : {budget_limits{0, 1h, 100}, budget_limits{5, 1h, 0}, budget_limits{5, 1h, 1.5}, budget_limits{5, 0s, 100}}) {
    auto c = small_study();
    c.budget = b;
    study_driver d{c, mixed_work()};
    ASSERT_TRUE(d.run());
    const auto v = d.table.verdict();
    EXPECT_EQ(v.counts.created, 0u);
    EXPECT_FALSE(v.best);
    EXPECT_FALSE(v.reason.empty());
    EXPECT_NE(d.events.back().e.text.find("without a usable trial"), std::string::npos);
  }
}

TEST(study_table, stops_what_runs_when_the_wall_time_is_over) {
  auto c = small_study();
  c.budget.wall_time = 25s;
  c.parallel = 2;
  study_driver d{c, mixed_work()};
  ASSERT_TRUE(d.run());
  const auto v = d.table.verdict();
  EXPECT_EQ(v.why, study_end::wall_time) << v.reason;
  EXPECT_EQ(v.counts.running, 0u);
  EXPECT_LE(d.table.active(d.now()), 40s);
}

TEST(study_table, time_while_nobody_ran_is_not_wall_time) {
  auto c = small_study();
  c.budget.wall_time = 1000s;
  study_driver first{c, mixed_work()};
  ASSERT_FALSE(first.run(30));
  const auto used = first.table.active(first.now());
  EXPECT_GT(used, 0s);
  c.epoch = 8;
  study_driver second{c, mixed_work(), first.events, first.now() + 24h};
  EXPECT_LE(second.table.active(second.now()), used);
  EXPECT_GE(second.table.active(second.now()), used - 10s);
  ASSERT_TRUE(second.run());
  EXPECT_EQ(second.table.verdict().why, study_end::trials);
}

TEST(study_table, a_wall_clock_that_steps_back_gives_no_time_back) {
  study_table t{small_study()};
  t.begin_session({100'000'000'000});
  ASSERT_TRUE(t.apply_all(t.next({100'000'000'000}).drafts, {130'000'000'000}).ok());
  EXPECT_EQ(t.active({50'000'000'000}), 30s);
  EXPECT_EQ(t.active({131'000'000'000}), 31s);
}

TEST(study_table, a_trial_cut_by_the_last_of_the_budget_is_pruned_and_a_slow_one_is_failed) {
  auto c = small_study();
  c.kill_grace = 1s;
  c.trial_time_max = 20s;
  c.budget.slot_seconds = 11; // 10 s for the trial, 1 s of grace
  auto work = mixed_work();
  work.seconds = [](const param_set&) { return 40.0; };
  study_driver cut{c, work};
  ASSERT_TRUE(cut.run());
  EXPECT_EQ(cut.table.find("gbt-0001")->how, trial_outcome::pruned);
  EXPECT_NE(cut.table.find("gbt-0001")->ending.find("all that the budget had left"), std::string::npos);
  EXPECT_EQ(cut.table.verdict().best->resource, 1u) << "what it reported before the cut is not lost";

  c.budget.slot_seconds = 1000;
  study_driver slow{c, work};
  ASSERT_TRUE(slow.run());
  EXPECT_EQ(slow.table.find("gbt-0001")->how, trial_outcome::failed);
  EXPECT_EQ(slow.table.find("gbt-0001")->cause.code, errc::timed_out);
}

// --- other ends ---------------------------------------------------------------------------------------------------------

TEST(study_table, ends_when_good_enough_with_confidence_and_not_before) {
  auto c = small_study();
  c.maximise = true;
  c.pruner = "none";
  c.stop.good_enough = 0.95;
  // Three folds, standard error 0.01: 95 % one-sided is 2.92 errors. 0.97 is not enough, 0.98 is.
  int calls = 0;
  fake_work work{[&](const param_set&, std::uint32_t r) { return r < 9 ? 0.5 : (++calls < 3 ? 0.97 : 0.98); }};
  study_driver d{c, work};
  ASSERT_TRUE(d.run());
  const auto v = d.table.verdict();
  EXPECT_EQ(v.why, study_end::good_enough) << v.reason;
  EXPECT_EQ(v.counts.created, 3u);
  EXPECT_NE(v.reason.find("0.98"), std::string::npos) << v.reason;
  EXPECT_NE(v.reason.find("0.95 was asked for"), std::string::npos) << v.reason;
}

TEST(study_table, stops_the_siblings_when_one_is_good_enough) {
  auto c = small_study();
  c.maximise = true;
  c.pruner = "none";
  c.parallel = 3;
  c.stop.good_enough = 0.9;
  fake_work work{[](const param_set&, std::uint32_t r) { return r < 9 ? 0.5 : 0.99; }};
  study_driver d{c, work};
  ASSERT_TRUE(d.run());
  const auto v = d.table.verdict();
  EXPECT_EQ(v.why, study_end::good_enough);
  EXPECT_EQ(v.counts.completed, 1u);
  EXPECT_EQ(v.counts.pruned, 2u);
  EXPECT_EQ(d.stopped.size(), 2u);
  EXPECT_EQ(d.running(), 0u);
}

TEST(study_table, loses_patience_after_so_many_trials_without_a_better_one) {
  auto c = small_study();
  c.pruner = "none";
  c.stop.patience = 4;
  c.stop.improvement_min = 0.1;
  int n = 0;
  fake_work work{[&](const param_set&, std::uint32_t r) { return r < 9 ? 9.0 : (++n < 3 ? 5.0 - n : 2.95); }};
  study_driver d{c, work}; // 4, 3, then 2.95 for ever: not better by 0.1
  ASSERT_TRUE(d.run());
  const auto v = d.table.verdict();
  EXPECT_EQ(v.why, study_end::patience);
  EXPECT_EQ(v.counts.created, 6u);
  EXPECT_NE(v.reason.find("4 trials in a row"), std::string::npos) << v.reason;
}

TEST(study_table, gives_up_when_every_trial_fails_and_names_the_cause) {
  auto work = mixed_work();
  work.fails = [](const trial_spec&) { return error{errc::out_of_memory, "the worker needed 9 GiB"}; };
  study_driver d{small_study(), work};
  ASSERT_TRUE(d.run());
  const auto v = d.table.verdict();
  EXPECT_EQ(v.why, study_end::failing);
  EXPECT_EQ(v.counts.failed, 5u);
  EXPECT_FALSE(v.best);
  EXPECT_NE(v.reason.find("9 GiB"), std::string::npos) << v.reason;
}

TEST(study_table, one_crash_is_one_failed_trial) {
  auto work = mixed_work();
  work.fails = [](const trial_spec& s) -> std::optional<error> {
    if (s.trial == "gbt-0003")
      return error{errc::worker_lost, "signal 11"};
    return std::nullopt;
  };
  study_driver d{small_study(), work};
  ASSERT_TRUE(d.run());
  EXPECT_EQ(d.table.counts().failed, 1u);
  EXPECT_EQ(d.table.find("gbt-0003")->cause.code, errc::worker_lost);
  EXPECT_EQ(d.table.verdict().why, study_end::trials);
}

TEST(study_table, a_value_that_is_not_finite_is_a_failed_trial) {
  auto work = mixed_work();
  work.value = [](const param_set&, std::uint32_t r) { return r < 9 ? 1.0 : std::nan(""); };
  auto c = small_study();
  c.budget.trials = 2;
  study_driver d{c, work};
  ASSERT_TRUE(d.run());
  EXPECT_EQ(d.table.counts().failed, 2u);
  EXPECT_FALSE(d.table.verdict().best);
}

TEST(study_table, ends_when_a_finite_space_is_exhausted) {
  auto c = small_study();
  c.space = {{"kind", choice({"a", "b"})}, {"depth", whole(1, 3)}};
  c.planned.clear();
  fake_work work{[](const param_set&, std::uint32_t) { return 1.0; }};
  study_driver d{c, work};
  ASSERT_TRUE(d.run());
  EXPECT_EQ(d.table.verdict().why, study_end::exhausted);
  EXPECT_EQ(d.table.counts().created, 6u);
}

TEST(study_table, a_trial_that_comes_further_each_time_is_not_given_up_however_often_its_node_is_killed) {
  auto c = small_study();
  c.attempts_max = 2;
  c.resource_max = 9;
  c.rungs = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  study_table t{c};
  for (std::uint32_t attempt = 1; attempt <= 8; ++attempt) {
    const wall_time now{attempt * 1'000'000'000};
    t.begin_session(now);
    const auto a = t.next(now);
    ASSERT_EQ(a.what, kind::start) << "attempt " << attempt;
    ASSERT_EQ(a.spec.trial, "gbt-0001");
    ASSERT_TRUE(t.apply_all(a.drafts, now).ok());
    const auto v = t.on_report(a.spec.trial, attempt, {attempt - 1, attempt, 0.5, 0.1}, now);
    ASSERT_TRUE(t.apply_all(v.drafts, now).ok());
  }
  EXPECT_EQ(t.find("gbt-0001")->how, trial_outcome::running);
}

TEST(study_table, a_trial_that_takes_its_node_down_each_time_is_given_up) {
  auto c = small_study();
  c.attempts_max = 3;
  study_table t{c};
  for (std::uint32_t attempt = 1; attempt <= 3; ++attempt) {
    t.begin_session({attempt * 1'000'000'000});
    const auto a = t.next({attempt * 1'000'000'000});
    ASSERT_EQ(a.what, kind::start);
    EXPECT_EQ(a.spec.trial, "gbt-0001");
    EXPECT_EQ(a.attempt, attempt);
    ASSERT_TRUE(t.apply_all(a.drafts, {attempt * 1'000'000'000}).ok());
  }
  t.begin_session({9'000'000'000});
  const auto a = t.next({9'000'000'000});
  ASSERT_EQ(a.what, kind::record);
  ASSERT_TRUE(t.apply_all(a.drafts, {9'000'000'000}).ok());
  EXPECT_EQ(t.find("gbt-0001")->how, trial_outcome::failed);
  EXPECT_NE(t.find("gbt-0001")->ending.find("3 attempts"), std::string::npos);
  EXPECT_EQ(t.ledger().reserved(), budget_use{});
  EXPECT_EQ(t.next({9'000'000'000}).spec.trial, "gbt-0002");
}

TEST(study_table, starts_from_what_an_earlier_look_knew) {
  auto c = small_study();
  c.planned.clear();
  const auto o = mixed();
  auto random = make_random_sampler();
  for (std::uint32_t i = 0; i < 12; ++i) {
    auto p = random->propose(o.space, {}, 5, i).params;
    const double v = o.value(p);
    c.known.push_back({i, std::move(p), trial_outcome::pruned, v, 1});
  }
  study_table t{c};
  t.begin_session({0});
  const auto a = t.next({0});
  ASSERT_TRUE(t.apply_all(a.drafts, {0}).ok());
  EXPECT_EQ(t.find("gbt-0001")->source, "tpe") << "no random start is needed";
}

// --- hostile events and configurations ----------------------------------------------------------------------------------

TEST(study_table, ignores_the_events_of_others) {
  study_driver d{small_study(), mixed_work()};
  ASSERT_TRUE(d.run());
  for (auto change : {+[](study_config& c) { c.goal = "g-2"; }, +[](study_config& c) { c.step = "explore"; },
                      +[](study_config& c) { c.study = "mlp"; }}) {
    auto c = small_study();
    change(c);
    study_table other{c};
    for (const auto& w : d.events)
      ASSERT_TRUE(other.apply(w.e, w.at).ok());
    EXPECT_EQ(other.counts().created, 0u);
    EXPECT_EQ(other.ledger().reserved(), budget_use{});
  }
}

TEST(study_table, refuses_damaged_events_and_stays_as_it_was) {
  study_driver d{small_study(), mixed_work()};
  ASSERT_FALSE(d.run(40));
  const auto before = d.table.counts();
  const auto good = d.events;
  const auto try_body = [&](event_kind k, const std::string& subject, const std::string& key, const std::string& body) {
    event_draft e = good[0].e;
    e.kind = k;
    e.subject = subject;
    e.key = key;
    e.body = body;
    const auto s = d.table.apply(e, d.now());
    EXPECT_FALSE(s.ok()) << body;
    EXPECT_EQ(d.table.counts().created, before.created) << body;
    EXPECT_EQ(d.table.counts().running, before.running) << body;
  };
  const std::string of = R"({"study":"gbt",)";
  for (const std::string& body :
       {std::string("not json"), std::string("[]"), std::string(""), of + R"("state":"flying"})",
        of + R"("state":"created","number":-1,"params":{},"source":"","reason":""})",
        of + R"("state":"created","number":1e99,"params":{},"source":"","reason":""})",
        of + R"("state":"created","number":99,"params":{},"source":"","reason":""})",
        of + R"("state":"created","number":1,"params":[],"source":"","reason":""})",
        of + R"("state":"created","number":1,"params":{"a":null},"source":"","reason":""})",
        of + R"("state":"running","attempt":"two","time_max_seconds":1})",
        of + R"("state":"running","attempt":2,"time_max_seconds":-1})",
        of + R"("state":"completed","value":"much","standard_error":0,"resource":1,"fold_values":[],"seconds":1,"reason":""})",
        of + R"("state":"completed","value":1,"standard_error":0,"resource":1,"fold_values":{},"seconds":1,"reason":""})",
        of + R"("state":"failed","value":0,"standard_error":0,"resource":0,"fold_values":[],"seconds":1,"reason":"","cause":3})"})
    try_body(event_kind::trial_state, "gbt-0099", "", body);
  try_body(event_kind::trial_report, "gbt-0001", "", of + R"("attempt":1,"rung":0,"resource":1,"value":1})");
  try_body(event_kind::trial_report, "gbt-0777", "",
           of + R"("attempt":1,"rung":0,"resource":1,"value":1,"standard_error":0,"go_on":true,"reason":""})");
  try_body(event_kind::budget_reserved, "", "new", of + R"("trials":1,"slot_seconds":1e300})");
  try_body(event_kind::budget_reserved, "", "new", of + R"("trials":999,"slot_seconds":1})");
  try_body(event_kind::budget_settled, "", "never", of + R"("trials":1,"slot_seconds":1})");
  try_body(event_kind::decision, "", "", of + R"("study_end":"boredom","reason":""})");
  EXPECT_TRUE(d.run());
}

TEST(study_format, numbers_that_are_not_finite_come_back_as_they_were) {
  study_format::ended e;
  e.value = std::nan("");
  e.standard_error = std::numeric_limits<double>::infinity();
  e.fold_values = {-std::numeric_limits<double>::infinity(), 0.1};
  const auto text = study_format::write(e, "s");
  const auto back = study_format::read(event_kind::trial_state, text, "s");
  ASSERT_TRUE(back.has_value());
  const auto& b = std::get<study_format::ended>(*back);
  EXPECT_TRUE(std::isnan(b.value));
  EXPECT_EQ(b.standard_error, e.standard_error);
  EXPECT_EQ(b.fold_values, e.fold_values);
}

TEST(study_format, the_bytes_of_each_event_are_pinned) {
  using namespace study_format;
  EXPECT_EQ(write(created{3, {{"depth", std::int64_t{6}}, {"kind", std::string{"b"}}, {"rate", 0.5}}, "tpe", "why"}, "gbt"),
            R"({"number":3,"params":{"depth":6,"kind":"b","rate":0.5},"reason":"why","source":"tpe","state":"created","study":"gbt"})");
  EXPECT_EQ(write(running{2, 90s}, "gbt"), R"({"attempt":2,"state":"running","study":"gbt","time_max_seconds":90.0})");
  EXPECT_EQ(write(report{1, {0, 33, 0.5, 0.25}, false, "why"}, "gbt"),
            R"({"attempt":1,"go_on":false,"reason":"why","resource":33,"rung":0,"standard_error":0.25,"study":"gbt","value":0.5})");
  EXPECT_EQ(write(reserved{{1, 1500ms}}, "gbt"), R"({"slot_seconds":1.5,"study":"gbt","trials":1})");
  EXPECT_EQ(write(finished{study_end::good_enough, "why"}, "gbt"),
            R"({"reason":"why","study":"gbt","study_end":"good_enough"})");
}

TEST(check_config, names_what_is_wrong) {
  const struct {
    const char* says;
    void (*spoil)(study_config&);
  } cases[] = {
      {"does not make a name", [](study_config& c) { c.study = "../x"; }},
      {"family is empty", [](study_config& c) { c.family.clear(); }},
      {"no parameters", [](study_config& c) { c.space.clear(); }},
      {"planned trial lies outside", [](study_config& c) { c.planned[0].params["rate"] = 5.0; }},
      {"no sampler", [](study_config& c) { c.sampler = "gp"; }},
      {"no pruner", [](study_config& c) { c.pruner = "median"; }},
      {"rungs must rise", [](study_config& c) { c.rungs = {3, 3, 9}; }},
      {"end at resource_max", [](study_config& c) { c.rungs = {1, 3}; }},
      {"resource_max is 0", [](study_config& c) { c.resource_max = 0; }},
      {"at least 1", [](study_config& c) { c.parallel = 0; }},
      {"the most is", [](study_config& c) { c.budget.trials = 1'000'000'000'000; }},
      {"not be negative", [](study_config& c) { c.budget.slot_seconds = std::nan(""); }},
      {"confidence", [](study_config& c) { c.stop.confidence = 1; }},
  };
  for (const auto& c : cases) {
    auto config = small_study();
    EXPECT_TRUE(check_config(config).ok());
    c.spoil(config);
    const auto s = check_config(config);
    ASSERT_FALSE(s.ok()) << c.says;
    EXPECT_NE(s.error().what.find(c.says), std::string::npos) << s.error().what;
  }
}

} // namespace
} // namespace flywheel
