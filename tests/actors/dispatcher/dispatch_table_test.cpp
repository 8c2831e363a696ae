#include "actors/dispatcher/dispatch_table.hpp"

#include "cluster/base/random.hpp"
#include "cluster/membership/lease_watch.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <memory>

using namespace flywheel;
using testing::ElementsAre;
using testing::HasSubstr;
using std::chrono::milliseconds;
using std::chrono::seconds;
using what = dispatch_action::what;

namespace {

mono_time at(double s) { return mono_time{static_cast<std::int64_t>(s * 1e9)}; }
std::vector<slot> slots_of(const std::string& node, int n) {
  std::vector<slot> all;
  for (int i = 0; i < n; ++i)
    all.push_back({{node, "cpu" + std::to_string(i)}, slot_kind::cpu, "2 cores", 1 << 30, 0});
  return all;
}
worker_task task(const std::string& id) {
  worker_task t;
  t.task.id = id;
  return t;
}
/// "start t1 on a", "end t1: cancelled", ...
std::vector<std::string> told(dispatch_table& d) {
  std::vector<std::string> all;
  for (const auto& a : d.take_actions()) {
    switch (a.is) {
    case what::start: all.push_back("start " + a.task + " on " + a.node); break;
    case what::stop: all.push_back("stop " + a.task + " on " + a.node); break;
    case what::end: all.push_back("end " + a.task + ": " + std::string{name_of(a.problem.code)}); break;
    case what::member: all.push_back(a.node + " is " + std::string{name_of(a.change.to)}); break;
    case what::moved: all.push_back("move " + a.task); break;
    }
  }
  return all;
}

/// A head with one slot, and node "a" with `slots`.
struct small_cluster {
  dispatch_table d{{}, "head", 0, 0};
  small_cluster(int own, int slots) {
    if (own > 0) {
      EXPECT_TRUE(d.add_own_slots(slots_of("head", own)));
    }
    EXPECT_TRUE(d.join({"a", 1, 1}, at(0)));
    EXPECT_TRUE(d.sync("a", 1, slots_of("a", slots), {}, at(0)));
    d.take_actions();
  }
};

} // namespace

TEST(dispatch_table, a_node_that_hands_a_task_back_is_left_alone_for_a_while) {
  small_cluster c{0, 1};
  ASSERT_TRUE(c.d.submit("g", task("t1"), at(1)));
  EXPECT_THAT(told(c.d), ElementsAre("start t1 on a"));
  const auto lease = c.d.leases().find("t1")->epoch;
  EXPECT_FALSE(c.d.handed_back("t1", "b", lease, "x", at(2))) << "not its task";
  EXPECT_FALSE(c.d.handed_back("t1", "a", lease + 1, "x", at(2))) << "not the lease that holds";
  EXPECT_TRUE(c.d.heartbeat("a", 1, at(2)));
  EXPECT_TRUE(c.d.handed_back("t1", "a", lease, "its disk is full", at(2)));
  EXPECT_THAT(told(c.d), ElementsAre("move t1")) << "and not to the same node";
  EXPECT_FALSE(c.d.ended("t1", lease, at(2)));
  EXPECT_TRUE(c.d.join({"b", 1, 1}, at(3)));
  EXPECT_TRUE(c.d.sync("b", 1, slots_of("b", 1), {}, at(3)));
  EXPECT_THAT(told(c.d), ElementsAre("b is alive", "start t1 on b"));
  ASSERT_TRUE(c.d.submit("g", task("t2"), at(4)));
  EXPECT_THAT(told(c.d), ElementsAre());
  for (double s = 4; s < 33; s += 0.5) {
    EXPECT_TRUE(c.d.heartbeat("a", 1, at(s)));
    EXPECT_TRUE(c.d.heartbeat("b", 1, at(s)));
    c.d.tick(at(s));
    EXPECT_EQ(!told(c.d).empty(), s == 32) << s;
  }
  EXPECT_TRUE(c.d.holds("t2", "a", c.d.leases().find("t2")->epoch)) << "it is given another chance";
}

