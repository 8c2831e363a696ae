#include "cluster/content/digest.hpp"

#include "tests/cluster/content/scratch.hpp"

#include <thread>
#include <unistd.h>
#include <vector>

using namespace flywheel;
using flywheel::testing::scratch;
using flywheel::testing::spill;

// FIPS 180-4 examples.
constexpr auto empty_hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr auto abc_hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr auto two_blocks_hex = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";
constexpr auto million_a_hex = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

TEST(digest, is_sha256) {
  EXPECT_EQ(digest_of("").hex(), empty_hex);
  EXPECT_EQ(digest_of("abc").hex(), abc_hex);
  EXPECT_EQ(digest_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq").hex(), two_blocks_hex);
  EXPECT_EQ(digest_of(std::string(1'000'000, 'a')).hex(), million_a_hex);
}

TEST(digest, a_hasher_starts_over_after_finish) {
  hasher h;
  EXPECT_EQ(h.update("a").update("bc").finish().hex(), abc_hex);
  EXPECT_EQ(h.finish().hex(), empty_hex);
  EXPECT_EQ(h.update("abc").finish().hex(), abc_hex);
  hasher moved = std::move(h);
  EXPECT_EQ(moved.update("abc").finish().hex(), abc_hex);
}

TEST(digest, fields_do_not_run_into_each_other) {
  hasher h;
  EXPECT_NE(h.field("ab").field("c").finish(), h.field("a").field("bc").finish());
  EXPECT_NE(h.field("").finish(), h.finish());
  // Pinned: eight bytes of length, little endian, then the bytes.
  EXPECT_EQ(h.field("abc").finish(), digest_of(std::string("\3\0\0\0\0\0\0\0abc", 11)));
  EXPECT_EQ(h.field(std::uint64_t{0x0102}).finish(), digest_of(std::string("\2\1\0\0\0\0\0\0", 8)));
}

TEST(digest, hex_leads_back_and_only_proper_hex_is_taken) {
  EXPECT_EQ(*digest::from_hex(abc_hex), digest_of("abc"));
  EXPECT_EQ(digest_of("abc").brief(), "ba7816bf8f01");
  const std::string good = abc_hex;
  for (const auto& bad : {std::string{}, good.substr(1), good + "0", "B" + good.substr(1), "g" + good.substr(1),
                          good.substr(0, 63) + std::string(1, '\0')})
    EXPECT_EQ(digest::from_hex(bad).error().code, errc::invalid_format) << bad;
}

TEST(digest, of_a_file_is_the_digest_of_its_bytes) {
  const scratch dir;
  std::string bytes(3u << 20, 'x');
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<char>(i * 7 + i / 251);
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{256} << 10, bytes.size()}) {
    spill(dir / "f", bytes.substr(0, size));
    EXPECT_EQ(*digest_of_file(dir / "f"), digest_of(bytes.substr(0, size))) << size;
  }
  EXPECT_EQ(digest_of_file(dir / "none").error().code, errc::not_found);
  EXPECT_EQ(digest_of_file(dir.path()).error().code, errc::invalid_argument);
}

TEST(digest, threads_do_not_disturb_each_other) {
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (std::size_t t = 0; t < wrong.size(); ++t)
    threads.emplace_back([&wrong, t] {
      for (int i = 0; i < 2000; ++i)
        wrong[t] += digest_of("abc").hex() != abc_hex;
    });
  for (auto& t : threads)
    t.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}
