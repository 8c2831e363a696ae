#include "actors/dispatcher/gang_format.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/limits.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

using namespace flywheel;
using nlohmann::json;
using std::chrono::seconds;

namespace {

gang_order order() {
  gang_order o;
  o.id = "g";
  o.user = "maria";
  o.command = {"python", "train.py", "--rate=0.1"};
  o.environment = {"A=b"};
  o.folder = "/home/maria";
  o.checkpoints = "/shared/c";
  o.ranks = 2;
  o.kind = slot_kind::gpu;
  o.memory_max = 1 << 30;
  o.priority = -3;
  o.restarts_max = 7;
  o.time_max = seconds{99};
  o.step_max = seconds{0};
  return o;
}
event state(const std::string& gang, json body, std::int64_t second, std::uint64_t seq) {
  event e;
  e.kind = event_kind::gang_state;
  e.subject = gang;
  e.body = body.dump();
  e.time.ns = second * 1'000'000'000;
  e.seq = seq;
  return e;
}

} // namespace

TEST(gang_format, an_order_and_an_attempt_come_back_as_they_were) {
  const auto back = dispatch::order_from(dispatch::to_json(order()));
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(*back, order());
  gang_attempt a;
  a.order = order();
  a.attempt = 3;
  a.lease = (std::uint64_t{7} << 32) + 1;
  a.restart = 2;
  a.seats = {{"a", "gpu 0", 0}, {"b", "gpu 1", 0}};
  a.gpus = {0, 1};
  a.addresses = {"10.0.0.1", "::1"};
  a.master_port = 1234;
  a.rendezvous = "/run/g-1";
  a.logs = "/gangs/g";
  const auto bytes = json::to_msgpack(dispatch::to_json(a)); // as it travels
  const auto again = dispatch::attempt_from(json::from_msgpack(bytes));
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(again->order, a.order);
  EXPECT_EQ(again->lease, a.lease);
  EXPECT_EQ(again->seats[1].host, "b");
  EXPECT_EQ(again->gpus, a.gpus);
  EXPECT_EQ(again->addresses, a.addresses);
  EXPECT_EQ(dispatch::to_json(*again), dispatch::to_json(a));
}

TEST(gang_format, observations_come_back_and_grow_older_while_they_wait) {
  rank_seen seen;
  seen.report.phase = rank_phase::waiting;
  seen.report.step = 12;
  seen.report.steps = 11;
  seen.report.loss = std::nan("");
  seen.report.collective = 40;
  seen.report.collective_name = "all_reduce";
  seen.entered_ago = seconds{1};
  seen.finished_ago = seconds{2};
  seen.is_stopped = true;
  rank_exit how;
  how.signal = 9;
  how.kernel_oom = true;
  how.last_output = "bad \xff bytes";
  json all = json::array();
  for (const gang_observation& o : std::initializer_list<gang_observation>{
           rank_observation{1, 5, seen}, rank_observation{0, 5, rank_started{77}}, rank_observation{0, 5, rank_refused{error{errc::not_found, "no program"}}},
           rank_observation{1, 5, rank_garbled{error{errc::invalid_format, "nonsense"}}}, rank_observation{1, 5, rank_ended{how}}, host_cleared{"a", 5}, host_lost{"a", "gone"}})
    all.push_back(dispatch::to_json(o, seconds{3}));
  const auto back = dispatch::seen_from(json::from_msgpack(json::to_msgpack(all)));
  ASSERT_TRUE(back) << back.error().to_string();
  ASSERT_EQ(back->size(), 7U);
  const auto& s = std::get<rank_seen>(std::get<rank_observation>((*back)[0]).what);
  EXPECT_EQ(s.report.step, 12U);
  EXPECT_TRUE(std::isnan(s.report.loss));
  EXPECT_EQ(s.report.collective_name, "all_reduce");
  EXPECT_EQ(s.entered_ago, seconds{4});
  EXPECT_EQ(s.finished_ago, seconds{5});
  EXPECT_TRUE(s.is_stopped);
  EXPECT_EQ(std::get<rank_started>(std::get<rank_observation>((*back)[1]).what).pid, 77);
  EXPECT_EQ(std::get<rank_refused>(std::get<rank_observation>((*back)[2]).what).why.code, errc::not_found);
  const auto& e = std::get<rank_ended>(std::get<rank_observation>((*back)[4]).what).how;
  EXPECT_EQ(e.signal, 9);
  EXPECT_TRUE(e.kernel_oom);
  EXPECT_EQ(e.last_output, how.last_output);
  EXPECT_EQ(std::get<host_cleared>((*back)[5]).attempt, 5U);
  EXPECT_EQ(std::get<host_lost>((*back)[6]).why, "gone");
}

