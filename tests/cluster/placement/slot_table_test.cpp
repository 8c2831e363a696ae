#include "cluster/placement/slot_table.hpp"

#include <gtest/gtest.h>

using namespace flywheel;

namespace {

constexpr std::uint64_t gib = 1ull << 30;

std::vector<slot> gpus(const std::string& node, int count, std::uint64_t memory = 80 * gib) {
  std::vector<slot> all;
  for (int i = 0; i < count; ++i)
    all.push_back({{node, "gpu" + std::to_string(i)}, slot_kind::gpu, "H200", memory, i / 4});
  return all;
}
gang_request wish(std::uint32_t ranks, std::uint32_t share = 100, std::uint64_t memory = 0) {
  gang_request r;
  r.id = "t", r.kind = slot_kind::gpu, r.ranks = ranks, r.share = share, r.memory_min = memory;
  return r;
}
std::string text(const std::optional<std::vector<slot_id>>& ids) {
  std::string all;
  for (const auto& id : ids.value_or(std::vector<slot_id>{}))
    all += (all.empty() ? "" : " ") + id.text();
  return ids ? all : "none";
}

class slots : public testing::Test {
protected:
  void node(const std::string& name, int count, std::uint64_t memory = 80 * gib) { ASSERT_TRUE(table.add_node(name, gpus(name, count, memory))); }
  slot_table table;
};

} // namespace

TEST_F(slots, a_gang_goes_to_as_few_nodes_as_possible_and_the_one_it_fills_best) {
  node("a", 8);
  node("b", 2);
  node("c", 4);
  EXPECT_EQ(text(table.fit(wish(2))), "b/gpu0 b/gpu1");
  EXPECT_EQ(text(table.fit(wish(3))), "c/gpu0 c/gpu1 c/gpu2");
  EXPECT_EQ(text(table.fit(wish(10))), "a/gpu0 a/gpu1 a/gpu2 a/gpu3 a/gpu4 a/gpu5 a/gpu6 a/gpu7 b/gpu0 b/gpu1");
  EXPECT_EQ(table.fit(wish(14))->size(), 14u);
  EXPECT_EQ(text(table.fit(wish(15))), "none");
}

TEST_F(slots, within_a_node_one_numa_node_is_preferred) {
  node("a", 8);
  table.hold({"a", "gpu0"}, 100);
  EXPECT_EQ(text(table.fit(wish(3))), "a/gpu1 a/gpu2 a/gpu3") << "the smaller that suffices";
  EXPECT_EQ(text(table.fit(wish(4))), "a/gpu4 a/gpu5 a/gpu6 a/gpu7");
}

TEST_F(slots, shares_are_packed_and_whole_slots_left_free) {
  node("a", 4);
  table.hold({"a", "gpu2"}, 50);
  EXPECT_EQ(text(table.fit(wish(1, 25))), "a/gpu2");
  EXPECT_EQ(text(table.fit(wish(2, 50))), "a/gpu2 a/gpu0") << "each rank on a slot of its own";
  EXPECT_EQ(text(table.fit(wish(1, 75))), "a/gpu0");
  table.release({"a", "gpu2"}, 50);
  EXPECT_EQ(text(table.fit(wish(4))), "a/gpu0 a/gpu1 a/gpu2 a/gpu3");
}

TEST_F(slots, what_does_not_suit_is_not_used) {
  node("a", 2, 40 * gib);
  node("b", 2, 141 * gib);
  EXPECT_EQ(text(table.fit(wish(1, 100, 100 * gib))), "b/gpu0");
  ASSERT_TRUE(table.exclude({"b", "gpu0"}, "ECC"));
  EXPECT_EQ(text(table.fit(wish(1, 100, 100 * gib))), "b/gpu1");
  table.set_draining("b", true);
  EXPECT_EQ(text(table.fit(wish(1, 100, 100 * gib))), "none");
  EXPECT_FALSE(table.could_ever_fit(wish(1, 100, 100 * gib)));
  table.set_draining("b", false);
  ASSERT_TRUE(table.include({"b", "gpu0"}));
  EXPECT_TRUE(table.could_ever_fit(wish(2, 100, 100 * gib)));
  gang_request cpu = wish(1);
  cpu.kind = slot_kind::cpu;
  EXPECT_EQ(text(table.fit(cpu)), "none");
}

TEST_F(slots, mistakes_are_refused) {
  node("a", 2);
  EXPECT_EQ(table.add_node("a", gpus("a", 1)).error().code, errc::already_exists);
  EXPECT_EQ(table.add_node("b", gpus("c", 1)).error().code, errc::invalid_argument);
  auto twice = gpus("d", 1);
  twice.push_back(twice[0]);
  EXPECT_EQ(table.add_node("d", twice).error().code, errc::invalid_argument);
  EXPECT_EQ(table.exclude({"a", "gpu9"}, "x").error().code, errc::not_found);
  EXPECT_EQ(table.all().size(), 2u) << "nothing of what was refused stays";
}