TEST(dispatch_table, a_task_that_every_node_hands_back_ends_and_one_that_was_stopped_is_not_given_again) {
  small_cluster c{0, 1};
  for (const char* node : {"b", "c", "d", "e"}) {
    EXPECT_TRUE(c.d.join({node, 1, 1}, at(0)));
    EXPECT_TRUE(c.d.sync(node, 1, slots_of(node, 1), {}, at(0)));
  }
  told(c.d);
  ASSERT_TRUE(c.d.submit("g", task("t1"), at(1)));
  std::vector<std::string> last;
  for (int i = 0; i < 4; ++i) {
    const auto lease = *c.d.leases().find("t1");
    told(c.d);
    EXPECT_TRUE(c.d.handed_back("t1", lease.ranks[0].node, lease.epoch, "no", at(1)));
    last = told(c.d);
  }
  EXPECT_THAT(last, ElementsAre("end t1: worker_lost"));
  ASSERT_TRUE(c.d.submit("g", task("t2"), at(1)));
  const auto lease = *c.d.leases().find("t2");
  c.d.cancel("t2", "enough", at(1));
  told(c.d);
  EXPECT_TRUE(c.d.handed_back("t2", lease.ranks[0].node, lease.epoch, "no", at(1)));
  EXPECT_THAT(told(c.d), ElementsAre("end t2: cancelled"));
}

TEST(dispatch_table, tasks_go_where_a_slot_is_free_and_others_wait) {
  small_cluster c{1, 1};
  for (const char* id : {"t1", "t2", "t3"})
    ASSERT_TRUE(c.d.submit("g", task(id), at(1)));
  EXPECT_THAT(told(c.d), ElementsAre("start t1 on a", "start t2 on head"));
  EXPECT_EQ(c.d.submit("g", task("t1"), at(1)).error().code, errc::already_exists);
  EXPECT_THAT(*c.d.why_waiting("t3", at(1)), HasSubstr("slot"));
  const auto lease = c.d.leases().find("t1")->epoch;
  EXPECT_TRUE(c.d.holds("t1", "a", lease));
  EXPECT_TRUE(c.d.ended("t1", lease, at(2)));
  EXPECT_FALSE(c.d.ended("t1", lease, at(2))) << "once";
  EXPECT_THAT(told(c.d), ElementsAre("start t3 on a"));
  EXPECT_THAT(c.d.tasks(), ElementsAre("t2", "t3"));
}

TEST(dispatch_table, a_node_gets_nothing_before_it_has_told_what_it_holds) {
  dispatch_table d{{}, "head", 0, 0};
  ASSERT_TRUE(d.submit("g", task("t1"), at(0)));
  ASSERT_TRUE(d.join({"a", 1, 1}, at(0)));
  EXPECT_THAT(told(d), ElementsAre("a is alive"));
  ASSERT_TRUE(d.sync("a", 1, slots_of("a", 1), {}, at(0)));
  EXPECT_THAT(told(d), ElementsAre("start t1 on a"));
}

TEST(dispatch_table, a_lost_node_loses_its_tasks_to_others_and_its_late_word_counts_for_nothing) {
  small_cluster c{0, 1};
  ASSERT_TRUE(c.d.join({"b", 1, 1}, at(0)));
  ASSERT_TRUE(c.d.submit("g", task("t1"), at(0)));
  const auto old = c.d.leases().find("t1")->epoch;
  c.d.confirmed("t1", old);
  ASSERT_TRUE(c.d.sync("b", 1, slots_of("b", 1), {}, at(0)));
  told(c.d);
  for (int i = 1; i < 8; ++i) {
    ASSERT_TRUE(c.d.heartbeat("b", 1, at(i * 0.5)));
    c.d.tick(at(i * 0.5));
  }
  EXPECT_THAT(told(c.d), ElementsAre("a is suspect", "a is dead", "move t1", "start t1 on b"));
  EXPECT_FALSE(c.d.ended("t1", old, at(4))) << "from a, which has woken up";
  EXPECT_EQ(c.d.heartbeat("a", 1, at(4)).error().code, errc::stale_epoch);
  EXPECT_TRUE(c.d.ended("t1", c.d.leases().find("t1")->epoch, at(4)));
}