TEST(gang_format, what_a_whole_node_of_ranks_says_at_once_fits_an_envelope) {
  json all = json::array();
  for (int r = 0; r < gang_ranks_max; ++r) {
    rank_exit how;
    how.last_output = std::string(930, 'x'); // three lines of 300
    rank_seen seen;
    seen.report.fault = rank_fault::own;
    seen.report.fault_text = std::string(200, 'y');
    all.push_back(dispatch::to_json(rank_observation{r, 1, rank_started{1}}));
    all.push_back(dispatch::to_json(rank_observation{r, 1, seen}));
    all.push_back(dispatch::to_json(rank_observation{r, 1, rank_ended{how}}));
  }
  EXPECT_LT(json::to_msgpack(all).size(), limits::gate_envelope_bytes_max / 2);
}

TEST(gang_format, damage_is_told_and_harms_nobody) {
  auto o = dispatch::to_json(order());
  const json changes = json::object({{"ranks", "two"}, {"command", 5}, {"id", "../.."}, {"time_max_ns", -1}, {"environment", json::array({5})}});
  for (const auto& [key, value] : changes.items()) {
    auto broken = o;
    broken[key] = value;
    EXPECT_FALSE(dispatch::order_from(broken)) << key;
    broken.erase(key);
    EXPECT_FALSE(dispatch::order_from(broken)) << key;
  }
  EXPECT_FALSE(dispatch::order_from(json()));
  for (const auto& bad : {json(), json(5), json::array({json()}), json::array({{{"rank", 1}}}), json::array({{{"rank", 1}, {"attempt", 1}, {"seen", 7}}}),
                          json::array({{{"cleared", 5}, {"attempt", 1}}})})
    EXPECT_FALSE(dispatch::seen_from(bad)) << bad;
  auto strange = dispatch::to_json(rank_observation{1, 1, rank_seen{}});
  strange["seen"]["phase"] = 99;
  strange["entered_ago"] = -5;
  const auto seen = dispatch::seen_from(json::array({strange}));
  ASSERT_TRUE(seen);
  EXPECT_EQ(std::get<rank_seen>(std::get<rank_observation>((*seen)[0]).what).entered_ago.count(), 0);
  EXPECT_FALSE(dispatch::held_gangs_from(json::array()));
  EXPECT_FALSE(dispatch::held_gangs_from({{"g", "x"}}));
  EXPECT_EQ(dispatch::held_gangs_from({{"g", 5u}})->at("g"), 5U);
}

TEST(gang_format, the_journal_remembers_gangs_that_are_not_over) {
  auto second = order();
  second.id = "h";
  gang_news failed;
  failed.what = gang_news::kind::failed;
  failed.attempt = 1;
  failed.restarts = 1;
  failed.used = seconds{10};
  failed.avoid = {{"a", "gpu0"}};
  const std::vector<event> events{
      state("h", {{"state", "ordered"}, {"order", dispatch::to_json(second)}}, 0, 1),
      state("g", {{"state", "ordered"}, {"order", dispatch::to_json(order())}}, 0, 2),
      state("nobody", {{"state", "started"}}, 0, 3),
      state("g", {{"state", "leased"}}, 1, 4),
      state("g", {{"state", "started"}, {"attempt", 1}}, 2, 5),
      state("g", dispatch::to_json(failed), 11, 6),
      state("g", {{"state", "leased"}}, 11, 7),
      state("g", {{"state", "started"}, {"attempt", 2}}, 12, 8),
      state("g", {{"state", "straggler"}}, 15, 9),
  };
  const auto open = dispatch::unfinished_gangs(events);
  ASSERT_EQ(open.size(), 2U);
  EXPECT_EQ(open[0].order.id, "h");
  EXPECT_EQ(open[0].attempt, 0U);
  EXPECT_EQ(open[1].order, order());
  EXPECT_EQ(open[1].attempt, 2U);
  EXPECT_EQ(open[1].restarts, 1U);
  EXPECT_EQ(open[1].used, seconds{14}) << "ten, and what is known of the second";
  EXPECT_TRUE(open[1].avoid.contains({"a", "gpu0"}));
  auto more = events;
  gang_news done;
  done.what = gang_news::kind::done;
  more.push_back(state("g", dispatch::to_json(done), 20, 10));
  EXPECT_EQ(dispatch::unfinished_gangs(more).size(), 1U);
}
