// Messages from other terminals: whoever may open the socket may send anything.

#include "actors/protocol/control_format.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/random.hpp"

#include <gtest/gtest.h>

using namespace flywheel;
using nlohmann::json;

TEST(control_format, a_message_survives_the_journey) {
  const json sent{{"op", "submit"}, {"id", "g-1"}, {"spec", "{}"}, {"approve", true}, {"n", 12.5}};
  const auto back = control::decode(control::encode(sent));
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(back->at("v"), control::version);
  EXPECT_EQ(back->at("op"), "submit");
  EXPECT_EQ(back->at("n"), 12.5);
}

TEST(control_format, an_error_arrives_whole) {
  const error sent{errc::not_allowed, "ana may not", "goal g-1", "ask bo"};
  const auto reply = control::decode(control::encode(control::failure(sent)));
  ASSERT_TRUE(reply);
  const auto got = control::outcome(*reply);
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().to_string(), sent.to_string());
  EXPECT_TRUE(control::outcome({{"ok", true}}).ok());
  EXPECT_EQ(control::outcome(json::object()).error().code, errc::internal) << "a reply that says nothing is no success";
}

TEST(control_format, another_version_is_told_to_use_the_same) {
  json m{{"op", "ping"}, {"v", control::version + 1}};
  std::string bytes;
  json::to_msgpack(m, bytes);
  const auto got = control::decode(bytes);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, errc::incompatible_version);
  EXPECT_FALSE(got.error().hint.empty());
}

TEST(control_format, nesting_is_refused_before_anything_recurses) {
  for (const std::string& level : {std::string{"\x91"}, std::string{"\x81\xa1k"}, std::string{"\xdc\x00\x01", 3},
                                   std::string{"\xdf\x00\x00\x00\x01\xa1k", 7}, std::string{"\xdd\x00\x00\x00\x01", 5}}) {
    std::string bytes{"\x81\xa1v"};
    while (bytes.size() + level.size() < control::message_bytes_max)
      bytes += level;
    const auto got = control::decode(bytes);
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, errc::too_large) << got.error().to_string();
  }
}

TEST(control_format, sizes_are_checked_before_they_are_believed) {
  EXPECT_EQ(control::decode(std::string(control::message_bytes_max + 1, 'x')).error().code, errc::too_large);
  for (const std::string& bytes : {std::string{"\xdf\xff\xff\xff\xff", 5}, std::string{"\x81\xdb\xff\xff\xff\xff", 6},
                                   std::string{"\xdd\xff\xff\xff\xff", 5}, std::string{}, std::string{"\xc1"}})
    EXPECT_FALSE(control::decode(bytes));
  EXPECT_FALSE(control::decode(control::encode({{"op", "ping"}}) + "x")) << "nothing may follow";
  EXPECT_FALSE(control::decode("\x93\x01\x02\x03")) << "an array is no message";
}

TEST(control_format, no_bytes_at_all_end_the_program) {
  random_source random{7};
  const auto good = control::encode({{"op", "submit"}, {"spec", "{\"a\":[1,2,3]}"}, {"list", {1, 2.5, nullptr, true}}});
  for (int i = 0; i < 20'000; ++i) {
    auto bytes = good.substr(0, 1 + random.below(good.size()));
    for (std::uint64_t n = random.below(4); n > 0; --n)
      bytes[random.below(bytes.size())] = static_cast<char>(random.below(256));
    const auto m = control::decode(bytes);
    EXPECT_TRUE(!m || m->is_object());
  }
}
