#include "actors/dispatcher/dispatch_table.hpp"

#include "cluster/base/random.hpp"
#include "cluster/membership/lease_watch.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <deque>
#include <memory>

using namespace flywheel;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;
using std::chrono::milliseconds;
using std::chrono::seconds;
using what = gang_action::what;
using news = gang_news::kind;

namespace {

mono_time at(double s) { return mono_time{static_cast<std::int64_t>(s * 1e9)}; }
std::vector<slot> slots_of(const std::string& node, int n) {
  std::vector<slot> all;
  for (int i = 0; i < n; ++i)
    all.push_back({{node, "cpu" + std::to_string(i)}, slot_kind::cpu, "2 cores", 1 << 30, 0});
  return all;
}
gang_order order(const std::string& id, std::uint32_t ranks) {
  gang_order o;
  o.id = id;
  o.user = "maria";
  o.command = {"train"};
  o.ranks = ranks;
  return o;
}
gang_observation started(int rank, std::uint64_t attempt) { return rank_observation{rank, attempt, rank_started{100 + rank}}; }
gang_observation stepped(int rank, std::uint64_t attempt, std::uint64_t steps) {
  rank_seen s;
  s.report.phase = rank_phase::working;
  s.report.steps = s.report.step = steps;
  return rank_observation{rank, attempt, s};
}
gang_observation ended(int rank, std::uint64_t attempt, int signal, int code = 0) {
  rank_exit how;
  how.signal = signal;
  how.code = code;
  return rank_observation{rank, attempt, rank_ended{how}};
}
gang_observation cleared(const std::string& node, std::uint64_t attempt) { return host_cleared{node, attempt}; }

/// A head without slots, and nodes with two each.
struct cluster {
  dispatch_table d{{}, "head", 0, 0};
  std::map<std::string, std::uint64_t> attempts; ///< the fence of each gang
  std::vector<gang_news> all_news;
  explicit cluster(const std::vector<std::string>& nodes, int slots = 2) {
    for (const auto& n : nodes)
      join(n, 1, slots, at(0));
  }
  void join(const std::string& n, std::uint64_t incarnation, int slots, mono_time now) {
    EXPECT_TRUE(d.join({n, incarnation, 1}, now));
    EXPECT_TRUE(d.sync(n, incarnation, slots_of(n, slots), {}, now));
  }
  status submit(const gang_order& o, mono_time now) {
    return d.with_gangs(now, [&](auto& g, auto& l) { return g.submit(o, l, now); });
  }
  std::uint64_t lease(const std::string& id) const {
    const auto* l = d.leases().find(id);
    return l == nullptr ? 0 : l->epoch;
  }
  /// Does what is asked of the fence at once; returns the rest, as "start g on a", "kill g on a", "terminate g on a", "g done".
  std::vector<std::string> told(mono_time now) {
    std::vector<std::string> all;
    for (auto actions = d.take_gang_actions(); !actions.empty(); actions = d.take_gang_actions())
      for (const auto& a : actions) {
        switch (a.is) {
        case what::prepare: {
          const std::vector<std::string> addresses(d.gangs().order_of(a.gang)->ranks, "127.0.0.1");
          EXPECT_TRUE(d.with_gangs(now, [&](auto& g, auto&) { return g.prepared(a.gang, a.lease, ++attempts[a.gang], 5, "/meet", addresses, now); }));
          break;
        }
        case what::start: all.push_back("start " + a.gang + " on " + a.node); break;
        case what::signal: all.push_back((a.number == SIGKILL ? "kill " : "terminate ") + a.gang + " on " + a.node); break;
        case what::clean: break;
        case what::tell:
          all_news.push_back(a.news);
          if (a.news.what != news::leased && a.news.what != news::started)
            all.push_back(a.gang + " " + std::string{name_of(a.news.what)});
          break;
        }
      }
    return all;
  }
  bool see(const std::string& id, const std::string& node, std::uint64_t l, const std::vector<gang_observation>& seen, mono_time now) {
    return d.with_gangs(now, [&](auto& g, auto& leases) { return g.observe(id, node, l, seen, leases, now); });
  }
  std::uint32_t held() const {
    std::uint32_t n = 0;
    for (const auto& [id, s] : d.leases().slots().all())
      n += s.held > 0 ? 1 : 0;
    return n;
  }
  void alive(const std::vector<std::string>& nodes, double from, double to) {
    for (double t = from; t <= to; t += 0.5) {
      for (const auto& n : nodes)
        ASSERT_TRUE(d.heartbeat(n, 1, at(t)));
      d.tick(at(t));
    }
  }
};

} // namespace

