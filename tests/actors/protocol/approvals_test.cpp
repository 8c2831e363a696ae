// I7: a production effect has one unexpired, unused approval for exactly its plan, by someone who may give it.

#include "actors/protocol/approvals.hpp"
#include "cluster/base/json.hpp"

#include <gtest/gtest.h>

using namespace flywheel;
using nlohmann::json;

namespace {

constexpr wall_time t0{1'700'000'000'000'000'000};
constexpr auto hour = std::chrono::hours{1};

event an_event(event_kind kind, const json& body, wall_time at = t0, std::string key = {}) {
  event e;
  e.kind = kind;
  e.goal = "g-1";
  e.subject = "a-1";
  e.key = std::move(key);
  e.body = body.dump();
  e.time = at;
  return e;
}

event asked(std::vector<std::string> by = {"*"}) {
  return an_event(event_kind::approval_requested, {{"action", "rollout"}, {"digest", "plan-1"}, {"requester", "ana"},
                                                   {"by", by}, {"valid_ns", nanoseconds{hour}.count()}});
}
event granted(std::string by = "bo", wall_time at = t0) {
  return an_event(event_kind::approval_granted, {{"by", by}, {"reason", "looks good"}}, at);
}
event denied(std::string by = "bo") { return an_event(event_kind::approval_denied, {{"by", by}, {"reason", "too soon"}}); }
event used(std::string effect) { return an_event(event_kind::approval_used, json::object(), t0, std::move(effect)); }

approval_table table_of(const std::vector<event>& events) {
  approval_table t;
  for (const auto& e : events)
    t.apply(e);
  return t;
}

errc verdict(const std::vector<event>& events, std::string_view digest = "plan-1", std::string_view effect = "g-1/rollout",
             wall_time now = t0) {
  const auto s = table_of(events).check("a-1", digest, effect, now);
  return s.ok() ? errc::ok : s.error().code;
}

} // namespace

TEST(approvals, an_effect_needs_a_grant_for_its_own_plan) {
  EXPECT_EQ(verdict({}), errc::waiting_for_approval);
  EXPECT_EQ(verdict({asked()}), errc::waiting_for_approval);
  EXPECT_EQ(verdict({asked(), granted()}), errc::ok);
  EXPECT_EQ(verdict({asked(), granted()}, "plan-2"), errc::not_approved);
  EXPECT_EQ(verdict({asked(), denied()}), errc::not_approved);
}

TEST(approvals, the_first_answer_counts) {
  EXPECT_EQ(verdict({asked(), denied(), granted()}), errc::not_approved);
  EXPECT_EQ(verdict({asked(), granted(), denied()}), errc::ok);
}

TEST(approvals, a_grant_expires) {
  EXPECT_EQ(verdict({asked(), granted()}, "plan-1", "g-1/rollout", t0 + hour), errc::ok);
  EXPECT_EQ(verdict({asked(), granted()}, "plan-1", "g-1/rollout", t0 + hour + nanoseconds{1}), errc::not_approved);
}

TEST(approvals, a_grant_serves_one_effect_and_that_one_again_after_a_crash) {
  const std::vector<event> history{asked(), granted(), used("g-1/rollout")};
  EXPECT_EQ(verdict(history), errc::ok);
  EXPECT_EQ(verdict(history, "plan-1", "g-1/rollback"), errc::not_approved);
  EXPECT_EQ(verdict(history, "plan-1", "g-1/rollout", t0 + 100 * hour), errc::ok) << "it was used in time";
}

TEST(approvals, only_those_named_may_answer) {
  struct row { std::vector<std::string> by; std::string user; bool may; };
  for (const auto& [by, user, may] : {row{{"*"}, "bo", true}, {{"*"}, "ana", false}, {{"@me"}, "ana", true},
                                      {{"@me"}, "bo", false}, {{"cy"}, "cy", true}, {{"cy"}, "bo", false},
                                      {{"ana"}, "ana", true}, {{}, "bo", false}, {{"*", "@me"}, "ana", true}}) {
    const auto t = table_of({asked(by)});
    EXPECT_EQ(may_answer(*t.find("a-1"), user).ok(), may) << user << " of " << json(by).dump();
  }
}

TEST(approvals, the_same_plan_asks_once_and_another_anew) {
  EXPECT_EQ(approval_id("0123456789abcdef", "rollout"), approval_id("0123456789abcdef", "rollout"));
  EXPECT_NE(approval_id("0123456789abcdef", "rollout"), approval_id("0123456789abcdef", "retrain"));
  EXPECT_NE(approval_id("0123456789abcdef", "rollout"), approval_id("1123456789abcdef", "rollout"));
}

TEST(approvals, without_a_rule_the_requester_decides) {
  goal_spec spec;
  spec.policy.approvals = {{"rollout", {"cy"}, hour}};
  EXPECT_EQ(rule_for(spec, "rollout").by, std::vector<std::string>{"cy"});
  EXPECT_EQ(rule_for(spec, "rollback").by, std::vector<std::string>{"@me"});
}

TEST(approvals, an_unreadable_body_grants_nothing) {
  for (const auto* body : {"", "[]", "7", "{\"by\":7}", "{\"valid_ns\":\"x\"}"}) {
    auto e = asked();
    e.body = body;
    auto g = granted();
    g.body = body;
    EXPECT_NE(verdict({e, g}), errc::ok) << body;
  }
}
