#include "cluster/membership/member_table.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace flywheel;
using namespace std::chrono_literals;
using testing::HasSubstr;
using enum member_state;

namespace {

mono_time at(nanoseconds since_start) { return mono_time{} + since_start; }

class membership : public testing::Test {
protected:
  std::uint64_t join(const std::string& node, std::uint64_t incarnation, nanoseconds when) {
    const auto epoch = table.hello({node, incarnation, 1}, at(when), changes);
    EXPECT_TRUE(epoch) << epoch.error().to_string();
    return epoch ? *epoch : 0;
  }
  /// "node from->to" of every change since the last call.
  std::vector<std::string> taken() {
    std::vector<std::string> all;
    for (const auto& c : changes)
      all.push_back(c.node + " " + std::string{name_of(c.from)} + "->" + std::string{name_of(c.to)});
    changes.clear();
    return all;
  }
  using lines = std::vector<std::string>;

  member_table table{{.suspect_after = 1s, .dead_after = 3s, .forget_after = 60s, .protocol = 1}, 40};
  std::vector<membership_change> changes;
};

} // namespace

TEST_F(membership, a_node_joins_with_an_epoch_larger_than_all_before) {
  EXPECT_EQ(join("a", 7, 0s), 41u);
  EXPECT_EQ(join("b", 3, 0s), 42u);
  EXPECT_EQ(taken(), (lines{"a left->alive", "b left->alive"}));
  EXPECT_TRUE(table.may_work("a"));
  EXPECT_EQ(table.last_epoch(), 42u);
}

TEST_F(membership, silence_makes_suspect_then_dead_and_speech_brings_back_only_the_suspect) {
  join("a", 7, 0s);
  taken();
  table.tick(at(999ms), changes);
  EXPECT_EQ(taken(), lines{});
  table.tick(at(1s), changes);
  EXPECT_EQ(taken(), (lines{"a alive->suspect"}));
  EXPECT_FALSE(table.may_work("a"));
  EXPECT_TRUE(table.heartbeat("a", 7, at(2s), changes));
  EXPECT_EQ(taken(), (lines{"a suspect->alive"}));
  table.tick(at(5s), changes);
  EXPECT_EQ(taken(), (lines{"a alive->dead"}));
  EXPECT_THAT(table.find("a")->reason, HasSubstr("silent for 3"));
  const auto late = table.heartbeat("a", 7, at(5s), changes);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, errc::stale_epoch);
  const auto again = table.hello({"a", 7, 1}, at(6s), changes);
  ASSERT_FALSE(again) << "the same incarnation, declared dead";
  EXPECT_EQ(again.error().code, errc::stale_epoch);
  EXPECT_EQ(join("a", 8, 7s), 42u);
  EXPECT_TRUE(table.may_work("a"));
}

TEST_F(membership, silence_is_judged_also_where_no_tick_came_in_between) {
  join("a", 7, 0s);
  join("b", 7, 0s);
  taken();
  EXPECT_FALSE(table.heartbeat("a", 7, at(3s), changes));
  EXPECT_FALSE(table.hello({"b", 7, 1}, at(3s), changes));
  EXPECT_EQ(taken(), (lines{"a alive->dead", "b alive->dead"}));
}

TEST_F(membership, a_restarted_node_replaces_its_older_self) {
  const auto first = join("a", 7, 0s), second = join("a", 9, 500ms);
  EXPECT_GT(second, first);
  EXPECT_EQ(taken(), (lines{"a left->alive", "a alive->dead", "a left->alive"}));
  EXPECT_FALSE(table.heartbeat("a", 7, at(600ms), changes)) << "the older self";
  const auto old = table.hello({"a", 7, 1}, at(600ms), changes);
  ASSERT_FALSE(old);
  EXPECT_THAT(old.error().to_string(), HasSubstr("incarnation 9"));
  EXPECT_TRUE(table.heartbeat("a", 9, at(700ms), changes));
}

TEST_F(membership, a_closed_connection_is_suspect_at_once_and_a_reconnect_keeps_the_epoch) {
  const auto epoch = join("a", 7, 0s);
  taken();
  table.disconnected("a", 7, at(100ms), changes);
  EXPECT_EQ(taken(), (lines{"a alive->suspect"}));
  EXPECT_EQ(join("a", 7, 2s), epoch);
  EXPECT_EQ(taken(), (lines{"a suspect->alive"}));
  table.disconnected("a", 6, at(2s), changes); // of an older incarnation
  EXPECT_EQ(taken(), lines{});
  table.disconnected("a", 7, at(2500ms), changes);
  table.tick(at(5s), changes);
  EXPECT_EQ(taken(), (lines{"a alive->suspect", "a suspect->dead"}));
}

