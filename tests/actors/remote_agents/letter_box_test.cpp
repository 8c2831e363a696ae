#include "actors/remote_agents/letter_box.hpp"

#include "actors/protocol/control_format.hpp"
#include "cluster/base/json.hpp"

#include <gtest/gtest.h>

using namespace flywheel;
using nlohmann::json;

namespace {

std::string piece(std::uint64_t letter, std::uint64_t index, std::uint64_t of, const std::string& bytes) {
  return control::encode({{"letter", letter}, {"piece", index}, {"of", of}, {"bytes", json::binary({bytes.begin(), bytes.end()})}});
}
std::string packed(const json& j) {
  std::string bytes;
  json::to_msgpack(j, bytes);
  return bytes;
}

} // namespace

TEST(letter_box, a_letter_of_any_size_arrives_as_it_was) {
  letter_box out, in;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, letter_box::piece_bytes_max - 20, letter_box::piece_bytes_max, letter_box::piece_bytes_max * 5 + 3}) {
    std::string text(size, 'x');
    for (std::size_t i = 0; i < size; ++i)
      text[i] = static_cast<char>('a' + i % 23);
    const json letter{{"op", "message"}, {"fields", {{"text", text}}}};
    const auto pieces = out.pieces(letter);
    ASSERT_TRUE(pieces);
    for (std::size_t i = 0; i < pieces->size(); ++i) {
      EXPECT_LE((*pieces)[i].size(), 1u << 20) << "an envelope takes it";
      const auto got = in.take("node1", (*pieces)[i]);
      ASSERT_TRUE(got) << got.error().to_string();
      EXPECT_EQ(got->has_value(), i + 1 == pieces->size());
      if (*got) {
        EXPECT_EQ(**got, letter);
      }
    }
  }
  EXPECT_EQ(out.pieces({{"text", std::string(letter_box::letter_bytes_max, 'x')}}).error().code, errc::too_large);
}

TEST(letter_box, letters_of_one_peer_and_of_many_may_be_mixed) {
  letter_box in;
  const auto a = packed({{"is", "a"}}), b = packed({{"is", "b"}});
  EXPECT_FALSE(*in.take("x", piece(1, 0, 2, a.substr(0, 3))));
  EXPECT_FALSE(*in.take("x", piece(2, 0, 2, b.substr(0, 2))));
  EXPECT_FALSE(*in.take("y", piece(1, 0, 2, b.substr(0, 1))));
  EXPECT_EQ((**in.take("x", piece(2, 1, 2, b.substr(2))))["is"], "b");
  EXPECT_EQ((**in.take("x", piece(1, 1, 2, a.substr(3))))["is"], "a");
  EXPECT_EQ((**in.take("y", piece(1, 1, 2, b.substr(1))))["is"], "b");
}

TEST(letter_box, a_connection_that_ends_takes_its_half_letters_with_it) {
  letter_box in;
  EXPECT_FALSE(*in.take("x", piece(1, 0, 2, "abc")));
  in.forget("x");
  EXPECT_EQ(in.take("x", piece(1, 1, 2, "def")).error().code, errc::protocol_violation);
}

TEST(letter_box, what_is_no_letter_is_refused_and_holds_nothing) {
  letter_box in;
  const auto whole = packed({{"op", "x"}});
  const std::string nested(100'000, '\x91');
  for (const auto& bad : std::vector<std::string>{"", "garbage", control::encode({{"letter", 1}}), control::encode({{"letter", -1}, {"piece", 0}, {"of", 1}, {"bytes", json::binary({})}}),
                                                  control::encode({{"letter", 1}, {"piece", 0}, {"of", 1}, {"bytes", "text"}}), piece(1, 1, 2, whole), piece(1, 0, 0, whole),
                                                  piece(1, 5, 2, whole), piece(1, 0, 1, "\xc1"), piece(1, 0, 1, whole + "x"), piece(1, 0, 1, packed(json::array())), piece(1, 0, 1, nested)})
    EXPECT_FALSE(in.take("x", bad));
  EXPECT_TRUE(in.take("x", piece(1, 0, 1, whole))) << "and the box still works";
}

TEST(letter_box, what_one_peer_begins_and_never_ends_is_bounded) {
  letter_box in;
  for (std::uint64_t i = 0; i < letter_box::unfinished_max; ++i)
    EXPECT_TRUE(in.take("x", piece(i, 0, 2, "abc")));
  EXPECT_EQ(in.take("x", piece(99, 0, 2, "abc")).error().code, errc::too_large);
  EXPECT_TRUE(in.take("y", piece(99, 0, 2, "abc"))) << "others are not concerned";
  letter_box big;
  const std::string part(letter_box::piece_bytes_max, 'x');
  error last{errc::ok, {}};
  for (std::uint64_t i = 0; i < 100 && last.code == errc::ok; ++i)
    if (const auto taken = big.take("x", piece(1, i, 1000, part)); !taken)
      last = taken.error();
  EXPECT_EQ(last.code, errc::too_large);
}