TEST(gang_table, a_gang_gets_all_its_slots_or_waits_and_ends_when_all_its_ranks_have) {
  cluster c{{"a"}};
  ASSERT_TRUE(c.submit(order("g", 3), at(0)));
  EXPECT_THAT(c.told(at(0)), IsEmpty());
  EXPECT_EQ(c.held(), 0U) << "nobody holds while it waits";
  EXPECT_THAT(c.d.gangs().views(c.d.leases(), at(1))[0].text, HasSubstr("1 more such slots"));
  c.join("b", 1, 2, at(1));
  EXPECT_THAT(c.told(at(1)), UnorderedElementsAre("start g on a", "start g on b"));
  EXPECT_EQ(c.held(), 3U);
  const auto attempt = c.d.gangs().attempt_of("g", c.lease("g"));
  ASSERT_TRUE(attempt);
  EXPECT_EQ(attempt->seats.size(), 3U);
  EXPECT_EQ(attempt->seats[0].local, 0);
  EXPECT_EQ(attempt->seats[1].local, 1);
  EXPECT_EQ(attempt->seats[2].local, 0) << "numbered by host";
  EXPECT_EQ(attempt->seats[0].slot, "cpu 0");
  const auto lease = c.lease("g");
  const auto first = attempt->seats[0].host, second = attempt->seats[2].host;
  EXPECT_TRUE(c.see("g", first, lease, {started(0, 1), started(1, 1), ended(0, 1, 0), ended(1, 1, 0)}, at(2)));
  EXPECT_TRUE(c.see("g", second, lease, {started(2, 1), ended(2, 1, 0)}, at(2)));
  EXPECT_THAT(c.told(at(2)), UnorderedElementsAre("kill g on a", "kill g on b")) << "what the ranks left behind";
  EXPECT_EQ(c.held(), 3U);
  EXPECT_TRUE(c.see("g", first, lease, {cleared(first, 1)}, at(2)));
  EXPECT_TRUE(c.see("g", second, lease, {cleared(second, 1)}, at(2)));
  EXPECT_THAT(c.told(at(2)), ElementsAre("g done"));
  EXPECT_EQ(c.held(), 0U);
  EXPECT_FALSE(c.d.gangs().has("g"));
  EXPECT_FALSE(c.see("g", first, lease, {cleared(first, 1)}, at(3)));
}

TEST(gang_table, one_rank_dead_all_are_killed_everywhere_and_the_next_attempt_starts_when_every_host_is_cleared) {
  cluster c{{"a", "b"}};
  ASSERT_TRUE(c.submit(order("g", 4), at(0)));
  c.told(at(0));
  const auto lease = c.lease("g");
  c.see("g", "a", lease, {started(0, 1), started(1, 1), stepped(0, 1, 7), stepped(1, 1, 7)}, at(1));
  c.see("g", "b", lease, {started(2, 1), started(3, 1), stepped(2, 1, 7), stepped(3, 1, 7)}, at(1));
  c.see("g", "b", lease, {ended(3, 1, SIGKILL)}, at(2));
  EXPECT_THAT(c.told(at(2)), UnorderedElementsAre("kill g on a", "kill g on b"));
  c.see("g", "a", lease, {ended(2, 1, SIGSEGV)}, at(2)); // not its own rank
  c.see("g", "b", lease, {cleared("b", 1)}, at(3));
  EXPECT_THAT(c.told(at(3)), IsEmpty()) << "a is not cleared";
  EXPECT_EQ(c.held(), 4U);
  c.see("g", "a", lease, {ended(0, 1, SIGKILL), ended(1, 1, SIGKILL), cleared("a", 1)}, at(4));
  EXPECT_THAT(c.told(at(4)), UnorderedElementsAre("g failed", "start g on a", "start g on b"));
  const auto& failed = *std::find_if(c.all_news.begin(), c.all_news.end(), [](const auto& n) { return n.what == news::failed; });
  EXPECT_EQ(failed.cause.rank, 3);
  EXPECT_EQ(failed.cause.host, "b");
  EXPECT_EQ(failed.cause.step, 7U);
  EXPECT_THAT(failed.text, HasSubstr("restart 1 of 3"));
  EXPECT_EQ(c.d.gangs().last_attempt("g"), 2U);
  EXPECT_GT(c.lease("g"), lease);
  EXPECT_FALSE(c.see("g", "a", lease, {ended(0, 1, SIGSEGV)}, at(4))) << "an older attempt has no word";
}

