#include "cluster/transfer/content_cache.hpp"

#include "cluster/content/file.hpp"
#include "tests/cluster/transfer/places.hpp"

#include <gmock/gmock.h>

#include <atomic>
#include <fcntl.h>
#include <thread>
#include <unistd.h>

using namespace flywheel;
using namespace flywheel::transfer;
using testing::HasSubstr;

namespace {

struct cache_test : ::testing::Test {
  static std::string content(char c, std::size_t n = 100) { return std::string(n, c); }
  std::shared_ptr<content_cache> open(std::uint64_t bytes_max) {
    auto c = content_cache::open(p.root / "cache", bytes_max);
    EXPECT_TRUE(c);
    return *c;
  }
  /// Fetches `bytes` and counts how often.
  result<content_cache::pin> get(content_cache& c, const std::string& bytes) {
    return c.get(flywheel::digest_of(bytes), bytes.size(),
                 [&](int fd) -> status {
                   ++fetched;
                   const auto there = static_cast<std::size_t>(::lseek(fd, 0, SEEK_END));
                   from = there;
                   return write_all(fd, std::string_view{bytes}.substr(there), "cached");
                 },
                 {});
  }
  places p;
  std::atomic<int> fetched{0};
  std::size_t from = 0;
};

} // namespace

TEST_F(cache_test, a_file_is_fetched_once_and_found_again_also_by_the_next_process) {
  {
    const auto c = open(1000);
    const auto a = get(*c, content('a'));
    ASSERT_TRUE(a) << a.error().to_string();
    EXPECT_EQ(p.read(a->path().lexically_relative(p.root).string()), content('a'));
    EXPECT_TRUE(get(*c, content('a')));
    EXPECT_EQ(fetched, 1);
    EXPECT_EQ(c->bytes(), 100U);
  }
  p.write("cache/stranger", "x");
  const auto c = open(1000);
  EXPECT_TRUE(get(*c, content('a')));
  EXPECT_EQ(fetched, 1);
  EXPECT_FALSE(p.has("cache/stranger"));
}

TEST_F(cache_test, what_was_used_longest_ago_goes_first_and_what_is_in_use_stays) {
  const auto c = open(250);
  ASSERT_TRUE(get(*c, content('a')));
  ASSERT_TRUE(get(*c, content('b')));
  ASSERT_TRUE(get(*c, content('a')));
  {
    const auto d = get(*c, content('d'));
    ASSERT_TRUE(d);
    EXPECT_TRUE(p.has("cache/" + flywheel::digest_of(content('a')).hex()));
    EXPECT_FALSE(p.has("cache/" + flywheel::digest_of(content('b')).hex()));
    const auto a = get(*c, content('a'));
    const auto full = get(*c, content('e'));
    ASSERT_FALSE(full) << "both are in use";
    EXPECT_EQ(full.error().code, errc::no_capacity);
    EXPECT_THAT(full.error().hint, HasSubstr("--cache"));
    EXPECT_LE(c->bytes(), 250U);
  }
  EXPECT_TRUE(get(*c, content('e'))) << "and now they are not";
  EXPECT_LE(c->bytes(), 250U);
  EXPECT_EQ(get(*c, content('f', 300)).error().code, errc::no_capacity);
}

TEST_F(cache_test, a_smaller_bound_holds_from_the_start) {
  {
    const auto c = open(1000);
    for (const char x : {'a', 'b', 'c', 'd'})
      ASSERT_TRUE(get(*c, content(x)));
  }
  EXPECT_LE(open(250)->bytes(), 250U);
}

TEST_F(cache_test, damage_is_found_and_fetched_anew) {
  const auto c = open(1000);
  ASSERT_TRUE(get(*c, content('a')));
  std::filesystem::permissions(p.root / "cache" / flywheel::digest_of(content('a')).hex(), std::filesystem::perms::owner_all);
  p.write("cache/" + flywheel::digest_of(content('a')).hex(), content('a', 99) + "b");
  const auto again = get(*c, content('a'));
  ASSERT_TRUE(again);
  EXPECT_EQ(fetched, 2);
  EXPECT_EQ(p.read(again->path().lexically_relative(p.root).string()), content('a'));
}

TEST_F(cache_test, what_is_not_what_was_announced_is_not_kept_and_a_beginning_is) {
  const auto c = open(1000);
  const auto wrong = c->get(flywheel::digest_of("x"), 5, [](int fd) { return write_all(fd, "hello", "f"); }, {});
  EXPECT_EQ(wrong.error().code, errc::checksum_mismatch);
  EXPECT_EQ(c->bytes(), 0U);
  EXPECT_EQ(p.tree("cache"), "");
  const auto bytes = content('a');
  const auto cut = c->get(flywheel::digest_of(bytes), 100,
                          [&](int fd) -> status {
                            FLYWHEEL_CHECK(write_all(fd, bytes.substr(0, 40), "f"));
                            return error{errc::unreachable, "cut"};
                          },
                          {});
  EXPECT_EQ(cut.error().code, errc::unreachable);
  EXPECT_EQ(c->bytes(), 40U);
  ASSERT_TRUE(get(*c, bytes));
  EXPECT_EQ(from, 40U) << "it went on where it was";
  EXPECT_EQ(c->bytes(), 100U);
}

TEST_F(cache_test, a_full_disk_costs_what_is_not_in_use_and_then_is_an_error) {
  const auto c = open(1000);
  ASSERT_TRUE(get(*c, content('a')));
  int tries = 0;
  const auto full = [&](int) -> status {
    ++tries;
    return error{errc::disk_full, "no space"};
  };
  EXPECT_EQ(c->get(flywheel::digest_of("b"), 1, full, {}).error().code, errc::disk_full);
  EXPECT_EQ(tries, 2) << "once more, after room was made";
  EXPECT_EQ(c->bytes(), 0U);
  EXPECT_EQ(c->get(flywheel::digest_of("b"), 1, full, {}).error().code, errc::disk_full);
  EXPECT_EQ(tries, 3) << "there was no room to make";
  EXPECT_EQ(p.tree("cache"), "");
}

TEST_F(cache_test, many_threads_want_the_same_and_one_fetches_it) {
  const auto c = open(1000);
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] { good += get(*c, content('a')) ? 1 : 0; });
  for (auto& t : threads)
    t.join();
  EXPECT_EQ(good, 8);
  EXPECT_EQ(fetched, 1);
}
