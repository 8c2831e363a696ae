// Same seed, same population: same strokes; and nobody is chosen who is not meant.

#include "cluster/chaos/chaos_planner.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace flywheel {
namespace {

using namespace std::chrono_literals;
using sort = chaos_subject::sort;

std::vector<chaos_subject> population(int nodes) {
  std::vector<chaos_subject> all;
  for (int i = 0; i < nodes; ++i) {
    const auto name = i == 0 ? std::string{"head"} : "node" + std::to_string(i);
    all.push_back({sort::node, name, name, {}, i == 0, 100 + i, 1});
    all.push_back({sort::worker, name + "/worker-0", name, {}, i == 0, 200 + i, 1});
    all.push_back({sort::rank, name + "/rank-0", name, "rank-0", i == 0, 300 + i, 1});
  }
  for (const auto& agent : agent_names())
    all.push_back({sort::agent, "agent " + agent, "head", agent, true, 100, 1});
  return all;
}

chaos_spec one(chaos_experiment e, nanoseconds duration = 60s) {
  chaos_spec s;
  s.name = "n";
  s.duration = duration;
  if (e.name.empty())
    e.name = "e";
  s.experiments = {std::move(e)};
  return s;
}

chaos_experiment kills(const std::string& mode = "one", const std::string& value = {}) {
  chaos_experiment e;
  e.kind = "PodChaos";
  e.action = "pod-kill";
  e.mode = mode;
  e.value = value;
  e.schedule = "@every 5s";
  return e;
}

std::vector<chaos_stroke> all_of(chaos_planner p, const std::vector<chaos_subject>& there) { return p.due(24h, there); }

std::vector<std::string> names_of(const std::vector<chaos_stroke>& strokes) {
  std::vector<std::string> out;
  for (const auto& s : strokes) {
    out.push_back(std::to_string(s.at.count()) + ":");
    for (const auto& v : s.victims)
      out.back() += v.name + ",";
  }
  return out;
}

TEST(chaos_planner, the_same_seed_strikes_the_same_and_the_order_of_the_population_does_not_matter) {
  auto e = kills();
  e.jitter = 2s;
  auto there = population(5);
  const auto first = names_of(all_of({one(e), 7}, there));
  std::reverse(there.begin(), there.end());
  EXPECT_EQ(names_of(all_of({one(e), 7}, there)), first);
  EXPECT_NE(names_of(all_of({one(e), 8}, there)), first);
  EXPECT_EQ(first.size(), 12U);
}

TEST(chaos_planner, a_stroke_does_not_depend_on_when_one_looks) {
  auto e = kills();
  e.jitter = 2s;
  chaos_planner often{one(e), 7};
  std::vector<chaos_stroke> seen;
  for (nanoseconds t{0}; t < 61s; t += 100ms)
    for (auto& s : often.due(t, population(5)))
      seen.push_back(std::move(s));
  EXPECT_EQ(names_of(seen), names_of(all_of({one(e), 7}, population(5))));
}

TEST(chaos_planner, strokes_fall_within_the_duration_and_at_most_count_times) {
  auto e = kills();
  e.start_after = 1s;
  e.jitter = 5s;
  e.restart_after = 0s;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    nanoseconds last{0};
    for (const auto& s : all_of({one(e), seed}, population(3))) {
      EXPECT_GE(s.at, 1s);
      EXPECT_LT(s.at, 60s);
      EXPECT_GE(s.at, last);
      last = s.at;
    }
  }
  e.count = 3;
  EXPECT_EQ(all_of({one(e), 1}, population(3)).size(), 3U);
  e.schedule.clear();
  e.count = 0;
  EXPECT_EQ(all_of({one(e), 1}, population(3)).size(), 1U);
}

TEST(chaos_planner, modes_choose_as_many_as_they_say) {
  const auto there = population(10);
  const auto chosen = [&](const std::string& mode, const std::string& value, std::uint64_t seed = 1) {
    return all_of({one(kills(mode, value), 4s), seed}, there).front().victims.size();
  };
  EXPECT_EQ(chosen("one", ""), 1U);
  EXPECT_EQ(chosen("all", ""), 10U);
  EXPECT_EQ(chosen("fixed", "3"), 3U);
  EXPECT_EQ(chosen("fixed", "30"), 10U);
  EXPECT_EQ(chosen("fixed-percent", "50"), 5U);
  EXPECT_EQ(chosen("fixed-percent", "0"), 0U);
  std::set<std::size_t> different;
  for (std::uint64_t seed = 0; seed < 50; ++seed)
    different.insert(chosen("random-max-percent", "40", seed));
  EXPECT_LE(*different.rbegin(), 4U);
  EXPECT_GT(different.size(), 2U);
}