TEST(gang_table, a_lost_node_is_the_cause_and_the_slots_of_the_others_are_not_given_on_before_they_are_cleared) {
  cluster c{{"a", "b"}};
  ASSERT_TRUE(c.submit(order("g", 4), at(0)));
  c.told(at(0));
  const auto lease = c.lease("g");
  c.see("g", "a", lease, {started(0, 1), started(1, 1)}, at(0.4));
  c.see("g", "b", lease, {started(2, 1), started(3, 1)}, at(0.4));
  ASSERT_TRUE(c.submit(order("next", 2), at(0.5)));
  c.d.disconnected("b", 1, at(1));
  rank_exit complaint;
  complaint.code = 1;
  complaint.last_output = "Connection closed by peer";
  c.see("g", "a", lease, {rank_observation{0, 1, rank_ended{complaint}}}, at(1.1)); // who is to blame is not known yet
  c.alive({"a"}, 1.5, 2.5);
  EXPECT_THAT(c.told(at(2.5)), IsEmpty());
  c.alive({"a"}, 3, 4.5); // b is dead
  EXPECT_THAT(c.told(at(4.5)), ElementsAre("kill g on a"));
  EXPECT_EQ(c.held(), 2U);
  c.see("g", "a", lease, {ended(1, 1, SIGKILL), cleared("a", 1)}, at(5));
  EXPECT_THAT(c.told(at(5)), ElementsAre("g failed", "start next on a"));
  const auto& failed = *std::find_if(c.all_news.begin(), c.all_news.end(), [](const auto& n) { return n.what == news::failed; });
  EXPECT_EQ(failed.cause.end, gang_end::host_lost);
  EXPECT_EQ(failed.cause.host, "b");
  c.join("d", 1, 2, at(5));
  c.join("e", 1, 2, at(5));
  EXPECT_THAT(c.told(at(5)), UnorderedElementsAre("start g on d", "start g on e"));
}

TEST(gang_table, cancelled_it_gets_a_signal_to_stop_by_itself_first) {
  cluster c{{"a"}};
  ASSERT_TRUE(c.submit(order("up", 2), at(0)));
  ASSERT_TRUE(c.submit(order("queued", 2), at(0)));
  c.told(at(0));
  const auto cancel = [&](const std::string& id, double t) { return c.d.with_gangs(at(t), [&](auto& g, auto& l) { return g.cancel(id, "maria cancelled it", l, at(t)); }); };
  EXPECT_TRUE(cancel("queued", 1));
  EXPECT_THAT(c.told(at(1)), ElementsAre("queued cancelled"));
  EXPECT_TRUE(cancel("up", 1));
  EXPECT_THAT(c.told(at(1)), ElementsAre("terminate up on a"));
  c.alive({"a"}, 1.5, 10.5);
  EXPECT_THAT(c.told(at(10.5)), IsEmpty());
  c.alive({"a"}, 11, 11.5);
  EXPECT_THAT(c.told(at(11.5)), ElementsAre("kill up on a"));
  c.see("up", "a", c.lease("up"), {cleared("a", 1)}, at(12));
  EXPECT_THAT(c.told(at(12)), ElementsAre("up cancelled"));
  EXPECT_EQ(cancel("up", 12).error().code, errc::not_found);
  EXPECT_EQ(c.held(), 0U);
}

TEST(gang_table, a_larger_priority_has_it_make_way_which_is_no_failure) {
  cluster c{{"a"}};
  auto low = order("low", 2), high = order("high", 2);
  low.restarts_max = 0;
  high.priority = 1;
  ASSERT_TRUE(c.submit(low, at(0)));
  c.told(at(0));
  const auto lease = c.lease("low");
  ASSERT_TRUE(c.submit(high, at(1)));
  EXPECT_THAT(c.told(at(1)), ElementsAre("terminate low on a"));
  c.see("low", "a", lease, {ended(0, 1, SIGTERM), ended(1, 1, SIGTERM)}, at(2));
  EXPECT_THAT(c.told(at(2)), ElementsAre("kill low on a"));
  c.see("low", "a", lease, {cleared("a", 1)}, at(2));
  EXPECT_THAT(c.told(at(2)), ElementsAre("low yielded", "start high on a"));
  c.see("high", "a", c.lease("high"), {ended(0, 1, 0), ended(1, 1, 0), cleared("a", 1)}, at(3));
  EXPECT_THAT(c.told(at(3)), ElementsAre("high done", "start low on a"));
  EXPECT_EQ(c.d.gangs().last_attempt("low"), 2U);
}

