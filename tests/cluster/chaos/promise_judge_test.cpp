// A history in which every promise is kept, and what is done to it so that each is broken: the judge must find all of it.

#include "cluster/chaos/promise_judge.hpp"

#include "cluster/base/json.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace flywheel {
namespace {

using ::testing::HasSubstr;
using nlohmann::json;
using finding = promise_verdict::finding;

/// Writes a history event by event.
struct scribbler {
  promise_evidence ev;
  std::uint64_t epoch = 1;

  void add(event_kind kind, const std::string& subject, const json& body = json::object(), const std::string& key = {}, const std::string& goal = "g") {
    event e;
    e.kind = kind;
    e.goal = goal;
    e.subject = subject;
    e.key = key;
    e.body = body.dump();
    e.epoch = epoch;
    e.seq = ev.events.size() + 1;
    e.time.ns = static_cast<std::int64_t>(e.seq) * 1'000'000'000;
    e.hash = digest_of("hash of " + std::to_string(e.seq));
    ev.events.push_back(e);
  }
  event& first(event_kind kind, const std::string& subject = {}, const std::string& state = {}) {
    for (auto& e : ev.events)
      if (e.kind == kind && (subject.empty() || e.subject == subject) && (state.empty() || json::parse(e.body).value("state", "") == state))
        return e;
    throw std::logic_error("no such event");
  }
  void change(event& e, const char* field, const json& value) {
    auto body = json::parse(e.body);
    body[field] = value;
    e.body = body.dump();
  }
};

scribbler good() {
  scribbler s;
  s.add(event_kind::node_state, "node1", {{"state", "alive"}, {"incarnation", 1}, {"epoch", 1}}, {}, "");
  s.add(event_kind::goal_submitted, "g", {{"digest", "d"}, {"spec", {{"search", {{"budget", {{"trials", 2}, {"slot_seconds", 100.0}}}}}}}});
  s.add(event_kind::plan_made, "g", {{"digest", "p"}});
  s.add(event_kind::approval_requested, "a", {{"action", "rollout"}, {"by", {"@me"}}, {"digest", "p"}, {"requester", "maria"}, {"valid_ns", 3'600'000'000'000}});
  s.add(event_kind::approval_granted, "a", {{"by", "maria"}, {"digest", "p"}});
  s.add(event_kind::trial_state, "t1", {{"state", "created"}});
  s.add(event_kind::budget_reserved, "t1", {{"slot_seconds", 60.0}, {"trials", 1}}, "t1/1");
  s.add(event_kind::trial_state, "t1", {{"state", "running"}, {"attempt", 1}});
  s.add(event_kind::trial_report, "t1", {{"attempt", 1}});
  s.epoch = 2; // the head was killed and is back
  s.add(event_kind::node_state, "node1", {{"state", "alive"}, {"incarnation", 2}, {"epoch", 2}}, {}, "");
  s.add(event_kind::budget_settled, "t1", {{"slot_seconds", 10.0}, {"trials", 0}}, "t1/1");
  s.add(event_kind::budget_reserved, "t1", {{"slot_seconds", 80.0}, {"trials", 1}}, "t1/2");
  s.add(event_kind::trial_state, "t1", {{"state", "running"}, {"attempt", 2}});
  s.add(event_kind::trial_report, "t1", {{"attempt", 2}});
  s.add(event_kind::trial_state, "t1", {{"state", "completed"}});
  s.add(event_kind::budget_settled, "t1", {{"slot_seconds", 20.0}, {"trials", 1}}, "t1/2");
  s.add(event_kind::effect_intended, "", json::object(), "release/g");
  s.add(event_kind::model_registered, "m/v1", {{"manifest", "aa"}});
  s.add(event_kind::effect_done, "", json::object(), "release/g");
  s.add(event_kind::approval_used, "a", {{"digest", "p"}}, "rollout/g");
  s.add(event_kind::effect_intended, "", json::object(), "rollout/g");
  s.add(event_kind::alias_moved, "m@champion", {{"from", nullptr}, {"to", 1}});
  s.add(event_kind::effect_done, "", json::object(), "rollout/g");
  s.add(event_kind::goal_state, "g", {{"state", "done"}});
  auto& ev = s.ev;
  ev.chain.intact = true;
  ev.chain.events = ev.events.size();
  ev.before_seq = 1;
  ev.before_hash = ev.events[0].hash;
  ev.acknowledged = {{"g", 2, 2, {}, true}};
  ev.registry_read = true;
  ev.versions = {{"m", 1, "aa", "g"}};
  ev.aliases = {{"m", "champion", 1, 2}};
  ev.owner_epoch = 2;
  ev.quiet = ev.leftovers_looked_at = ev.settled = true;
  ev.secrets_looked_for = 3;
  return s;
}

const promise_verdict& of(const std::vector<promise_verdict>& all, const std::string& promise) {
  for (const auto& v : all)
    if (v.promise == promise)
      return v;
  throw std::logic_error("no verdict on " + promise);
}

TEST(promise_judge, a_good_history_keeps_every_promise_that_can_be_judged) {
  const auto verdicts = judge_promises(good().ev);
  ASSERT_EQ(verdicts.size(), 15U);
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    EXPECT_EQ(verdicts[i].promise, "I" + std::to_string(i + 1));
    EXPECT_EQ(verdicts[i].found, verdicts[i].promise == "I8" ? finding::not_judged : finding::kept) << verdicts[i].promise << ": " << verdicts[i].reason;
    EXPECT_FALSE(verdicts[i].reason.empty());
  }
  EXPECT_TRUE(all_kept(verdicts));
}

