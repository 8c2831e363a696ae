// The two sides of a lease, over a network that delays, drops and cuts either direction: whenever the head declares a node
// dead, the node has stopped before.

#include "cluster/membership/lease_watch.hpp"

#include "cluster/base/random.hpp"
#include "cluster/membership/member_table.hpp"

#include <gtest/gtest.h>

using namespace flywheel;
using namespace std::chrono_literals;

namespace {

mono_time at(nanoseconds since_start) { return mono_time{} + since_start; }
constexpr lease_watch_rule rule{.dead_after = 3s, .margin = 300ms, .drift = 0.001};

} // namespace

TEST(lease_watch, holds_until_shortly_before_the_head_would_give_it_away) {
  lease_watch watch{rule, at(0s)};
  EXPECT_TRUE(watch.holds(at(2690ms)));
  EXPECT_FALSE(watch.holds(at(2700ms)));
  EXPECT_FALSE(watch.holds(at(0s))) << "once lost, lost";
}

TEST(lease_watch, an_answer_confirms_from_when_its_heartbeat_was_sent) {
  lease_watch watch{rule, at(0s)};
  watch.sent(1, at(1s));
  watch.sent(2, at(2s));
  EXPECT_EQ(watch.deadline(), at(2697ms));
  watch.answered(2);
  EXPECT_TRUE(watch.holds(at(4600ms)));
  watch.answered(1); // late: confirms nothing more
  watch.answered(77); // never sent
  EXPECT_FALSE(watch.holds(at(4700ms)));
}

TEST(lease_watch, what_the_head_refuses_is_lost_at_once) {
  lease_watch watch{rule, at(0s)};
  watch.refused();
  EXPECT_FALSE(watch.holds(at(1ms)));
}

TEST(lease_watch, a_lease_never_has_two_owners_whatever_the_network_does) {
  std::size_t deaths = 0, survivals = 0;
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    random_source random{seed};
    // The node's clock runs up to half the allowed drift fast or slow; the head's is the true time.
    const double speed = 1 + random.uniform(-0.0005, 0.0005);
    const auto node_clock = [&](std::int64_t true_ns) { return mono_time{static_cast<std::int64_t>(static_cast<double>(true_ns) * speed)}; };
    const double lost_there = random.uniform() < 0.5 ? 0.02 : 0.4, lost_back = random.uniform() < 0.5 ? 0.02 : 0.4;
    std::int64_t cut_from = static_cast<std::int64_t>(random.below(20'000)) * 1'000'000, cut_for = static_cast<std::int64_t>(random.below(6'000)) * 1'000'000;
    const bool cut_there = random.below(2) == 0; // one direction only

    member_table head{{.suspect_after = 1s, .dead_after = 3s}};
    std::vector<membership_change> changes;
    const std::uint64_t incarnation = 5;
    ASSERT_TRUE(head.hello({"node", incarnation, 1}, mono_time{1}, changes));
    lease_watch node{rule, node_clock(0)};
    std::multimap<std::int64_t, std::pair<bool, std::uint64_t>> flying; // arrival -> (to the head?, number)
    std::uint64_t number = 0;
    bool dead = false;
    for (std::int64_t now = 1'000'000; now < 40'000'000'000 && !dead; now += 10'000'000) {
      const bool cut = now >= cut_from && now < cut_from + cut_for;
      const bool working = node.holds(node_clock(now));
      if (working && now % 200'000'000 < 10'000'000) {
        node.sent(++number, node_clock(now));
        if (random.uniform() >= lost_there && !(cut && cut_there))
          flying.emplace(now + static_cast<std::int64_t>(random.below(900)) * 1'000'000, std::pair{true, number});
      }
      while (!flying.empty() && flying.begin()->first <= now) {
        const auto [to_head, which] = flying.begin()->second;
        flying.erase(flying.begin());
        if (!to_head)
          node.answered(which);
        else if (head.heartbeat("node", incarnation, {now}, changes) && random.uniform() >= lost_back && !(cut && !cut_there))
          flying.emplace(now + static_cast<std::int64_t>(random.below(900)) * 1'000'000, std::pair{false, which});
      }
      head.tick({now}, changes);
      dead = head.find("node")->state == member_state::dead;
      if (dead) {
        EXPECT_FALSE(node.holds(node_clock(now))) << "at " << now << " the head gives the lease away, and the node still works with it";
      }
    }
    ++(dead ? deaths : survivals);
  }
  EXPECT_GT(deaths, 50u);
  EXPECT_GT(survivals, 50u);
}