TEST_F(membership, a_draining_node_lives_but_gets_no_work_and_leaves_with_a_goodbye) {
  join("a", 7, 0s);
  EXPECT_TRUE(table.drain("a"));
  EXPECT_FALSE(table.may_work("a"));
  EXPECT_TRUE(table.heartbeat("a", 7, at(500ms), changes));
  EXPECT_FALSE(table.may_work("a"));
  taken();
  EXPECT_TRUE(table.leave("a", 7, at(600ms), changes));
  EXPECT_EQ(taken(), (lines{"a alive->left"}));
  EXPECT_FALSE(table.heartbeat("a", 7, at(700ms), changes));
  EXPECT_FALSE(table.drain("a"));
  EXPECT_EQ(table.drain("nobody").error().code, errc::not_found);
  join("a", 8, 1s);
  EXPECT_TRUE(table.may_work("a")) << "draining was of the incarnation before";
}

TEST_F(membership, what_the_journal_knew_gets_its_time_to_speak_after_a_start_of_the_head) {
  table.restore("a", 7, 55, false, at(0s));
  table.restore("b", 2, 54, true, at(0s));
  EXPECT_FALSE(table.may_work("a"));
  EXPECT_EQ(table.last_epoch(), 55u);
  EXPECT_TRUE(table.heartbeat("a", 7, at(2900ms), changes));
  EXPECT_TRUE(table.may_work("a"));
  EXPECT_EQ(table.find("a")->epoch, 55u);
  table.tick(at(3s), changes);
  EXPECT_EQ(table.find("b")->state, dead);
  EXPECT_EQ(join("c", 1, 3s), 56u);
}

TEST_F(membership, an_incarnation_that_has_gone_never_comes_back) {
  table.restore_gone("a", 7, 55);
  EXPECT_EQ(table.hello({"a", 7, 1}, at(0s), changes).error().code, errc::stale_epoch) << "given up by an earlier life of the head";
  EXPECT_EQ(table.find("a"), nullptr) << "and not shown";
  EXPECT_EQ(join("a", 8, 0s), 56u);
  table.tick(at(3s), changes);
  table.tick(at(20min), changes);
  EXPECT_EQ(table.find("a"), nullptr) << "forgotten";
  EXPECT_EQ(table.hello({"a", 8, 1}, at(20min), changes).error().code, errc::stale_epoch) << "but not let in: it may have slept";
  EXPECT_EQ(join("a", 9, 20min), 57u);
}

TEST_F(membership, hellos_of_another_kind_are_refused) {
  EXPECT_EQ(table.hello({"a", 1, 2}, at(0s), changes).error().code, errc::incompatible_version);
  EXPECT_EQ(table.hello({"", 1, 1}, at(0s), changes).error().code, errc::invalid_argument);
  EXPECT_EQ(table.hello({"a", 0, 1}, at(0s), changes).error().code, errc::invalid_argument);
  EXPECT_FALSE(table.heartbeat("a", 1, at(0s), changes));
  EXPECT_TRUE(table.members().empty());
  EXPECT_TRUE(changes.empty());
}

TEST_F(membership, the_next_tick_is_when_something_changes) {
  EXPECT_FALSE(table.next_tick());
  join("a", 7, 0s);
  join("b", 7, 500ms);
  taken();
  std::vector<std::string> seen;
  while (const auto next = table.next_tick()) {
    const auto before = table.members().size();
    table.tick({next->ns - 1}, changes);
    EXPECT_EQ(taken(), lines{}) << "not before";
    EXPECT_EQ(table.members().size(), before) << "not before";
    table.tick(*next, changes);
    const auto now_taken = taken();
    EXPECT_TRUE(!now_taken.empty() || table.members().size() < before) << "but then";
    seen.insert(seen.end(), now_taken.begin(), now_taken.end());
  }
  EXPECT_EQ(seen, (lines{"a alive->suspect", "b alive->suspect", "a suspect->dead", "b suspect->dead"}));
  EXPECT_TRUE(table.members().empty()) << "forgotten in the end";
}

TEST_F(membership, time_does_not_go_back) {
  join("a", 7, 10s);
  table.tick(at(0s), changes);
  EXPECT_TRUE(table.heartbeat("a", 7, at(1s), changes));
  EXPECT_EQ(table.find("a")->heard, at(10s));
}