TEST(dispatch_table, a_connection_that_comes_back_in_time_goes_on) {
  small_cluster c{0, 2};
  for (const char* id : {"kept", "unheard", "vanished"})
    ASSERT_TRUE(c.d.submit("g", task(id), at(0)));
  const auto lease = [&](const char* id) { return c.d.leases().find(id)->epoch; };
  told(c.d);
  c.d.confirmed("kept", lease("kept"));
  c.d.disconnected("a", 1, at(1));
  EXPECT_THAT(told(c.d), ElementsAre("a is suspect"));
  ASSERT_TRUE(c.d.join({"a", 1, 1}, at(2)));
  const std::vector<held_task> held{{"kept", lease("kept")}, {"long over", 99}};
  ASSERT_TRUE(c.d.sync("a", 1, slots_of("a", 2), held, at(2)));
  EXPECT_THAT(told(c.d), ElementsAre("a is alive", "stop long over on a", "start unheard on a"));
  // Once more, and this time it has lost one that it had.
  c.d.confirmed("unheard", lease("unheard"));
  c.d.disconnected("a", 1, at(3));
  ASSERT_TRUE(c.d.join({"a", 1, 1}, at(3)));
  told(c.d);
  ASSERT_TRUE(c.d.sync("a", 1, slots_of("a", 2), std::vector<held_task>{{"kept", lease("kept")}}, at(3)));
  EXPECT_THAT(told(c.d), ElementsAre("move unheard", "start vanished on a")) << "its turn came, in the order they were asked";
}

TEST(dispatch_table, a_node_that_started_again_has_none_of_its_old_tasks) {
  small_cluster c{1, 1};
  ASSERT_TRUE(c.d.submit("g", task("t1"), at(0)));
  told(c.d);
  const auto epoch = c.d.join({"a", 2, 1}, at(1));
  ASSERT_TRUE(epoch);
  EXPECT_EQ(*epoch, 2U);
  EXPECT_THAT(told(c.d), ElementsAre("a is dead", "move t1", "a is alive", "start t1 on head"));
  EXPECT_EQ(c.d.join({"a", 1, 1}, at(1)).error().code, errc::stale_epoch);
}

TEST(dispatch_table, a_task_that_takes_its_nodes_with_it_is_given_up) {
  dispatch_table d{{}, "head", 0, 0};
  ASSERT_TRUE(d.submit("g", task("poison"), at(0)));
  std::vector<std::string> all;
  for (std::uint64_t i = 1; i <= 4; ++i) {
    ASSERT_TRUE(d.join({"a", i, 1}, at(static_cast<double>(i))));
    ASSERT_TRUE(d.sync("a", i, slots_of("a", 1), {}, at(static_cast<double>(i))));
  }
  told(d);
  ASSERT_TRUE(d.join({"a", 5, 1}, at(5)));
  EXPECT_THAT(told(d), ElementsAre("a is dead", "end poison: worker_lost", "a is alive"));
}

TEST(dispatch_table, the_end_of_a_task_that_never_ran_is_that_of_its_attempt) {
  // Whoever ordered it takes the end of no other attempt, and would wait for this one for ever.
  small_cluster c{0, 1};
  auto later = task("t1");
  later.task.attempt = 3;
  ASSERT_TRUE(c.d.submit("g", task("runs"), at(0)));
  ASSERT_TRUE(c.d.submit("g", later, at(0)));
  told(c.d);
  c.d.cancel("t1", "not needed", at(1));
  const auto actions = c.d.take_actions();
  ASSERT_EQ(actions.size(), 1U);
  EXPECT_EQ(actions[0].is, what::end);
  EXPECT_EQ(actions[0].attempt, 3U);
}

TEST(dispatch_table, cancelling_ends_what_waits_at_once_and_stops_what_runs) {
  small_cluster c{0, 1};
  ASSERT_TRUE(c.d.submit("g", task("runs"), at(0)));
  ASSERT_TRUE(c.d.submit("g", task("waits"), at(0)));
  told(c.d);
  c.d.cancel("waits", "not needed", at(1));
  c.d.cancel("runs", "not needed", at(1));
  c.d.cancel("nobody knows", "?", at(1));
  EXPECT_THAT(told(c.d), ElementsAre("end waits: cancelled", "stop runs on a"));
  ASSERT_TRUE(c.d.leave("a", 1, at(2)));
  EXPECT_THAT(told(c.d), ElementsAre("a is left", "end runs: cancelled")) << "the node went before it had stopped it";
}

