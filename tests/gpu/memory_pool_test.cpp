#include "gpu/memory_pool.hpp"

#include "cluster/base/random.hpp"

#include <cstdlib>
#include <gtest/gtest.h>
#include <vector>

using namespace flywheel;
using namespace flywheel::gpu;

namespace {

/// A device of `capacity` bytes that counts.
struct small_device final : memory_source {
  std::uint64_t capacity, taken = 0, calls = 0;
  std::map<void*, std::uint64_t> blocks;
  explicit small_device(std::uint64_t c) : capacity(c) {}
  ~small_device() override { EXPECT_TRUE(blocks.empty()) << "memory that was not given back"; }
  result<void*> take(std::uint64_t bytes) override {
    if (taken + bytes > capacity)
      return error{errc::out_of_memory, "the device is full"};
    ++calls;
    taken += bytes;
    void* p = std::aligned_alloc(512, bytes);
    blocks[p] = bytes;
    return p;
  }
  void give_back(void* p) override {
    taken -= blocks.at(p);
    blocks.erase(p);
    std::free(p);
  }
};

} // namespace

TEST(memory_pool, asks_the_device_once_for_what_every_step_needs) {
  small_device device{1 << 20};
  memory_pool pool{device, 1 << 20};
  for (int step = 0; step < 10; ++step) {
    void *a = *pool.allocate(1000), *b = *pool.allocate(5000);
    EXPECT_NE(a, b);
    pool.release(a);
    pool.release(b);
  }
  EXPECT_EQ(device.calls, 2u);
  EXPECT_EQ(pool.in_use(), 0u);
  EXPECT_EQ(pool.held(), 1024u + 5120u);
  pool.trim();
  EXPECT_EQ(device.taken, 0u);
}

TEST(memory_pool, gives_back_what_it_keeps_before_it_says_no) {
  small_device device{1 << 20};
  memory_pool pool{device, 10'240};
  void* a = *pool.allocate(8192);
  pool.release(a);
  void* b = *pool.allocate(10'000); // the kept 8 KiB must go
  EXPECT_LE(pool.held(), pool.bound());
  const auto c = pool.allocate(600);
  ASSERT_FALSE(c);
  EXPECT_EQ(c.error().code, errc::out_of_memory);
  EXPECT_NE(c.error().what.find("10240"), std::string::npos) << c.error().what;
  EXPECT_FALSE(pool.allocate(~std::uint64_t{0})); // no overflow in the arithmetic
  pool.release(b);
}

TEST(memory_pool, makes_room_when_the_device_is_full_for_other_reasons) {
  small_device device{4096};
  memory_pool pool{device, 1 << 20};
  void* a = *pool.allocate(512);
  void* b = *pool.allocate(512);
  pool.release(a);
  pool.release(b);
  void* c = *pool.allocate(4096);
  EXPECT_EQ(device.taken, 4096u);
  EXPECT_FALSE(pool.allocate(512));
  pool.release(c);
}

TEST(memory_pool, nothing_costs_nothing) {
  small_device device{512};
  memory_pool pool{device, 512};
  EXPECT_EQ(*pool.allocate(0), nullptr);
  pool.release(nullptr);
  EXPECT_EQ(device.calls, 0u);
}

TEST(memory_pool, never_holds_more_than_its_bound_nor_hands_out_a_byte_twice) {
  small_device device{1 << 20};
  memory_pool pool{device, 100'000};
  random_source random{7};
  std::vector<std::pair<char*, std::size_t>> live;
  for (int i = 0; i < 3000; ++i) {
    if (!live.empty() && random.below(2) == 0) {
      const auto at = static_cast<std::ptrdiff_t>(random.below(live.size()));
      pool.release(live[static_cast<std::size_t>(at)].first);
      live.erase(live.begin() + at);
    } else if (const std::size_t size = 1 + random.below(9000); auto memory = pool.allocate(size)) {
      auto* const from = static_cast<char*>(*memory);
      for (const auto& [other, length] : live)
        ASSERT_TRUE(from + size <= other || other + length <= from);
      live.emplace_back(from, size);
    }
    ASSERT_LE(pool.held(), pool.bound());
    ASSERT_LE(pool.in_use(), pool.held());
    ASSERT_EQ(device.taken, pool.held());
  }
  EXPECT_LE(pool.held_max(), pool.bound());
  for (const auto& [memory, size] : live)
    pool.release(memory);
}
