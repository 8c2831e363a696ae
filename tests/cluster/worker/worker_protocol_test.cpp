// The bytes of the worker protocol: pinned, then damaged in every way a hostile worker could think of.

#include "cluster/worker/worker_protocol.hpp"

#include "cluster/base/limits.hpp"
#include "cluster/base/random.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

using namespace flywheel;
using namespace flywheel::wire;
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

/// Text as MessagePack writes short strings: length byte, then the characters.
std::string str(std::string_view text) { return hex(std::string(1, static_cast<char>(0xa0 + text.size())) + std::string(text)); }

std::vector<message> one_of_each() {
  return {hello{1, "3", "0123456789abcdef0123456789abcdef", 4711},
          welcome{1, 500},
          task{"t-7", 2, "trial", "{\"x\":1}"},
          heartbeat{"t-7", 1000, 5'000'000'000},
          report{"t-7", 2, 1, 40, 0.953, 0.004},
          verdict{"t-7", 1, false},
          wire::log{"t-7", "info", "epoch 3"},
          done{"t-7", 2, "{}"},
          failed{"t-7", 2, "training_diverged", "loss is nan", "lower the learning rate"},
          stop{"t-7", "cancelled"}};
}

std::string what_of(std::string_view bytes) {
  const auto m = decode(bytes);
  return m ? "accepted" : m.error().to_string();
}

} // namespace

