#include "deploy/server/observation_queue.hpp"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

using namespace flywheel;

TEST(observation_queue, gives_back_in_order_and_counts_what_it_had_to_drop) {
  observation_queue<int> q{5}; // eight cells
  for (int i = 0; i < 10; ++i)
    q.push([&](int& x) { x = i; });
  EXPECT_EQ(q.dropped(), 2U);
  std::vector<int> got;
  q.drain([&](int x) { got.push_back(x); });
  EXPECT_EQ(got, (std::vector{0, 1, 2, 3, 4, 5, 6, 7}));
  q.drain([&](int) { ADD_FAILURE() << "it is empty"; });
  EXPECT_TRUE(q.push([](int& x) { x = 42; }));
}

TEST(observation_queue, many_writers_lose_and_repeat_nothing) {
  observation_queue<std::pair<int, int>> q{1024};
  constexpr int writers = 4, each = 20'000;
  std::vector<std::thread> threads;
  std::atomic<int> refused{0}, running{writers};
  for (int w = 0; w < writers; ++w)
    threads.emplace_back([&, w] {
      for (int i = 0; i < each; ++i)
        if (!q.push([&](auto& x) { x = {w, i}; }))
          ++refused;
      --running;
    });
  std::vector<int> last(writers, -1);
  int got = 0;
  const auto take = [&](const std::pair<int, int>& x) {
    EXPECT_GT(x.second, last[static_cast<std::size_t>(x.first)]) << "one writer's values keep their order";
    last[static_cast<std::size_t>(x.first)] = x.second;
    ++got;
  };
  while (running > 0)
    q.drain(take);
  for (auto& t : threads)
    t.join();
  q.drain(take);
  EXPECT_EQ(got + refused, writers * each);
  EXPECT_EQ(q.dropped(), static_cast<std::uint64_t>(refused));
}
