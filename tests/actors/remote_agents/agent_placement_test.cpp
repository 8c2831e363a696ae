#include "actors/remote_agents/agent_placement.hpp"

#include "cluster/base/random.hpp"

#include <gtest/gtest.h>

using namespace flywheel;

namespace {

const std::vector<std::string> agents{"a", "b", "c", "d"};
const mono_time t0{};

struct world {
  world() {
    for (const auto& a : agents) {
      p.put(a, agent_placement::head);
      mobile[a] = true;
    }
  }
  /// Carries out every move; how many there were.
  int settle(mono_time now = t0) {
    int moves = 0;
    while (const auto m = p.next_move(now, mobile)) {
      EXPECT_LT(++moves, 50) << "it goes in circles: " << m->agent << " because " << m->reason;
      if (moves >= 50)
        break;
      p.put(m->agent, p.choose(m->agent, now));
    }
    return moves;
  }
  int on(const std::string& node) const {
    int n = 0;
    for (const auto& [agent, at] : p.places())
      n += at == node ? 1 : 0;
    return n;
  }
  agent_placement p;
  std::map<std::string, bool> mobile;
};

} // namespace

TEST(agent_placement, without_another_node_everything_is_on_the_head) {
  world w;
  EXPECT_EQ(w.p.choose("a", t0), agent_placement::head);
  EXPECT_EQ(w.settle(), 0);
}

TEST(agent_placement, agents_leave_the_head_and_spread) {
  world w;
  w.p.offer("n1");
  EXPECT_EQ(w.settle(), 4);
  EXPECT_EQ(w.on("n1"), 4);
  w.p.offer("n2");
  EXPECT_EQ(w.settle(), 2);
  EXPECT_EQ(w.on("n1"), 2);
  EXPECT_EQ(w.on("n2"), 2);
  w.p.offer("n3");
  EXPECT_EQ(w.settle(), 1) << "no more moves than it takes";
  EXPECT_EQ(w.on("n3"), 1);
}

TEST(agent_placement, what_may_not_move_stays) {
  world w;
  w.mobile = {{"a", true}, {"b", false}, {"c", false}};
  w.p.offer("n1");
  EXPECT_EQ(w.settle(), 1);
  EXPECT_EQ(w.p.place_of("b"), agent_placement::head);
}

TEST(agent_placement, a_node_that_drains_is_left_and_gets_nothing) {
  world w;
  w.p.offer("n1");
  w.p.offer("n2");
  w.settle();
  w.p.drain("n1");
  w.settle();
  EXPECT_EQ(w.on("n2"), 4);
  w.p.drain("n2");
  w.settle();
  EXPECT_EQ(w.on(agent_placement::head), 4);
}

TEST(agent_placement, a_node_that_goes_takes_its_agents_along_and_comes_back_empty) {
  world w;
  w.p.offer("n1");
  w.settle();
  w.p.withdraw("n1");
  EXPECT_FALSE(w.p.place_of("a"));
  EXPECT_EQ(w.p.choose("a", t0), agent_placement::head);
  w.p.offer("n1");
  EXPECT_EQ(w.p.choose("a", t0), "n1");
  EXPECT_TRUE(w.p.places().empty());
}

TEST(agent_placement, a_node_on_which_an_agent_fails_is_not_tried_for_it_for_a_while) {
  world w;
  w.p.offer("n1");
  w.p.failed("a", "n1", t0);
  EXPECT_EQ(w.p.choose("a", t0), agent_placement::head);
  EXPECT_EQ(w.p.choose("b", t0), "n1") << "for others it is";
  ASSERT_TRUE(w.p.next_look(t0));
  const auto later = *w.p.next_look(t0);
  EXPECT_EQ(later, t0 + agent_placement::pause);
  EXPECT_EQ(w.p.choose("a", later), "n1");
  EXPECT_FALSE(w.p.next_look(later));
  w.p.failed("a", agent_placement::head, t0);
  EXPECT_EQ(w.p.choose("a", t0), agent_placement::head) << "the head is always possible";
}

TEST(agent_placement, whatever_happens_it_settles_and_nobody_is_where_no_node_is) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    random_source dice{seed};
    world w;
    auto now = t0;
    std::map<std::string, bool> there; // -> drains
    for (int step = 0; step < 60; ++step) {
      const auto node = "n" + std::to_string(dice.below(4));
      now = now + std::chrono::seconds{static_cast<int>(dice.below(20))};
      switch (dice.below(5)) {
      case 0:
      case 1:
        w.p.offer(node);
        there[node] = false;
        break;
      case 2:
        w.p.withdraw(node);
        there.erase(node);
        break;
      case 3:
        w.p.drain(node);
        if (there.contains(node))
          there[node] = true;
        break;
      default: w.p.failed(agents[dice.below(4)], node, now);
      }
      for (const auto& a : agents) // the supervisor starts what was lost
        if (!w.p.place_of(a))
          w.p.put(a, w.p.choose(a, now));
      w.settle(now);
      for (const auto& [agent, at] : w.p.places())
        if (at != agent_placement::head) {
          ASSERT_TRUE(there.contains(at)) << seed;
          EXPECT_FALSE(there[at]) << seed << ": it drains";
        }
    }
  }
}