TEST(gang_table, a_task_makes_way_and_runs_again_later) {
  cluster c{{"a"}};
  worker_task t;
  t.task.id = "goal/t1";
  ASSERT_TRUE(c.d.submit("goal", t, at(0)));
  c.d.take_actions();
  auto high = order("high", 2);
  high.priority = 1;
  ASSERT_TRUE(c.submit(high, at(1)));
  const auto actions = c.d.take_actions();
  ASSERT_EQ(actions.size(), 1U);
  EXPECT_EQ(actions[0].is, dispatch_action::what::stop);
  EXPECT_FALSE(c.d.ended("goal/t1", c.lease("goal/t1"), at(2), true)) << "told to nobody";
  EXPECT_THAT(c.told(at(2)), ElementsAre("start high on a"));
  EXPECT_THAT(c.d.tasks(), ElementsAre("goal/t1"));
  c.see("high", "a", c.lease("high"), {ended(0, 1, 0), ended(1, 1, 0), cleared("a", 1)}, at(2.5));
  c.told(at(2.5));
  c.d.tick(at(2.6));
  EXPECT_TRUE(c.d.holds("goal/t1", "a", c.lease("goal/t1")));
}

TEST(gang_table, its_time_is_that_of_all_its_attempts_together) {
  cluster c{{"a"}};
  auto o = order("g", 1);
  o.time_max = seconds{10};
  ASSERT_TRUE(c.submit(o, at(0)));
  c.told(at(0));
  c.alive({"a"}, 0.5, 6);
  c.see("g", "a", c.lease("g"), {stepped(0, 1, 1), ended(0, 1, SIGKILL), cleared("a", 1)}, at(6));
  EXPECT_THAT(c.told(at(6)), UnorderedElementsAre("g failed", "start g on a")) << "there is nothing left to kill";
  EXPECT_EQ(c.d.leases().find("g")->until, at(10));
  c.alive({"a"}, 6.5, 10);
  EXPECT_THAT(c.told(at(10)), ElementsAre("terminate g on a"));
  c.see("g", "a", c.lease("g"), {ended(0, 2, SIGTERM), cleared("a", 2)}, at(10.1));
  EXPECT_THAT(c.told(at(10.1)), ElementsAre("g gave_up"));
  EXPECT_THAT(c.all_news.back().text, HasSubstr("its time of 10.0s is over"));
}

TEST(gang_table, a_slot_on_which_it_fails_again_is_avoided_while_there_are_others) {
  cluster c{{"a"}};
  auto o = order("g", 1);
  o.restarts_max = 100;
  ASSERT_TRUE(c.submit(o, at(0)));
  std::vector<std::string> on;
  for (std::uint64_t i = 1; i <= 5; ++i) {
    c.told(at(0));
    on.push_back(c.d.leases().find("g")->ranks[0].name);
    c.see("g", "a", c.lease("g"), {stepped(0, i, 1), ended(0, i, SIGKILL), cleared("a", i)}, at(0));
  }
  EXPECT_THAT(on, ElementsAre("cpu0", "cpu0", "cpu1", "cpu1", testing::_)) << "with both tried, one is better than none";
  EXPECT_TRUE(c.d.gangs().has("g"));
}

TEST(gang_table, what_a_connection_that_comes_back_tells_is_made_good) {
  cluster c{{"a", "b", "d"}};
  ASSERT_TRUE(c.submit(order("g", 6), at(0)));
  c.told(at(0));
  const auto lease = c.lease("g");
  c.see("g", "a", lease, {started(0, 1), started(1, 1)}, at(0.1));
  for (const char* n : {"a", "b"})
    c.d.disconnected(n, 1, at(0.2));
  ASSERT_TRUE(c.d.join({"a", 1, 1}, at(0.3)));
  ASSERT_TRUE(c.d.sync("a", 1, slots_of("a", 2), {}, at(0.3), {{"g", lease}, {"old", 9}}));
  EXPECT_THAT(c.told(at(0.3)), ElementsAre("kill old on a"));
  ASSERT_TRUE(c.d.join({"b", 1, 1}, at(0.3)));
  ASSERT_TRUE(c.d.sync("b", 1, slots_of("b", 2), {}, at(0.3)));
  EXPECT_THAT(c.told(at(0.3)), ElementsAre("start g on b")) << "it was never told that b had them";
  c.d.disconnected("a", 1, at(0.4));
  ASSERT_TRUE(c.d.join({"a", 1, 1}, at(0.5)));
  ASSERT_TRUE(c.d.sync("a", 1, slots_of("a", 2), {}, at(0.5)));
  EXPECT_THAT(c.told(at(0.5)), UnorderedElementsAre("kill g on b", "kill g on d")) << "a had them, and has lost them";
  c.d.disconnected("b", 1, at(0.6));
  ASSERT_TRUE(c.d.join({"b", 1, 1}, at(0.7)));
  ASSERT_TRUE(c.d.sync("b", 1, slots_of("b", 2), {}, at(0.7), {{"g", lease}}));
  EXPECT_THAT(c.told(at(0.7)), ElementsAre("kill g on b")) << "told again";
}

