#include "actors/data_steward/key_index.hpp"

#include "cluster/base/random.hpp"
#include "tests/actors/data_steward/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <set>

using namespace flywheel;

namespace {

/// Rows that repeat an earlier key, by the index and by a set that remembers everything.
template <class Key, class Make> void compare_with_set(std::size_t memory, std::size_t rows, Make&& make) {
  const temporary_folder folder;
  key_index index(memory, folder.path());
  std::set<Key> seen;
  std::set<std::uint64_t> expected, found;
  std::size_t most = 0;
  for (std::uint64_t row = 1; row <= rows; ++row) {
    const auto [key, plain] = make(row);
    if (!seen.insert(plain).second)
      expected.insert(row);
    const auto there = index.insert(key, {row, 0});
    ASSERT_TRUE(there) << there.error().to_string();
    if (*there)
      found.insert(row);
    most = std::max(most, index.memory());
  }
  const auto late = index.finish();
  ASSERT_TRUE(late) << late.error().to_string();
  for (const auto& at : *late)
    EXPECT_TRUE(found.insert(at.row).second) << "row " << at.row << " is named twice";
  EXPECT_EQ(found, expected);
  EXPECT_LE(most, memory);
}

} // namespace

TEST(key_index, integers_side_by_side_take_a_bit_each) {
  const temporary_folder folder;
  key_index index(1 << 20, folder.path());
  for (std::int64_t i = 0; i < 2'000'000; ++i)
    ASSERT_FALSE(*index.insert(i, {}));
  EXPECT_LT(index.memory(), 400'000u);
  EXPECT_TRUE(*index.insert(std::int64_t{1'999'999}, {}));
  EXPECT_TRUE(*index.insert(std::int64_t{0}, {}));
  EXPECT_FALSE(*index.insert(std::int64_t{-1}, {}));
}

TEST(key_index, the_answer_is_the_same_dense_sparse_and_spilled) {
  random_source random(3);
  const auto integers = [&](std::uint64_t range) {
    return [&random, range](std::uint64_t) {
      const auto k = static_cast<std::int64_t>(random.below(range)) - static_cast<std::int64_t>(range / 2);
      return std::pair{k, k};
    };
  };
  compare_with_set<std::int64_t>(8 << 20, 30'000, integers(50'000));               // pages
  compare_with_set<std::int64_t>(8 << 20, 30'000, integers(std::uint64_t{1} << 40)); // table
  compare_with_set<std::int64_t>(256 << 10, 60'000, integers(std::uint64_t{1} << 17)); // too many pages for the memory
  compare_with_set<std::int64_t>(128 << 10, 60'000, integers(100'000));
  const auto hashes = [&](std::uint64_t) {
    const std::uint64_t k = random.below(40'000);
    return std::pair{key_value{stable_hash(std::to_string(k)), k == 7 ? 0 : k}, k};
  };
  compare_with_set<std::uint64_t>(8 << 20, 30'000, hashes);
  compare_with_set<std::uint64_t>(64 << 10, 60'000, hashes);                        // spilled, and split further
}