TEST(worker_protocol, the_bytes_of_each_message_are_these_for_ever) {
  EXPECT_EQ(hex(encode(welcome{1, 500})), "83" + str("type") + str("welcome") + str("version") + "01" + str("heartbeat_ms") + "cd01f4");
  EXPECT_EQ(hex(encode(hello{1, "3", "s3cret", 4711})), "85" + str("type") + str("hello") + str("version") + "01" + str("worker") +
                                                            str("3") + str("token") + str("s3cret") + str("pid") + "cd1267");
  EXPECT_EQ(hex(encode(task{"t", 2, "trial", std::string(40, 'b')})),
            "85" + str("type") + str("task") + str("id") + str("t") + str("attempt") + "02" + str("kind") + str("trial") +
                str("body") + "d928" + hex(std::string(40, 'b')));
  EXPECT_EQ(hex(encode(heartbeat{"t", 1000, 5'000'000'000})),
            "84" + str("type") + str("heartbeat") + str("task") + str("t") + str("step") + "cd03e8" + str("rss_bytes") +
                "cf000000012a05f200");
  EXPECT_EQ(hex(encode(report{"t", 1, 3, 200, 0.5, -0.0})),
            "87" + str("type") + str("report") + str("task") + str("t") + str("attempt") + "01" + str("rung") + "03" +
                str("resource") + "ccc8" + str("value") + "cb3fe0000000000000" + str("standard_error") + "cb8000000000000000");
  EXPECT_EQ(hex(encode(verdict{"t", 3, true})),
            "84" + str("type") + str("verdict") + str("task") + str("t") + str("rung") + "03" + str("go_on") + "c3");
  EXPECT_EQ(hex(encode(wire::log{"t", "info", "hi"})),
            "84" + str("type") + str("log") + str("task") + str("t") + str("level") + str("info") + str("text") + str("hi"));
  EXPECT_EQ(hex(encode(done{"t", 1, "{}"})),
            "84" + str("type") + str("done") + str("task") + str("t") + str("attempt") + "01" + str("body") + str("{}"));
  EXPECT_EQ(hex(encode(failed{"t", 1, "out_of_memory", "no", ""})),
            "86" + str("type") + str("failed") + str("task") + str("t") + str("attempt") + "01" + str("code") +
                str("out_of_memory") + str("what") + str("no") + str("hint") + str(""));
  EXPECT_EQ(hex(encode(stop{"", "bye"})), "83" + str("type") + str("stop") + str("task") + str("") + str("reason") + str("bye"));
}

TEST(worker_protocol, every_message_comes_back_as_it_went) {
  for (const auto& m : one_of_each()) {
    const auto bytes = encode(m);
    const auto back = decode(bytes);
    ASSERT_TRUE(back) << back.error().to_string();
    EXPECT_EQ(back->index(), m.index());
    EXPECT_EQ(encode(*back), bytes) << name_of(m);
  }
}

TEST(worker_protocol, long_texts_and_numbers_that_are_not_finite_come_back_exactly) {
  for (std::size_t n : {31u, 32u, 255u, 256u, 65'535u, 65'536u, 1'000'000u}) {
    const auto back = decode(encode(done{"t", 1, std::string(n, 'x')}));
    ASSERT_TRUE(back);
    EXPECT_EQ(std::get<done>(*back).body.size(), n);
  }
  for (double x : {std::numeric_limits<double>::infinity(), -0.0, 1e-310, 0.1}) {
    const auto back = decode(encode(report{"t", 1, 0, 0, x, 0}));
    EXPECT_EQ(std::get<report>(*back).value, x);
  }
  EXPECT_TRUE(std::isnan(std::get<report>(*decode(encode(report{"t", 1, 0, 0, std::nan(""), 0}))).value));
}

TEST(worker_protocol, keys_of_a_later_version_are_passed_over_in_any_order_and_form) {
  // {"new": [1, {"a": nil}, bin "xyz", ext, -5, 1.5f], "reason": "bye", "type": "stop", "task": ""}
  const std::string bytes = std::string("\x84\xa3new\x96\x01\x81\xa1") + "a" + std::string("\xc0\xc4\x03xyz\xd4\x05\x00\xfb\xca\x3f\xc0\x00\x00", 15) +
                            "\xa6reason\xa3" "bye\xa4type\xa4stop\xa4task\xa0";
  const auto m = decode(bytes);
  ASSERT_TRUE(m) << m.error().to_string();
  EXPECT_EQ(std::get<stop>(*m).reason, "bye");
}

TEST(worker_protocol, a_script_may_write_numbers_in_any_width) {
  // report with value: 1 (integer), standard_error: float 32, attempt as uint 64, rung as positive int 8
  const std::string bytes = std::string("\x87\xa4type\xa6report\xa4task\xa1t\xa7" "attempt\xcf\0\0\0\0\0\0\0\x01\xa4rung\xd0\x02\xa8resource\xce\0\0\0\x05"
                                        "\xa5value\x01\xaestandard_error\xca\x3f\x00\x00\x00", 85);
  const auto m = decode(bytes);
  ASSERT_TRUE(m) << m.error().to_string();
  const auto& r = std::get<report>(*m);
  EXPECT_EQ(r.attempt, 1u);
  EXPECT_EQ(r.rung, 2u);
  EXPECT_EQ(r.resource, 5u);
  EXPECT_EQ(r.value, 1.0);
  EXPECT_EQ(r.standard_error, 0.5);
}

TEST(worker_protocol, errors_name_the_field_or_the_byte) {
  EXPECT_THAT(what_of(""), HasSubstr("at byte 0"));
  EXPECT_THAT(what_of("\x93\x01\x02\x03"), HasSubstr("expected a map"));
  EXPECT_THAT(what_of("\x80"), HasSubstr("type"));
  EXPECT_THAT(what_of("\x81\xa4type\xa5wrong"), HasSubstr("unknown message type wrong"));
  EXPECT_THAT(what_of("\x81\xa4type\xa4stop"), HasSubstr("stop.task: expected a string, got no such key"));
  EXPECT_THAT(what_of("\x82\xa4type\xa4stop\xa4task\x01"), HasSubstr("stop.task: expected a string, got an integer"));
  EXPECT_THAT(what_of("\x82\xa4type\xa4stop\xa4type\xa4stop"), HasSubstr("repeats"));
  EXPECT_THAT(what_of(encode(stop{"", ""}) + "x"), HasSubstr("1 bytes after the message"));
  EXPECT_THAT(what_of("\x81\xa4type\xa2\xff\xfe"), HasSubstr("not UTF-8"));
  EXPECT_THAT(what_of("\x81\x01\x01"), HasSubstr("expected a string at byte 1"));
  auto negative = encode(welcome{1, 5});
  negative.back() = '\xff';
  EXPECT_THAT(what_of(negative), HasSubstr("heartbeat_ms: expected an integer from 0 to 2^32-1, got a negative integer"));
}

TEST(worker_protocol, another_version_is_told_apart_from_noise) {
  const auto m = decode(encode(hello{2, "w", "t", 1}));
  ASSERT_FALSE(m);
  EXPECT_EQ(m.error().code, errc::incompatible_version);
  // Even if the other version's hello has no field that we know.
  EXPECT_THAT(what_of("\x82\xa4type\xa5hello\xa7version\x09"), HasSubstr("speaks version 9"));
}

TEST(worker_protocol, every_truncation_is_an_error) {
  for (const auto& m : one_of_each()) {
    const auto bytes = encode(m);
    for (std::size_t n = 0; n < bytes.size(); ++n) {
      const auto part = decode(std::string_view(bytes).substr(0, n));
      ASSERT_FALSE(part) << name_of(m) << " cut to " << n;
      EXPECT_EQ(part.error().code, errc::protocol_violation);
    }
  }
}

TEST(worker_protocol, every_changed_byte_gives_an_error_or_a_sound_message) {
  for (const auto& m : one_of_each()) {
    const auto bytes = encode(m);
    for (std::size_t i = 0; i < bytes.size(); ++i)
      for (int value = 0; value < 256; ++value) {
        auto damaged = bytes;
        damaged[i] = static_cast<char>(value);
        if (const auto r = decode(damaged)) {
          const auto again = decode(encode(*r)); // what was accepted is a message like any other
          ASSERT_TRUE(again) << name_of(m) << " byte " << i << " = " << value;
        }
      }
  }
}

TEST(worker_protocol, random_bytes_are_never_more_than_an_error) {
  random_source random{20'261'121};
  const auto samples = one_of_each();
  int accepted = 0;
  for (int round = 0; round < 60'000; ++round) {
    std::string bytes;
    if (round % 2 == 0) { // noise that starts like a map
      const auto n = random.below(64);
      for (std::size_t i = 0; i < n; ++i)
        bytes.push_back(static_cast<char>(random.next()));
      if (!bytes.empty())
        bytes[0] = static_cast<char>(0x80 | (bytes[0] & 0x0f));
    } else { // a message with a piece of another in it
      bytes = encode(samples[random.below(samples.size())]);
      const auto other = encode(samples[random.below(samples.size())]);
      const auto at = random.below(bytes.size()), from = random.below(other.size());
      bytes.replace(at, random.below(20), other.substr(from, random.below(20)));
    }
    accepted += decode(bytes).has_value() ? 1 : 0;
  }
  EXPECT_LT(accepted, 30'000);
}

TEST(worker_protocol, deep_nesting_is_refused_at_the_limit) {
  const auto nested = [](std::size_t depth, char head) {
    std::string bytes = "\x81\xa4type";
    bytes.append(depth, head);
    return bytes + '\x01';
  };
  // The map itself is one level: 15 more are the limit of 16, a 16th is too many.
  EXPECT_THAT(what_of(nested(limits::worker_message_depth_max - 1, '\x91')), HasSubstr("type is missing"));
  EXPECT_THAT(what_of(nested(limits::worker_message_depth_max, '\x91')), HasSubstr("nesting deeper than 16"));
  EXPECT_THAT(what_of(nested(4'000'000, '\x91')), HasSubstr("nesting deeper than 16"));
}

TEST(worker_protocol, lengths_that_lie_reserve_nothing) {
  for (const std::string& head : {std::string("\xdb\xff\xff\xff\xff", 5), std::string("\xdd\xff\xff\xff\xff", 5),
                                  std::string("\xdf\xff\xff\xff\xff", 5), std::string("\xc6\xff\xff\xff\xff", 5),
                                  std::string("\xc9\xff\xff\xff\xff\x01", 6)})
    EXPECT_THAT(what_of("\x81\xa4type" + head), HasSubstr("are left")) << hex(head);
  EXPECT_THAT(what_of(std::string("\xdf\xff\xff\xff\xff", 5)), HasSubstr("are left"));
  // A map with more pairs than a message can have, although the bytes are there.
  EXPECT_THAT(what_of("\xde\x01\x01" + std::string(2000, '\xa0')), HasSubstr("at most 64"));
  EXPECT_THAT(what_of(std::string(limits::worker_message_bytes_max + 1, '\x80')), HasSubstr("too_large"));
}

TEST(worker_protocol, a_million_elements_cost_no_memory) {
  std::string bytes = "\x81\xa4type\xdd";
  bytes += std::string("\x00\x0f\x42\x40", 4) + std::string(1'000'000, '\xc0');
  EXPECT_THAT(what_of(bytes), HasSubstr("type is missing or not a string"));
}