TEST(promise_judge, what_no_evidence_shows_is_not_judged) {
  for (const auto& v : judge_promises({}))
    EXPECT_NE(v.found, finding::kept) << v.promise << ": " << v.reason;
}

struct doctored {
  const char* promise;
  const char* says;
  std::function<void(scribbler&)> change;
};
void PrintTo(const doctored& d, std::ostream* out) { *out << d.promise << ": " << d.says; }

class doctored_history : public testing::TestWithParam<doctored> {};
TEST_P(doctored_history, is_found) {
  auto s = good();
  GetParam().change(s);
  const auto verdicts = judge_promises(s.ev);
  const auto& v = of(verdicts, GetParam().promise);
  EXPECT_EQ(v.found, finding::broken) << v.reason;
  ASSERT_FALSE(v.evidence.empty());
  EXPECT_THAT(v.evidence.front(), HasSubstr(GetParam().says));
  EXPECT_FALSE(all_kept(verdicts));
}

using k = event_kind;
INSTANTIATE_TEST_SUITE_P(
    all, doctored_history,
    testing::Values(
        doctored{"I1", "acknowledged and is not in the journal", [](auto& s) { s.ev.acknowledged.push_back({"lost", 9, {}, {}, {}}); }},
        doctored{"I1", "before it was written down", [](auto& s) { s.ev.acknowledged[0].seq = 1; }},
        doctored{"I2", "is submitted again", [](auto& s) { s.add(k::goal_submitted, "g", {{"digest", "e"}}); }},
        doctored{"I2", "was accepted with another body", [](auto& s) { s.ev.acknowledged[0].conflict_refused = false; }},
        doctored{"I2", "was said to be entry 7", [](auto& s) { s.ev.acknowledged[0].again = 7; }},
        doctored{"I2", "was refused", [](auto& s) { s.ev.acknowledged[0].again_problem = "no"; }},
        doctored{"I3", "was done at", [](auto& s) { s.add(k::effect_done, "", json::object(), "rollout/g"); }},
        doctored{"I3", "both of goal g", [](auto& s) { s.ev.versions.push_back({"m", 2, "bb", "g"}); }},
        doctored{"I4", "has no intent before it", [](auto& s) { s.add(k::effect_done, "", json::object(), "other/g"); }},
        doctored{"I4", "registered without an intent", [](auto& s) { s.first(k::effect_intended).key = "release/x"; }},
        doctored{"I4", "which the journal never intended", [](auto& s) { s.ev.versions.push_back({"m", 2, "bb", "h"}); }},
        doctored{"I5", "after epoch 2", [](auto& s) { s.epoch = 1; s.add(k::note, "x"); }},
        doctored{"I5", "is let in with epoch 1", [](auto& s) { s.add(k::node_state, "node2", {{"state", "alive"}, {"incarnation", 5}, {"epoch", 1}}, {}, ""); }},
        doctored{"I5", "which no owner ever had", [](auto& s) { s.ev.aliases[0].epoch = 9; }},
        doctored{"I6", "starts after attempt", [](auto& s) { s.change(s.ev.events[12], "attempt", 1); }},
        doctored{"I6", "reports while attempt 2 runs", [](auto& s) { s.change(s.ev.events[13], "attempt", 1); }},
        doctored{"I6", "registered again with other content", [](auto& s) { s.add(k::model_registered, "m/v1", {{"manifest", "zz"}}); }},
        doctored{"I6", "is registered after v3", [](auto& s) { s.add(k::model_registered, "m/v3", {{"manifest", "b"}}); s.add(k::model_registered, "m/v2", {{"manifest", "c"}}); }},
        doctored{"I6", "is not what the journal registered", [](auto& s) { s.ev.versions[0].manifest = "bb"; }},
        doctored{"I7", "begins without an approval", [](auto& s) { s.first(k::approval_used).kind = k::note; }},
        doctored{"I7", "nobody granted it", [](auto& s) { s.first(k::approval_granted).kind = k::approval_denied; }},
        doctored{"I7", "who may not", [](auto& s) { s.change(s.first(k::approval_granted), "by", "eve"); }},
        doctored{"I7", "who may not", [](auto& s) { s.change(s.first(k::approval_requested), "by", json::array({"*"})); }},
        doctored{"I7", "after it expired", [](auto& s) { s.change(s.first(k::approval_requested), "valid_ns", 1000); }},
        doctored{"I7", "approves another plan", [](auto& s) { s.change(s.first(k::plan_made), "digest", "q"); }},
        doctored{"I7", "and was for rollout/g", [](auto& s) { s.add(k::approval_used, "a", json::object(), "rollout/h"); }},
        doctored{"I9", "slot seconds", [](auto& s) { s.change(s.first(k::budget_settled), "slot_seconds", 30.0); }},
        doctored{"I9", "3 trials of 2", [](auto& s) { s.change(s.ev.events[11], "trials", 3); }},
        doctored{"I9", "was not reserved", [](auto& s) { s.add(k::budget_settled, "t1", {{"slot_seconds", 1.0}, {"trials", 0}}, "t1/7"); }},
        doctored{"I9", "reserved twice", [](auto& s) { s.add(k::budget_reserved, "t2", {{"slot_seconds", 1.0}}, "t2/1"); s.add(k::budget_reserved, "t2", {{"slot_seconds", 1.0}}, "t2/1"); }},
        doctored{"I10", "the journal is damaged", [](auto& s) { s.ev.chain.intact = false; }}, doctored{"I10", "m/v1", [](auto& s) { s.ev.damage = {"m/v1: checksum"}; }},
        doctored{"I11", "orphan", [](auto& s) { s.ev.leftovers = {"process 5 is an orphan"}; }}, doctored{"I11", "slots", [](auto& s) { s.ev.slots = {"node1 has 3 of 2 slots in use"}; }},
        doctored{"I12", "has not ended", [](auto& s) { s.first(k::goal_state).kind = k::note; }},
        doctored{"I13", "is not what it was", [](auto& s) { s.ev.before_hash = {}; }}, doctored{"I13", "is not there any more", [](auto& s) { s.ev.before_seq = 900; }},
        doctored{"I13", "not in the registry", [](auto& s) { s.ev.versions.clear(); }}, doctored{"I13", "never registered", [](auto& s) { s.ev.versions.push_back({"n", 1, "a", "g"}); }},
        doctored{"I13", "@champion", [](auto& s) { s.ev.aliases[0].version = 2; }}, doctored{"I14", "the key", [](auto& s) { s.ev.secrets_found = {"the key x stands in y"}; }},
        doctored{"I15", "created twice", [](auto& s) { s.add(k::trial_state, "t1", {{"state", "created"}}); }},
        doctored{"I15", "was never created", [](auto& s) { s.add(k::trial_state, "t9", {{"state", "completed"}}); }},
        doctored{"I15", "after it had completed", [](auto& s) { s.add(k::trial_state, "t1", {{"state", "failed"}}); }},
        doctored{"I15", "is still created", [](auto& s) { s.add(k::trial_state, "t2", {{"state", "created"}}); }}));

