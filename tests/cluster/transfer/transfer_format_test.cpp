// The bytes of the transfer protocol: pinned, then damaged in every way a hostile peer could think of.

#include "cluster/transfer/transfer_format.hpp"

#include "cluster/base/random.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace flywheel;
using namespace flywheel::transfer;
using testing::HasSubstr;

namespace {

std::string hex(std::string_view bytes) {
  std::string text;
  for (unsigned char c : bytes) {
    text += "0123456789abcdef"[c >> 4];
    text += "0123456789abcdef"[c & 15];
  }
  return text;
}
std::string str(std::string_view text) { return hex(std::string(1, static_cast<char>(0xa0 + text.size())) + std::string(text)); }

request full_request() {
  request r;
  r.is = op::put;
  r.id = 7;
  r.lease = 0x100000002;
  r.root = 1;
  r.name = "a/b";
  r.offset = 1024;
  r.size = 9;
  r.sha256 = flywheel::digest_of("x");
  r.bytes = "abc";
  return r;
}

} // namespace

TEST(transfer_format, the_bytes_of_each_message_are_these_for_ever) {
  EXPECT_EQ(hex(encode(full_request())), "8a" + str("v") + "01" + str("op") + str("put") + str("id") + "07" + str("lease") + "cf0000000100000002" + str("root") + "01" +
                                             str("name") + str("a/b") + str("offset") + "cd0400" + str("size") + "09" + str("sha256") + "c420" +
                                             flywheel::digest_of("x").hex() + str("bytes") + "c403616263");
  request list;
  list.id = 1;
  list.lease = 5;
  EXPECT_EQ(hex(encode(list)), "84" + str("v") + "01" + str("op") + str("list") + str("id") + "01" + str("lease") + "05") << "what is 0 or empty is left out";
  reply data;
  data.id = 1;
  data.size = 3;
  data.bytes = "abc";
  EXPECT_EQ(hex(encode(data)), "84" + str("v") + "01" + str("id") + "01" + str("size") + "03" + str("bytes") + "c403616263");
  reply refused;
  refused.id = 2;
  refused.problem = error{errc::stale_epoch, "over", "there", "do"};
  EXPECT_EQ(hex(encode(refused)), "86" + str("v") + "01" + str("id") + "02" + str("error") + str("stale_epoch") + str("what") + str("over") + str("where") + str("there") +
                                      str("hint") + str("do"));
  EXPECT_EQ(hex(encode(std::vector<file_entry>{{"a", 3, flywheel::digest_of("abc")}})),
            "83" + str("name") + str("a") + str("size") + "03" + str("sha256") + "c420" + flywheel::digest_of("abc").hex());
}

TEST(transfer_format, what_was_written_is_read) {
  for (const auto is : {op::list, op::read, op::begin, op::put, op::publish, op::remove, op::finish}) {
    auto r = full_request();
    r.is = is;
    const auto bytes = encode(r);
    const auto back = request_from(bytes);
    ASSERT_TRUE(back) << back.error().to_string();
    EXPECT_EQ(back->is, is);
    EXPECT_EQ(back->name, r.name);
    EXPECT_EQ(back->sha256, r.sha256);
    EXPECT_EQ(back->bytes, "abc");
    EXPECT_EQ(encode(*back), bytes);
  }
  const std::vector<file_entry> files{{"a", 0, flywheel::digest_of("")}, {"b/c", 1u << 30, flywheel::digest_of("y")}};
  EXPECT_EQ(*files_from(encode(files)), files);
  reply r;
  r.more = true;
  r.problem = error{errc::disk_full, "w", "x", "h"};
  const auto text = encode(r);
  const auto back = reply_from(text);
  ASSERT_TRUE(back);
  EXPECT_TRUE(back->more);
  EXPECT_EQ(back->problem.to_string(), r.problem.to_string());
}

TEST(transfer_format, what_is_damaged_is_refused_without_a_crash) {
  const auto good = encode(full_request());
  for (std::size_t n = 0; n < good.size(); ++n)
    EXPECT_FALSE(request_from(good.substr(0, n))) << n;
  EXPECT_FALSE(request_from(good + "x"));
  random_source random{3};
  for (int i = 0; i < 20'000; ++i) {
    auto bad = good;
    for (std::uint64_t k = random.below(4) + 1; k > 0; --k)
      bad[random.below(bad.size())] = static_cast<char>(random.below(256));
    (void)request_from(bad);
    (void)reply_from(bad);
    (void)files_from(bad);
  }
  // Lengths and counts that nothing backs.
  for (const char* bomb : {"\xdf\xff\xff\xff\xff", "\x81\xdb\xff\xff\xff\xff", "\x81\xa1v\xc6\xff\xff\xff\xff", "\x81\xa1v\xdd\xff\xff\xff\xff"})
    EXPECT_FALSE(request_from(bomb));
  EXPECT_EQ(request_from(std::string(message_bytes_max + 1, '\x80')).error().code, errc::too_large);
  EXPECT_EQ(request_from("\x81\xa1v\x02").error().code, errc::incompatible_version);
  EXPECT_EQ(request_from("\x80").error().code, errc::incompatible_version);
  EXPECT_THAT(request_from("\x82\xa1v\x01\xa2op\xa5" "dance").error().what, HasSubstr("dance"));
  EXPECT_THAT(request_from("\x82\xa1v\x01\xa2op\x05").error().what, HasSubstr("op"));
  EXPECT_THAT(request_from("\x82\xa1v\x01\xa1v\x01").error().what, HasSubstr("repeats"));
}

TEST(transfer_format, names_stay_beneath_their_root) {
  for (const char* good : {"a", "a/b", "step-000000000001.h5", "..a", "a..b/c", "ü/x"})
    EXPECT_TRUE(check_name(good)) << good;
  const std::string deep = [] {
    std::string all = "a";
    for (int i = 0; i < 20; ++i)
      all += "/a";
    return all;
  }();
  for (const auto& bad : std::vector<std::string>{"", "/", "/etc/passwd", "..", "a/..", "../a", "a/../b", ".", "a//b", "a/", std::string("a\0b", 3), "a\nb", "\xff", deep,
                                                  std::string(256, 'x'), std::string(2000, 'x')})
    EXPECT_FALSE(check_name(bad)) << bad;
  EXPECT_FALSE(files_from(encode(std::vector<file_entry>{{"../x", 1, {}}})));
  EXPECT_FALSE(files_from(encode(std::vector<file_entry>{{"b", 1, {}}, {"a", 1, {}}}))) << "not in order";
  EXPECT_FALSE(files_from(encode(std::vector<file_entry>{{"a", 1, {}}, {"a", 1, {}}}))) << "twice";
  EXPECT_FALSE(files_from(encode(std::vector<file_entry>{{"a", file_bytes_max + 1, {}}})));
}

TEST(transfer_format, the_digest_of_a_result_is_of_names_sizes_and_contents) {
  const std::vector<file_entry> files{{"a", 1, flywheel::digest_of("1")}, {"b", 1, flywheel::digest_of("2")}};
  auto other = files;
  other[1].name = "c";
  EXPECT_NE(digest_of(files), digest_of(other));
  other = files;
  other[0].sha256 = flywheel::digest_of("3");
  EXPECT_NE(digest_of(files), digest_of(other));
  EXPECT_NE(digest_of(files), digest_of(std::vector<file_entry>{}));
}
