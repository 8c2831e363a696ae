#include "actors/dispatcher/gang_hands.hpp"

#include <gtest/gtest.h>

using namespace flywheel;

namespace {

mono_time at(int s) { return mono_time{s * 1'000'000'000ll}; }
gang_observation look(int rank, std::uint64_t step) {
  rank_seen s;
  s.report.step = step;
  return rank_observation{rank, 1, s};
}
std::uint64_t step_of(const gang_outbox::entry& e) { return std::get<rank_seen>(std::get<rank_observation>(e.what).what).report.step; }

} // namespace

TEST(gang_hands, of_looks_only_the_newest_waits_and_everything_else_is_kept_in_order) {
  gang_outbox box;
  box.put(rank_observation{0, 1, rank_started{5}}, at(1));
  for (std::uint64_t i = 1; i <= 1000; ++i)
    for (int rank = 0; rank < 2; ++rank)
      box.put(look(rank, i), at(2));
  box.put(rank_observation{0, 1, rank_ended{}}, at(3));
  box.put(look(0, 2000), at(4));
  auto taken = box.take();
  ASSERT_EQ(taken.size(), 5U);
  EXPECT_EQ(step_of(taken[1]), 1000U);
  EXPECT_EQ(step_of(taken[4]), 2000U) << "not before the end";
  EXPECT_TRUE(box.empty());
  // It could not be told; meanwhile there was more.
  box.put(look(1, 3000), at(5));
  box.put(host_cleared{"a", 1}, at(6));
  box.put_back(std::move(taken));
  taken = box.take();
  ASSERT_EQ(taken.size(), 6U);
  EXPECT_EQ(step_of(taken[2]), 3000U) << "in the place of the older look";
  EXPECT_EQ(taken[2].at, at(5));
  EXPECT_TRUE(std::holds_alternative<host_cleared>(taken[5].what));
}

TEST(gang_hands, ranks_without_a_keeper_are_refused_and_the_host_is_clear) {
  gang_attempt a;
  a.order.id = "g";
  a.order.command = {"true"};
  a.order.ranks = 2;
  a.attempt = 4;
  a.seats = {{"here", "cpu 0", 0}, {"there", "cpu 0", 0}};
  a.gpus = {-1, -1};
  a.addresses = {"127.0.0.1", "127.0.0.1"};
  a.rendezvous = "/nonexistent";
  a.logs = "/nonexistent";
  std::atomic<int> told{0};
  gang_hands_options o;
  o.node = "here";
  o.keeper_command = {"/nonexistent/keeper"};
  o.ready = [&] { told = told + 1; told.notify_all(); };
  std::vector<gang_outbox::entry> all;
  {
    gang_hands hands{a, std::move(o)};
    while (!hands.over()) {
      if (all.empty())
        told.wait(0);
      for (auto& e : hands.take())
        all.push_back(std::move(e));
    }
  }
  ASSERT_FALSE(all.empty());
  EXPECT_TRUE(std::holds_alternative<host_cleared>(all.back().what));
  for (const auto& e : all)
    if (const auto* r = std::get_if<rank_observation>(&e.what)) {
      EXPECT_EQ(r->rank, 0) << "the other one's is elsewhere";
      EXPECT_EQ(r->attempt, 4U);
    }
}

TEST(gang_hands, places_on_the_network) {
  const auto port = free_tcp_port();
  ASSERT_TRUE(port);
  EXPECT_GT(*port, 0);
  EXPECT_EQ(address_towards("127.0.0.1", 80).value_or(""), "127.0.0.1");
  EXPECT_FALSE(address_towards("no-such-host.invalid", 80));
}
