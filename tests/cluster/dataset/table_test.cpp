#include "cluster/dataset/table_format.hpp"

#include "cluster/base/random.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

using namespace flywheel;

namespace {

table small_table() {
  table t;
  t.row_ids = {3, 1, 7};
  t.columns.push_back({"minutes", column_type::numeric, {265.1, std::nan(""), -0.0}, {}, {}});
  t.columns.push_back({"plan", column_type::categorical, {}, {1, -1, 0}, {"no", "yes"}});
  return t;
}

bool same(const table& a, const table& b) {
  if (a.row_ids != b.row_ids || a.columns.size() != b.columns.size())
    return false;
  for (std::size_t i = 0; i < a.columns.size(); ++i) {
    const column &x = a.columns[i], &y = b.columns[i];
    if (x.name != y.name || x.type != y.type || x.codes != y.codes || x.categories != y.categories || x.numbers.size() != y.numbers.size())
      return false;
    for (std::size_t k = 0; k < x.numbers.size(); ++k)
      if (std::bit_cast<std::uint64_t>(x.numbers[k]) != std::bit_cast<std::uint64_t>(y.numbers[k]) &&
          !(std::isnan(x.numbers[k]) && std::isnan(y.numbers[k])))
        return false;
  }
  return true;
}

} // namespace

TEST(table, select_keeps_lineage_and_categories) {
  const std::vector<std::uint32_t> rows{2, 0};
  const table t = small_table().select(rows);
  EXPECT_EQ(t.row_ids, (std::vector<std::uint64_t>{7, 3}));
  EXPECT_EQ(t.columns[1].codes, (std::vector<std::int32_t>{0, 1}));
  EXPECT_EQ(t.columns[1].categories.size(), 2u);
  EXPECT_EQ(t.find("plan")->code_of("yes"), 1);
  EXPECT_EQ(t.find("plan")->code_of("perhaps"), -1);
}

TEST(table, check_finds_each_kind_of_inconsistency) {
  EXPECT_TRUE(small_table().check());
  auto t = small_table();
  t.columns[0].numbers.pop_back();
  EXPECT_FALSE(t.check());
  t = small_table();
  t.columns[1].codes[0] = 2;
  EXPECT_FALSE(t.check());
  t = small_table();
  t.columns[1].name = "minutes";
  EXPECT_FALSE(t.check());
  t = small_table();
  t.columns[1].categories[1] = "no";
  EXPECT_FALSE(t.check());
  t = small_table();
  t.columns[0].codes = {0};
  EXPECT_FALSE(t.check());
}

TEST(table_format, reads_back_what_was_written) {
  EXPECT_TRUE(same(*decode_table(encode_table(small_table())), small_table()));
  EXPECT_TRUE(same(*decode_table(encode_table(table{})), table{}));
  random_source random(5);
  for (int round = 0; round < 50; ++round) {
    table t;
    const auto rows = random.below(200);
    for (std::uint64_t i = 0; i < rows; ++i)
      t.row_ids.push_back(random.next());
    for (std::uint64_t c = random.below(6); c > 0; --c) {
      column& x = t.columns.emplace_back();
      x.name = "c" + std::to_string(c) + std::string(random.below(40), '\n');
      x.type = random.below(2) == 0 ? column_type::numeric : column_type::categorical;
      if (x.type == column_type::categorical)
        x.categories = {"", "a", std::string(random.below(300), 'z') + "z"};
      for (std::uint64_t i = 0; i < rows; ++i)
        if (x.type == column_type::numeric)
          x.numbers.push_back(random.normal());
        else
          x.codes.push_back(static_cast<std::int32_t>(random.below(4)) - 1);
    }
    EXPECT_TRUE(same(*decode_table(encode_table(t)), t)) << "round " << round;
  }
}

TEST(table_format, the_bytes_are_as_documented) {
  table t;
  t.row_ids = {1};
  t.columns.push_back({"x", column_type::numeric, {1.5}, {}, {}});
  const std::string bytes = encode_table(t);
  const auto word = [&](std::size_t at) {
    std::uint64_t value;
    std::memcpy(&value, bytes.data() + at, 8);
    return value;
  };
  // magic, version | rows | columns | directory bytes | checksum || row extent (3 x 8), name length + name, type, categories, extent
  EXPECT_EQ(bytes.substr(0, 8), std::string("FWT1\1\0\0\0", 8));
  EXPECT_EQ(word(8), 1u);
  EXPECT_EQ(word(16), 1u);
  EXPECT_EQ(word(24), 24u + 4 + 1 + 4 + 4 + 24);
  EXPECT_EQ(word(40), 128u); // row numbers: at the next multiple of 64 after 40 + 61
  EXPECT_EQ(word(48), 8u);
  EXPECT_EQ(word(128), 1u);
  EXPECT_EQ(word(192), std::bit_cast<std::uint64_t>(1.5));
  EXPECT_EQ(bytes.size(), 200u);
  // Golden: a change of the format must be a change of its version.
  EXPECT_EQ(word(32), 0x46e5fb209a8dbe74u);
}

TEST(table_corruption, every_flipped_byte_is_reported) {
  const std::string bytes = encode_table(small_table());
  for (std::size_t i = 0; i < bytes.size(); ++i)
    for (const char mask : {'\x01', '\x80'}) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ mask);
      EXPECT_FALSE(decode_table(damaged)) << "byte " << i;
    }
}

TEST(table_corruption, every_cut_and_every_tail_is_reported) {
  const std::string bytes = encode_table(small_table());
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_table(std::string_view{bytes}.substr(0, size))) << size;
  EXPECT_FALSE(decode_table(bytes + '\0'));
}

TEST(table_corruption, a_damaged_column_is_named) {
  std::string bytes = encode_table(small_table());
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  const auto t = decode_table(bytes);
  ASSERT_FALSE(t);
  EXPECT_EQ(t.error().code, errc::checksum_mismatch);
  EXPECT_THAT(t.error().what, testing::HasSubstr("'plan'"));
}

TEST(table_corruption, sizes_from_nowhere_reserve_nothing) {
  std::string bytes = encode_table(small_table());
  for (const std::size_t at : {std::size_t{8}, std::size_t{16}, std::size_t{24}})
    for (std::size_t k = 0; k < 8; ++k) {
      std::string damaged = bytes;
      damaged[at + k] = '\x7f';
      EXPECT_FALSE(decode_table(damaged));
    }
}