TEST(promise_judge, evidence_is_bounded_and_says_how_much_is_left_out) {
  auto s = good();
  for (int i = 0; i < 50; ++i)
    s.add(k::effect_done, "", json::object(), "rollout/g");
  const auto v = of(judge_promises(s.ev), "I3");
  EXPECT_EQ(v.evidence.size(), 21U);
  EXPECT_EQ(v.evidence.back(), "and 30 more");
}

TEST(promise_judge, bodies_that_are_none_are_survived) {
  auto s = good();
  for (const char* body : {"", "null", "[1]", "{\"state\":7,\"attempt\":-1,\"epoch\":\"x\",\"by\":3}", "{"})
    for (int kind = 0; kind <= static_cast<int>(k::note); ++kind) {
      s.add(static_cast<k>(kind), "m/v", json::object(), "x");
      s.ev.events.back().body = body;
    }
  EXPECT_EQ(judge_promises(s.ev).size(), 15U);
}

TEST(promise_judge, a_goal_that_waits_for_a_person_has_not_failed_to_end) {
  auto s = good();
  s.change(s.first(k::goal_state), "state", "waiting");
  EXPECT_EQ(of(judge_promises(s.ev), "I12").found, finding::kept);
  EXPECT_EQ(goal_states(s.ev.events), (std::vector<std::pair<std::string, std::string>>{{"g", "waiting"}}));
}

} // namespace
} // namespace flywheel