TEST(dispatch_table, a_draining_node_finishes_and_gets_nothing_new) {
  small_cluster c{1, 2};
  ASSERT_TRUE(c.d.submit("g", task("t1"), at(0)));
  told(c.d);
  EXPECT_EQ(c.d.usable_slots(), 3U);
  ASSERT_TRUE(c.d.drain("head"));
  ASSERT_TRUE(c.d.drain("a"));
  EXPECT_EQ(c.d.drain("b").error().code, errc::not_found);
  EXPECT_EQ(c.d.usable_slots(), 0U);
  ASSERT_TRUE(c.d.submit("g", task("t2"), at(1)));
  EXPECT_TRUE(told(c.d).empty());
  const auto nodes = c.d.nodes(at(1));
  ASSERT_EQ(nodes.size(), 2U);
  EXPECT_TRUE(nodes[0].head && nodes[0].draining && nodes[1].draining);
  EXPECT_EQ(nodes[0].busy + nodes[1].busy, 1U);
}

TEST(dispatch_table, a_refusal_ends_the_task_with_its_reason) {
  small_cluster c{0, 1};
  ASSERT_TRUE(c.d.submit("g", task("t1"), at(0)));
  ASSERT_TRUE(c.d.submit("g", task("t2"), at(0)));
  told(c.d);
  c.d.refused("t1", 999, error{errc::disk_full, "no room"}, at(1)); // of an older lease
  EXPECT_TRUE(told(c.d).empty());
  c.d.refused("t1", c.d.leases().find("t1")->epoch, error{errc::disk_full, "no room"}, at(1));
  EXPECT_THAT(told(c.d), ElementsAre("end t1: disk_full", "start t2 on a"));
}

TEST(dispatch_table, after_a_restart_the_head_waits_for_those_it_knew) {
  dispatch_table d{{}, "head", 0, 0};
  d.restore("a", 5, 9, false, at(0));
  d.restore("b", 2, 10, true, at(0));
  EXPECT_EQ(*d.join({"a", 5, 1}, at(1)), 9U) << "the same epoch as before";
  ASSERT_TRUE(d.sync("a", 5, slots_of("a", 1), std::vector<held_task>{{"of the old head", 3}}, at(1)));
  EXPECT_THAT(told(d), ElementsAre("a is alive", "stop of the old head on a"));
  d.tick(at(3));
  EXPECT_THAT(told(d), ElementsAre("a is suspect", "b is dead"));
  EXPECT_EQ(*d.join({"c", 1, 1}, at(3)), 11U);
}

TEST(dispatch_table, after_a_restart_nothing_is_placed_before_those_it_knew_are_back_or_given_up) {
  dispatch_table d{{}, "head", 0, 0};
  ASSERT_TRUE(d.add_own_slots(slots_of("head", 1)));
  d.restore("a", 5, 9, false, at(0));
  d.restore("b", 2, 10, false, at(0));
  ASSERT_TRUE(d.submit("g", task("t1"), at(0)));
  EXPECT_TRUE(told(d).empty()) << "a or b may still run what the last life of the head gave them";
  ASSERT_TRUE(d.join({"a", 5, 1}, at(1)));
  ASSERT_TRUE(d.sync("a", 5, slots_of("a", 1), {}, at(1)));
  EXPECT_THAT(told(d), ElementsAre("a is alive"));
  d.tick(at(3));
  EXPECT_THAT(told(d), ElementsAre("a is suspect", "b is dead", "start t1 on head"));
}

TEST(dispatch_table, the_head_keeps_its_name) {
  small_cluster c{1, 1};
  EXPECT_EQ(c.d.join({"head", 9, 1}, at(1)).error().code, errc::already_exists);
}

// ---- a hostile world ----------------------------------------------------------------------------------------------------
//
// One head, some nodes, a network that delays, drops connections and freezes nodes; nodes that die and come back. Each node does as
// task_host_actor does: tells first what it holds, keeps an end until the head has taken it, stops when its lease watch says so.
// Promises: no task ever runs on two nodes at the same time; each ends exactly once for whoever ordered it; once the faults stop, all end.

namespace {

struct world {
  struct message {
    mono_time due;
    int node;
    std::uint64_t connection;
    std::function<void()> deliver;
  };
  struct node {
    std::string name;
    std::uint64_t incarnation = 1, connection = 0, beat = 0, epoch = 0;
    bool up = true, joined = false, frozen = false;
    std::map<std::string, std::uint64_t> running;  ///< task -> lease
    std::map<std::string, std::uint64_t> unreported;
    std::unique_ptr<lease_watch> watch;
    mono_time next_beat, next_dial;
  };

  explicit world(std::uint64_t seed) : random{seed} {}
  random_source random;
  mono_time now = at(0);
  std::uint64_t connections = 0;
  dispatch_table head{{}, "head", 0, 0};
  std::vector<node> nodes;
  std::deque<message> wire;
  std::map<std::string, int> ends;
  std::set<std::string> cancelled;
  bool faults = true;

