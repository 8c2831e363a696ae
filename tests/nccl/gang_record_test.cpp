#include "nccl/gang_record.hpp"

#include "cluster/base/random.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace flywheel;
using namespace flywheel::nccl;
using testing::HasSubstr;

namespace {

gang_record example() {
  gang_record r;
  r.gang = "g-01hf7zk3q8-4fj2x9a1";
  r.generation = 3;
  r.rank = 1;
  r.use = backend::gloo;
  r.folder = "/run/flywheel/gangs/7 of mine";
  r.arena_bytes = 4096;
  r.members = {{"node1", 0}, {"10.0.0.2", -1}};
  return r;
}

const std::string golden = "flywheel-gang 1\n"
                           "gang g-01hf7zk3q8-4fj2x9a1\n"
                           "generation 3\n"
                           "rank 1\n"
                           "backend gloo\n"
                           "folder /run/flywheel/gangs/7 of mine\n"
                           "arena_bytes 4096\n"
                           "member node1 gpu:0\n"
                           "member 10.0.0.2 cpu\n"
                           "end\n";

TEST(gang_record, is_written_as_promised_and_reads_back) {
  const auto text = encode(example());
  ASSERT_TRUE(text);
  EXPECT_EQ(*text, golden);
  const auto back = decode_gang_record(golden);
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(*back, example());
}

TEST(gang_record, each_bad_field_is_named) {
  const auto said = [](auto change) {
    auto r = example();
    change(r);
    const auto text = encode(r);
    return text ? "" : text.error().to_string();
  };
  EXPECT_THAT(said([](auto& r) { r.gang = "../x"; }), HasSubstr("not a name"));
  EXPECT_THAT(said([](auto& r) { r.generation = 0; }), HasSubstr("count from 1"));
  EXPECT_THAT(said([](auto& r) { r.rank = 2; }), HasSubstr("rank 2"));
  EXPECT_THAT(said([](auto& r) { r.rank = -1; }), HasSubstr("rank -1"));
  EXPECT_THAT(said([](auto& r) { r.members.clear(); }), HasSubstr("1 to 256"));
  EXPECT_THAT(said([](auto& r) { r.members.resize(257, {"a", -1}); }), HasSubstr("1 to 256"));
  EXPECT_THAT(said([](auto& r) { r.folder = "here"; }), HasSubstr("absolute"));
  EXPECT_THAT(said([](auto& r) { r.folder = "/a\nrank 0"; }), HasSubstr("control"));
  EXPECT_THAT(said([](auto& r) { r.members[0].host = "a b"; }), HasSubstr("not a place"));
  EXPECT_THAT(said([](auto& r) { r.members[0].gpu = -2; }), HasSubstr("not a place"));
  EXPECT_THAT(said([](auto& r) { r.arena_bytes = arena_bytes_max + 1; }), HasSubstr("arena"));
}

TEST(gang_record, damage_is_refused_and_the_line_named) {
  const auto said = [](std::string from, std::string to) {
    auto text = golden;
    text.replace(text.find(from), from.size(), to);
    const auto r = decode_gang_record(text);
    return r ? "accepted" : r.error().to_string();
  };
  EXPECT_THAT(said("flywheel-gang 1", "flywheel-gang 2"), HasSubstr("[incompatible_version]"));
  EXPECT_THAT(said("flywheel-gang 1", "hello"), HasSubstr("[invalid_format]"));
  EXPECT_THAT(said("generation 3", "generation -3"), HasSubstr("line 3"));
  EXPECT_THAT(said("generation 3", "generation 99999999999999999999"), HasSubstr("line 3"));
  EXPECT_THAT(said("generation 3", "generation 03"), HasSubstr("line 3"));
  EXPECT_THAT(said("rank 1", "rank 2"), HasSubstr("rank 2"));
  EXPECT_THAT(said("backend gloo", "backend mpi"), HasSubstr("line 5"));
  EXPECT_THAT(said("gpu:0", "gpu:"), HasSubstr("line 8"));
  EXPECT_THAT(said("gpu:0", "tpu"), HasSubstr("line 8"));
  EXPECT_THAT(said("end\n", ""), HasSubstr("[invalid_format]"));
  EXPECT_THAT(said("end\n", "end\nmore\n"), HasSubstr("[invalid_format]"));
  EXPECT_THAT(decode_gang_record(std::string(gang_record_bytes_max + 1, 'x')).error().to_string(), HasSubstr("[too_large]"));
}

TEST(gang_record, every_cut_and_random_damage_is_refused_or_still_a_sound_record) {
  for (std::size_t n = 0; n < golden.size(); ++n)
    EXPECT_FALSE(decode_gang_record(golden.substr(0, n))) << n;
  random_source random{7};
  for (int i = 0; i < 20'000; ++i) {
    auto text = golden;
    for (std::uint64_t flips = 1 + random.below(3); flips-- > 0;)
      text[random.below(text.size())] = static_cast<char>(random.below(256));
    if (const auto r = decode_gang_record(text); r) {
      ASSERT_TRUE(check(*r)) << text;
    }
  }
}

TEST(gang_record, an_older_generation_is_not_admitted) {
  EXPECT_TRUE(admit_generation("g", 0, 1));
  EXPECT_TRUE(admit_generation("g", 4, 4));
  EXPECT_TRUE(admit_generation("g", 4, 5));
  const auto late = admit_generation("g", 5, 4);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, errc::stale_epoch);
}

} // namespace
