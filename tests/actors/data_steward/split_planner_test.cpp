#include "actors/data_steward/split_planner.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <set>

using namespace flywheel;

namespace {

split_input numbered(std::size_t n) {
  split_input in;
  in.identity.resize(n);
  std::iota(in.identity.begin(), in.identity.end(), std::uint64_t{1});
  return in;
}

data_split wish(std::string strategy, double holdout) {
  data_split w;
  w.strategy = std::move(strategy);
  w.holdout = holdout;
  return w;
}

void expect_partition(const split_plan& p, std::size_t n) {
  std::set<std::uint32_t> all(p.train.begin(), p.train.end());
  all.insert(p.holdout.begin(), p.holdout.end());
  EXPECT_EQ(all.size(), n);
  EXPECT_EQ(p.train.size() + p.holdout.size(), n);
  EXPECT_TRUE(std::is_sorted(p.train.begin(), p.train.end()) && std::is_sorted(p.holdout.begin(), p.holdout.end()));
}

} // namespace

TEST(split_planner, stratified_is_exact_in_total_and_per_class) {
  for (const std::size_t n : {100u, 101u, 997u}) {
    auto in = numbered(n);
    std::map<std::int64_t, double> size;
    for (std::size_t i = 0; i < n; ++i)
      ++size[in.stratum.emplace_back(i % 7 == 0 ? 1 : i % 11 == 0 ? 2 : 0)];
    const auto p = plan_split(wish("stratified", 0.2), in);
    ASSERT_TRUE(p);
    expect_partition(*p, n);
    EXPECT_EQ(p->holdout.size(), static_cast<std::size_t>(std::llround(0.2 * static_cast<double>(n))));
    std::map<std::int64_t, double> held;
    for (const auto i : p->holdout)
      ++held[in.stratum[i]];
    for (const auto& [label, rows] : size)
      EXPECT_LT(std::abs(held[label] - rows * static_cast<double>(p->holdout.size()) / static_cast<double>(n)), 1.0) << "class " << label;
  }
}

TEST(split_planner, the_same_rows_fall_the_same_way) {
  const auto a = plan_split(wish("random", 0.3), numbered(1000));
  const auto b = plan_split(wish("random", 0.3), numbered(1000));
  EXPECT_EQ(a->holdout, b->holdout);
  expect_partition(*a, 1000);
  // Golden: these rows are held out today, so they must be tomorrow.
  const auto c = plan_split(wish("random", 0.5), numbered(8));
  EXPECT_EQ(c->holdout, (std::vector<std::uint32_t>{0, 1, 4, 5}));
}

TEST(split_planner, groups_stay_together) {
  auto in = numbered(1000);
  for (std::size_t i = 0; i < 1000; ++i)
    in.group.push_back(i * i % 40);
  auto w = wish("grouped", 0.25);
  w.group = "household";
  const auto p = plan_split(w, in);
  ASSERT_TRUE(p);
  expect_partition(*p, 1000);
  std::set<std::uint64_t> held;
  for (const auto i : p->holdout)
    held.insert(in.group[i]);
  for (const auto i : p->train)
    EXPECT_FALSE(held.contains(in.group[i]));
  EXPECT_NEAR(static_cast<double>(p->holdout.size()), 250, 150);
  in.group.assign(1000, 1);
  EXPECT_FALSE(plan_split(w, in));
}

TEST(split_planner, time_holds_out_the_newest_and_tail_the_last) {
  auto in = numbered(5);
  in.time = {50, 10, std::nan(""), 40, 30};
  EXPECT_EQ(plan_split(wish("time", 0.4), in)->holdout, (std::vector<std::uint32_t>{0, 3}));
  auto w = wish("tail", 0.9);
  w.holdout_rows = 2;
  EXPECT_EQ(plan_split(w, in)->holdout, (std::vector<std::uint32_t>{3, 4}));
}

TEST(split_planner, a_part_without_rows_is_refused) {
  for (const std::uint64_t rows : {0u, 5u, 6u}) {
    auto w = wish("tail", 0);
    w.holdout_rows = rows;
    EXPECT_EQ(plan_split(w, numbered(5)).error().code, errc::invalid_data) << rows;
  }
  EXPECT_EQ(plan_split(wish("by moon", 0.5), numbered(5)).error().code, errc::invalid_argument);
}