  void send(int n, std::function<void()> f) {
    const auto delay = random.below(20) == 0 && faults ? milliseconds{random.below(1500)} : milliseconds{1 + random.below(20)};
    wire.push_back({now + delay, n, nodes[static_cast<std::size_t>(n)].connection, std::move(f)});
  }
  void to_head(int n, std::function<void()> f) { send(n, std::move(f)); }

  void stop_everything(node& n) {
    n.running.clear();
    n.unreported.clear();
  }
  void renew(node& n) {
    stop_everything(n);
    ++n.incarnation;
    n.watch.reset();
    disconnect(n);
  }
  void disconnect(node& n) {
    if (n.connection != 0 && n.joined)
      head.disconnected(n.name, n.incarnation, now);
    n.connection = 0;
    n.joined = false;
    n.next_dial = now + milliseconds{50 + random.below(200)};
  }

  void dial(int i) {
    auto& n = nodes[static_cast<std::size_t>(i)];
    n.connection = ++connections;
    const auto sent = now;
    const auto incarnation = n.incarnation;
    to_head(i, [this, i, sent, incarnation] {
      const auto epoch = head.join({nodes[static_cast<std::size_t>(i)].name, incarnation, 1}, now);
      send(i, [this, i, sent, incarnation, ok = epoch.has_value(), given = epoch ? *epoch : 0] {
        auto& me = nodes[static_cast<std::size_t>(i)];
        if (me.incarnation != incarnation)
          return;
        if (!ok)
          return renew(me);
        me.joined = true;
        me.epoch = given;
        if (!me.watch)
          me.watch = std::make_unique<lease_watch>(lease_watch_rule{}, sent);
        std::vector<held_task> held;
        for (const auto& [t, lease] : me.running)
          held.push_back({t, lease});
        for (const auto& [t, lease] : me.unreported)
          held.push_back({t, lease});
        to_head(i, [this, i, incarnation, held] {
          auto& who = nodes[static_cast<std::size_t>(i)];
          (void)head.sync(who.name, incarnation, slots_of(who.name, 2), held, now);
        });
        for (const auto& [t, lease] : me.unreported)
          report_end(i, t, lease);
      });
    });
  }

  void report_end(int i, const std::string& t, std::uint64_t lease) {
    to_head(i, [this, i, t, lease] {
      if (head.ended(t, lease, now))
        ++ends[t];
      send(i, [this, i, t, lease] {
        auto& me = nodes[static_cast<std::size_t>(i)];
        if (const auto u = me.unreported.find(t); u != me.unreported.end() && u->second == lease)
          me.unreported.erase(u);
      });
    });
  }

  void beat(int i) {
    auto& n = nodes[static_cast<std::size_t>(i)];
    n.next_beat = now + milliseconds{500};
    const auto number = ++n.beat;
    n.watch->sent(number, now);
    to_head(i, [this, i, number, incarnation = n.incarnation] {
      const auto ok = head.heartbeat(nodes[static_cast<std::size_t>(i)].name, incarnation, now);
      send(i, [this, i, number, incarnation, good = ok.ok()] {
        auto& me = nodes[static_cast<std::size_t>(i)];
        if (me.incarnation != incarnation || !me.watch)
          return;
        if (good)
          me.watch->answered(number);
        else
          me.watch->refused();
      });
    });
  }

  void carry_out() {
    for (auto& a : head.take_actions()) {
      if (a.is == what::end)
        ++ends[a.task];
      if (a.is != what::start && a.is != what::stop)
        continue;
      for (std::size_t i = 0; i < nodes.size(); ++i) {
        if (nodes[i].name != a.node || nodes[i].connection == 0)
          continue;
        const int n = static_cast<int>(i);
        if (a.is == what::stop) {
          send(n, [this, i, a] {
            auto& me = nodes[i];
            if (const auto r = me.running.find(a.task); r != me.running.end() && r->second == a.lease) {
              me.running.erase(r);
              me.unreported[a.task] = a.lease;
              report_end(static_cast<int>(i), a.task, a.lease);
            }
          });
        } else {
          send(n, [this, i, a] {
            auto& me = nodes[i];
            if (!me.joined || me.epoch != a.epoch || me.unreported.contains(a.task))
              return;
            me.running[a.task] = a.lease;
            to_head(static_cast<int>(i), [this, a] { head.confirmed(a.task, a.lease); });
          });
        }
      }
    }
  }