TEST(gang_table, what_cannot_be_prepared_is_given_up_or_tried_again) {
  for (const auto& [code, again] : {std::pair{errc::unreachable, true}, std::pair{errc::permission_denied, false}, std::pair{errc::stale_epoch, false}}) {
    cluster c{{"a"}};
    ASSERT_TRUE(c.submit(order("g", 1), at(0)));
    c.d.take_gang_actions();
    c.d.with_gangs(at(0), [&](auto& g, auto& l) { g.prepare_failed("g", c.lease("g"), 0, error{code, "no"}, l, at(0)); });
    EXPECT_EQ(c.held(), 0U);
    EXPECT_EQ(c.d.gangs().has("g"), again);
    c.d.take_gang_actions();
    c.alive({"a"}, 0.5, 1.5);
    EXPECT_EQ(c.held(), again ? 1U : 0U);
  }
}

TEST(gang_table, orders_that_cannot_be_are_refused) {
  cluster c{{"a"}};
  const auto wrong = [&](auto&& change) {
    auto o = order("g", 1);
    change(o);
    EXPECT_EQ(c.submit(o, at(0)).error().code, errc::invalid_argument);
  };
  wrong([](auto& o) { o.id = "../x"; });
  wrong([](auto& o) { o.ranks = 0; });
  wrong([](auto& o) { o.ranks = 257; });
  wrong([](auto& o) { o.command = {}; });
  wrong([](auto& o) { o.checkpoints = "relative"; });
  wrong([](auto& o) { o.time_max = nanoseconds{0}; });
  wrong([](auto& o) { o.environment = {"novalue"}; });
  wrong([](auto& o) { o.command.emplace_back("a\0b", 3); });
  wrong([](auto& o) { o.command.emplace_back(300'000, 'x'); });
  ASSERT_TRUE(c.submit(order("g", 1), at(0)));
  EXPECT_TRUE(c.submit(order("g", 1), at(0))) << "the same again";
  EXPECT_EQ(c.submit(order("g", 2), at(0)).error().code, errc::already_exists);
}

TEST(gang_table, a_gang_of_the_heads_last_life_waits_for_the_nodes_it_knew) {
  dispatch_table d{{}, "head", 0, 0};
  ASSERT_TRUE(d.add_own_slots(slots_of("head", 1)));
  d.restore("a", 5, 9, false, at(0));
  gang_memory m{order("g", 1), 4, 3, seconds{5}, {}};
  m.order.time_max = seconds{20};
  ASSERT_TRUE(d.with_gangs(at(0), [&](auto& g, auto& l) { return g.resume(m, l, at(0)); }));
  EXPECT_TRUE(d.is_resolving());
  EXPECT_THAT(d.take_gang_actions(), IsEmpty()) << "its ranks may still run on a";
  d.tick(at(3));
  ASSERT_NE(d.leases().find("g"), nullptr);
  EXPECT_EQ(d.leases().find("g")->until, at(18)) << "what it has used counts";
  const auto lease = d.leases().find("g")->epoch;
  EXPECT_FALSE(d.with_gangs(at(3), [&](auto& g, auto&) { return g.prepared("g", lease, 4, 1, "/m", {"x"}, at(3)); })) << "an attempt that was";
  EXPECT_TRUE(d.with_gangs(at(3), [&](auto& g, auto&) { return g.prepared("g", lease, 5, 1, "/m", {"x"}, at(3)); }));
  d.with_gangs(at(4), [&](auto& g, auto& l) { return g.observe("g", "head", lease, std::vector{ended(0, 5, SIGKILL), cleared("head", 5)}, l, at(4)); });
  EXPECT_FALSE(d.gangs().has("g")) << "its restarts were used up before";
}

// ---- a hostile world ----------------------------------------------------------------------------------------------------
//
// As in dispatch_table_test: messages late, connections cut, nodes killed, frozen and back; here the nodes have ranks, which die too.
// Each node does as task_host_actor does. Promises: of a gang's attempts only one that lives can publish; no slot carries two ranks;
// slots and leases add up; once the faults stop, every gang ends and nothing is held.

namespace {

struct world {
  struct message {
    mono_time due;
    int node;
    std::uint64_t connection;
    std::function<void()> deliver;
  };
  struct hosted {
    std::uint64_t lease = 0, attempt = 0;
    std::map<int, slot_id> alive;                ///< ranks
    std::vector<gang_observation> outbox;
    bool over = false, asking = false;
  };
  struct node {
    std::string name;
    std::uint64_t incarnation = 1, connection = 0, beat = 0, epoch = 0;
    bool up = true, joined = false, frozen = false;
    std::map<std::string, hosted> gangs;
    std::unique_ptr<lease_watch> watch;
    mono_time next_beat, next_dial;
  };
  struct fencing {
    std::string gang;
    std::uint64_t lease;
    mono_time due;
  };

  explicit world(std::uint64_t s) : seed(s), random{s} {}
  std::uint64_t seed;
  random_source random;
  mono_time now = at(0);
  std::uint64_t connections = 0;
  dispatch_table head{{}, "head", 0, 0};
  std::vector<node> nodes;
  std::deque<message> wire;
  std::vector<fencing> fences;
  std::map<std::string, std::uint64_t> fence;    ///< the newest attempt: older ones cannot publish
  std::map<std::string, int> ends;
  bool faults = true;

  node& of(int i) { return nodes[static_cast<std::size_t>(i)]; }
  void send(int n, std::function<void()> f) {
    const auto delay = random.below(20) == 0 && faults ? milliseconds{random.below(1500)} : milliseconds{1 + random.below(20)};
    wire.push_back({now + delay, n, of(n).connection, std::move(f)});
  }
  void renew(node& n) {
    n.gangs.clear();
    ++n.incarnation;
    n.watch.reset();
    disconnect(n);
  }
  void disconnect(node& n) {
    if (n.connection != 0 && n.joined)
      head.disconnected(n.name, n.incarnation, now);
    n.connection = 0;
    n.joined = false;
    for (auto& [id, g] : n.gangs)
      g.asking = false;
    n.next_dial = now + milliseconds{50 + random.below(200)};
  }
  void dial(int i) {
    of(i).connection = ++connections;
    send(i, [this, i, sent = now, incarnation = of(i).incarnation] {
      const auto epoch = head.join({of(i).name, incarnation, 1}, now);
      send(i, [this, i, sent, incarnation, ok = epoch.has_value(), given = epoch ? *epoch : 0] {
        auto& me = of(i);
        if (me.incarnation != incarnation)
          return;
        if (!ok)
          return renew(me);
        me.joined = true;
        me.epoch = given;
        if (!me.watch)
          me.watch = std::make_unique<lease_watch>(lease_watch_rule{}, sent);
        std::map<std::string, std::uint64_t> held;
        for (const auto& [id, g] : me.gangs)
          held[id] = g.lease;
        send(i, [this, i, incarnation, held] { (void)head.sync(of(i).name, incarnation, slots_of(of(i).name, 2), {}, now, held); });
      });
    });
  }
  void beat(int i) {
    auto& n = of(i);
    n.next_beat = now + milliseconds{500};
    const auto number = ++n.beat;
    n.watch->sent(number, now);
    send(i, [this, i, number, incarnation = n.incarnation] {
      const auto ok = head.heartbeat(of(i).name, incarnation, now);
      send(i, [this, i, number, incarnation, good = ok.ok()] {
        auto& me = of(i);
        if (me.incarnation != incarnation || !me.watch)
          return;
        if (good)
          me.watch->answered(number);
        else
          me.watch->refused();
      });
    });
  }
  void tell(int i) {
    auto& n = of(i);
    for (auto& [gang, g] : n.gangs) {
      if (g.asking || g.outbox.empty())
        continue;
      g.asking = true;
      send(i, [this, i, gang = gang, lease = g.lease, seen = g.outbox] {
        const bool holds = head.with_gangs(now, [&](auto& gangs, auto& leases) { return gangs.observe(gang, of(i).name, lease, seen, leases, now); });
        send(i, [this, i, gang, lease, holds, count = seen.size()] {
          auto& me = of(i);
          const auto h = me.gangs.find(gang);
          if (h == me.gangs.end() || h->second.lease != lease)
            return;
          h->second.asking = false;
          h->second.outbox.erase(h->second.outbox.begin(), h->second.outbox.begin() + static_cast<std::ptrdiff_t>(count));
          if (!holds)
            kill(me, gang);
          if (h->second.over && h->second.outbox.empty())
            me.gangs.erase(h);
        });
      });
    }
  }
  void kill(node& n, const std::string& gang) {
    auto& g = n.gangs.at(gang);
    if (g.over)
      return;
    for (const auto& [rank, slot] : g.alive)
      g.outbox.push_back(ended(rank, g.attempt, SIGKILL));
    g.alive.clear();
    g.outbox.push_back(cleared(n.name, g.attempt));
    g.over = true;
  }
  void start(int i, const gang_action& a) {
    const auto attempt = head.gangs().attempt_of(a.gang, a.lease);
    if (!attempt)
      return;
    const auto ranks = head.leases().find(a.gang)->ranks;
    send(i, [this, i, a, attempt, ranks, epoch = head.epoch_of(a.node)] {
      auto& me = of(i);
      const auto refuse = [&](errc code) {
        send(i, [this, a, code] {
          if (code != errc::stale_epoch)
            head.with_gangs(now, [&](auto& g, auto& l) { g.refused(a.gang, a.node, a.lease, error{code, "no"}, l, now); });
        });
      };
      if (!me.joined || me.epoch != epoch || !me.watch || !me.watch->holds(now))
        return refuse(errc::stale_epoch);
      if (const auto h = me.gangs.find(a.gang); h != me.gangs.end()) {
        if (h->second.lease == a.lease)
          return;
        if (!h->second.over || !h->second.outbox.empty())
          return refuse(errc::already_exists);
        me.gangs.erase(h);
      }
      hosted g;
      g.lease = a.lease;
      g.attempt = attempt->attempt;
      for (std::size_t r = 0; r < attempt->seats.size(); ++r)
        if (attempt->seats[r].host == a.node) {
          g.alive[static_cast<int>(r)] = ranks.at(r);
          g.outbox.push_back(started(static_cast<int>(r), g.attempt));
          g.outbox.push_back(stepped(static_cast<int>(r), g.attempt, 1));
        }
      me.gangs[a.gang] = std::move(g);
      send(i, [this, a] { head.with_gangs(now, [&](auto& gangs, auto&) { gangs.confirmed(a.gang, a.node, a.lease); }); });
    });
  }
  void carry_out() {
    head.take_actions();
    for (auto actions = head.take_gang_actions(); !actions.empty(); actions = head.take_gang_actions())
      for (const auto& a : actions) {
        if (a.is == what::tell && (a.news.what == news::done || a.news.what == news::gave_up || a.news.what == news::cancelled))
          ++ends[a.gang];
        if (a.is == what::prepare)
          fences.push_back({a.gang, a.lease, now + milliseconds{random.below(300)}});
        if (a.is != what::start && a.is != what::signal)
          continue;
        for (std::size_t n = 0; n < nodes.size(); ++n) {
          const int i = static_cast<int>(n);
          if (of(i).name != a.node || of(i).connection == 0)
            continue;
          if (a.is == what::start) {
            start(i, a);
            continue;
          }
          send(i, [this, i, a] {
            auto& me = of(i);
            const auto h = me.gangs.find(a.gang);
            const bool has = h != me.gangs.end() && h->second.lease == a.lease;
            if (has && a.number == SIGKILL)
              kill(me, a.gang);
            if (!has && a.number == SIGKILL)
              send(i, [this, a] { head.with_gangs(now, [&](auto& g, auto& l) { g.unknown_there(a.gang, a.node, a.lease, l, now); }); });
          });
        }
      }
  }
  void check() {
    std::map<slot_id, std::string> on;
    std::map<std::pair<std::string, int>, std::string> publishers;
    for (const auto& n : nodes)
      for (const auto& [gang, g] : n.gangs)
        for (const auto& [rank, slot] : g.alive) {
          ASSERT_TRUE(on.emplace(slot, gang).second) << slot.text() << " carries " << on[slot] << " and " << gang << ", seed " << seed;
          if (g.attempt == fence[gang]) {
            ASSERT_TRUE(publishers.emplace(std::pair{gang, rank}, n.name).second) << gang << " rank " << rank << " twice, seed " << seed;
          }
          ASSERT_LE(g.attempt, fence[gang]);
        }
    std::map<slot_id, std::uint32_t> leased;
    for (const auto& [id, l] : head.leases().leases())
      for (const auto& s : l.ranks)
        leased[s] += l.share;
    for (const auto& [id, s] : head.leases().slots().all())
      ASSERT_EQ(s.held, leased[id]) << id.text() << ", seed " << seed;
    for (const auto& [id, count] : ends)
      ASSERT_EQ(count, 1) << id << ", seed " << seed;
  }
  void live(int i) {
    auto& n = of(i);
    if (n.connection == 0 && now >= n.next_dial)
      dial(i);
    if (n.joined && n.watch && now >= n.next_beat)
      beat(i);
    for (auto& [gang, g] : n.gangs)
      if (!g.alive.empty() && random.below(faults ? 200 : 40) == 0) {
        const auto rank = g.alive.begin()->first;
        g.alive.erase(rank);
        g.outbox.push_back(faults && random.below(3) == 0 ? ended(rank, g.attempt, SIGKILL) : ended(rank, g.attempt, 0));
      }
    if (n.joined)
      tell(i);
  }
  void step() {
    now = now + milliseconds{5};
    for (std::size_t i = 0; i < wire.size();) {
      const auto& m = wire[i];
      const auto& n = of(m.node);
      if (m.connection != n.connection || m.connection == 0) {
        wire.erase(wire.begin() + static_cast<std::ptrdiff_t>(i));
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
    for (auto& f : std::exchange(fences, {})) {
      if (f.due > now) {
        fences.push_back(f);
        continue;
      }
      const auto attempt = ++fence[f.gang]; // also when nobody waits for it any more: numbers are never given back
      const auto* o = head.gangs().order_of(f.gang);
      if (o != nullptr)
        head.with_gangs(now, [&](auto& g, auto&) { g.prepared(f.gang, f.lease, attempt, 1, "/m", std::vector<std::string>(o->ranks, "x"), now); });
    }
    head.tick(now);
    for (std::size_t k = 0; k < nodes.size(); ++k) {
      auto& n = nodes[k];
      if (faults && random.below(300) == 0) {
        switch (random.below(4)) {
        case 0: // killed: its keepers end its ranks
          n.up = false;
          n.gangs.clear();
          break;
        case 1: n.frozen = true; break; // its keepers are not, and end its ranks with the lease
        default: disconnect(n);
        }
      }
      if (!n.up && random.below(faults ? 200 : 20) == 0) {
        n.up = true;
        renew(n);
      }
      if (n.frozen && random.below(faults ? 300 : 20) == 0)
        n.frozen = false;
      const bool lapsed = n.watch && !n.watch->holds(now);
      if (lapsed)
        n.gangs.clear();
      if (!n.up || n.frozen)
        continue;
      if (lapsed)
        renew(n);
      live(static_cast<int>(k));
    }
    carry_out();
    check();
  }
};

} // namespace

TEST(gang_table, whatever_the_world_does_no_two_attempts_can_publish_and_every_gang_ends) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    world w{seed};
    for (const char* name : {"a", "b", "c"}) {
      w.nodes.emplace_back();
      w.nodes.back().name = name;
    }
    std::vector<std::string> ordered;
    for (int i = 0; i < 9000 && !testing::Test::HasFatalFailure(); ++i) { // 45 s
      w.faults = i < 4000;
      if (i % 250 == 0 && w.faults) {
        auto o = order("g" + std::to_string(i), static_cast<std::uint32_t>(1 + w.random.below(6)));
        o.priority = static_cast<int>(w.random.below(3));
        o.restarts_max = 1'000'000;
        o.stop_grace = milliseconds{w.random.below(400)};
        ordered.push_back(o.id);
        ASSERT_TRUE(w.head.with_gangs(w.now, [&](auto& g, auto& l) { return g.submit(o, l, w.now); }));
      }
      if (w.faults && w.random.below(700) == 0)
        w.head.with_gangs(w.now, [&](auto& g, auto& l) { (void)g.cancel(ordered[w.random.below(ordered.size())], "by the way", l, w.now); });
      w.step();
    }
    for (const auto& id : ordered)
      EXPECT_EQ(w.ends[id], 1) << id << " never ended, seed " << seed;
    for (const auto& v : w.head.gangs().views(w.head.leases(), w.now))
      ADD_FAILURE() << v.id << " " << v.state << ": " << v.text;
    for (const auto& [id, s] : w.head.leases().slots().all())
      EXPECT_EQ(s.held, 0U) << id.text() << ", seed " << seed;
    if (testing::Test::HasFailure())
      return;
  }
}