TEST(chaos_planner, only_what_is_selected_is_struck) {
  const auto there = population(4);
  auto e = kills("all");
  e.selector.role = "node";
  const auto others = all_of({one(e, 4s), 1}, there);
  for (const auto& v : others.front().victims)
    EXPECT_TRUE(v.what == sort::node && !v.head) << v.name;
  e.selector.nodes = {"node2", "head"};
  EXPECT_EQ(names_of(all_of({one(e, 4s), 1}, there)), std::vector<std::string>{"0:node2,"});
  e.selector = {};
  e.action = "container-kill";
  e.containers = {"worker"};
  EXPECT_EQ(all_of({one(e, 4s), 1}, there).front().victims.size(), 4U);
  e.containers = {"rank-0"};
  EXPECT_EQ(all_of({one(e, 4s), 1}, there).front().victims.size(), 4U);
  e.containers = {"rank-1"};
  EXPECT_TRUE(all_of({one(e, 4s), 1}, there).front().victims.empty());
  e.containers = {"hpo"};
  EXPECT_EQ(names_of(all_of({one(e, 4s), 1}, there)), std::vector<std::string>{"0:agent hpo,"});
}

TEST(chaos_planner, who_is_frozen_is_not_struck_again_nor_what_is_in_it) {
  chaos_spec s = one(kills());
  s.experiments[0] = {};
  s.experiments[0].name = "freeze";
  s.experiments[0].kind = "PodChaos";
  s.experiments[0].action = "pod-failure";
  s.experiments[0].selector.nodes = {"node1"};
  s.experiments[0].duration = 20s;
  auto workers = kills();
  workers.name = "workers";
  workers.action = "container-kill";
  workers.containers = {"worker"};
  workers.selector.nodes = {"node1"};
  workers.start_after = 1s;
  s.experiments.push_back(workers);
  for (const auto& stroke : all_of({s, 3}, population(2))) {
    if (stroke.experiment == 1) {
      EXPECT_EQ(stroke.victims.empty(), stroke.at < 20s) << stroke.at.count();
    }
  }
}

TEST(chaos_planner, a_wrong_clock_keeps_nobody_from_other_strokes) {
  auto clock = kills();
  clock.name = "clock";
  clock.kind = "TimeChaos";
  clock.action.clear();
  clock.duration = 30s;
  clock.selector.role = "head";
  auto s = one(clock, 20s);
  s.experiments.push_back(kills());
  s.experiments[1].name = "kill";
  s.experiments[1].selector.role = "head";
  std::size_t clocks = 0, killed = 0;
  for (const auto& stroke : all_of({s, 1}, population(2)))
    (stroke.experiment == 0 ? clocks : killed) += stroke.victims.size();
  EXPECT_EQ(clocks, 1U) << "not while it is wrong already";
  EXPECT_EQ(killed, 4U);
}

TEST(chaos_planner, an_agent_is_not_ended_oftener_than_its_supervisor_bears) {
  auto e = kills();
  e.action = "container-kill";
  e.containers = {"hpo"};
  e.schedule = "@every 2s";
  std::size_t struck = 0;
  for (const auto& s : all_of({one(e, 60s), 1}, population(2)))
    struck += s.victims.size();
  EXPECT_EQ(struck, chaos_planner::agent_kills_max);
}

TEST(chaos_planner, machines_have_no_victims_and_nobody_is_no_error) {
  auto e = kills();
  e.kind = "StressChaos";
  e.action.clear();
  e.duration = 1s;
  EXPECT_TRUE(all_of({one(e), 1}, population(3)).front().victims.empty());
  const auto none = all_of({one(kills()), 1}, {});
  EXPECT_EQ(none.size(), 12U);
  EXPECT_TRUE(none.front().victims.empty());
}

} // namespace
} // namespace flywheel