  void check(std::uint64_t seed) {
    std::map<std::string, std::string> where;
    for (const auto& n : nodes)
      for (const auto& [t, lease] : n.running)
        ASSERT_TRUE(where.emplace(t, n.name).second) << t << " runs on " << where[t] << " and " << n.name << ", seed " << seed;
    for (const auto& [t, count] : ends)
      ASSERT_EQ(count, 1) << t << " ended " << count << " times, seed " << seed;
  }

  void step(std::uint64_t seed) {
    now = now + milliseconds{5};
    for (std::size_t i = 0; i < wire.size();) {
      const auto& m = wire[i];
      const auto& n = nodes[static_cast<std::size_t>(m.node)];
      if (m.connection != n.connection || m.connection == 0) {
        wire.erase(wire.begin() + static_cast<std::ptrdiff_t>(i)); // the connection it was on is gone
        continue;
      }
      bool first = true; // in order per node, and nothing is taken in by a frozen one
      for (std::size_t j = 0; j < i; ++j)
        first = first && wire[j].node != m.node;
      if (first && m.due <= now && !n.frozen && n.up) {
        auto deliver = m.deliver;
        wire.erase(wire.begin() + static_cast<std::ptrdiff_t>(i));
        deliver();
        continue;
      }
      ++i;
    }
    head.tick(now);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      auto& n = nodes[i];
      if (faults && random.below(250) == 0) {
        switch (random.below(4)) {
        case 0: // killed: its workers die with it
          n.up = false;
          stop_everything(n);
          break;
        case 1: // frozen: its workers are children of the same machine and stop, too, when the lease is over (a timer of the kernel)
          n.frozen = true;
          break;
        default: disconnect(n);
        }
      }
      if (!n.up && random.below(faults ? 200 : 20) == 0) {
        n.up = true;
        renew(n);
      }
      if (n.frozen && random.below(faults ? 300 : 20) == 0)
        n.frozen = false;
      if (n.watch && !n.watch->holds(now))
        stop_everything(n);
      if (!n.up || n.frozen)
        continue;
      if (n.watch && !n.watch->holds(now))
        renew(n);
      if (n.connection == 0 && now >= n.next_dial)
        dial(static_cast<int>(i));
      if (n.joined && n.watch && now >= n.next_beat)
        beat(static_cast<int>(i));
      const auto ending = std::find_if(n.running.begin(), n.running.end(), [](const auto& t) { return t.first.front() != 'x'; });
      if (ending != n.running.end() && random.below(60) == 0) {
        const auto t = *ending;
        n.running.erase(ending);
        n.unreported.insert(t);
        if (n.joined)
          report_end(static_cast<int>(i), t.first, t.second);
      }
    }
    carry_out();
    check(seed);
  }
};

} // namespace

TEST(dispatch_table, whatever_the_network_does_each_task_runs_in_one_place_and_ends_once) {
  for (std::uint64_t seed = 0; seed < 150; ++seed) {
    world w{seed};
    for (const char* name : {"a", "b", "c"}) {
      w.nodes.emplace_back();
      w.nodes.back().name = name;
    }
    int submitted = 0;
    for (int i = 0; i < 7000 && !testing::Test::HasFatalFailure(); ++i) { // 35 s
      if (i % 30 == 0 && i < 4000) {
        const bool endless = w.random.below(10) == 0; // ends only when it is stopped
        const auto id = (endless ? "x" : "t") + std::to_string(submitted++);
        ASSERT_TRUE(w.head.submit("g", task(id), w.now));
      }
      for (const auto& id : w.head.tasks())
        if (id.front() == 'x' ? w.random.below(500) == 0 || i == 4000 : w.random.below(20'000) == 0)
          if (w.cancelled.insert(id).second) // whoever orders it says so once
            w.head.cancel(id, "by the way", w.now);
      w.faults = i < 4000;
      w.step(seed);
    }
    EXPECT_TRUE(w.head.tasks().empty()) << w.head.tasks().size() << " tasks never ended, seed " << seed;
    EXPECT_EQ(w.ends.size(), static_cast<std::size_t>(submitted)) << seed;
    for (const auto& [id, s] : w.head.leases().slots().all())
      EXPECT_EQ(s.held, 0U) << id.text() << ", seed " << seed;
    if (testing::Test::HasFailure())
      return;
  }
}
