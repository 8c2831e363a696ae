#include "checkpoints/safetensors_file.hpp"
#include "checkpoints/sharded_store.hpp"
#include "tests/checkpoints/sample_checkpoint.hpp"
#include "tests/checkpoints/sharded_state.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace flywheel;
namespace fs = std::filesystem;
using testing::HasSubstr;

namespace {

std::string file_of(const std::string& header, const std::string& data, std::optional<std::uint64_t> length = {}) {
  const std::uint64_t n = length.value_or(header.size());
  return std::string(reinterpret_cast<const char*>(&n), 8) + header + data;
}

safetensors_content sample() {
  safetensors_content c;
  c.metadata = {{"format", "pt"}, {"note", "\xc3\xa4 \"quoted\""}};
  for (const auto& t : test::sample_tensors(300))
    c.tensors.push_back({t.name, t.type, t.shape, test::bytes_at(t, 1)});
  return c;
}

} // namespace

TEST(safetensors, everything_comes_back_and_lies_aligned) {
  test::scratch_folder folder;
  const auto path = folder.path() / "a.safetensors";
  const auto c = sample();
  ASSERT_TRUE(write_safetensors(path, c));
  const auto read = read_safetensors(path);
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(read->metadata, c.metadata);
  EXPECT_THAT(read->tensors, testing::UnorderedElementsAreArray(c.tensors));
  const auto header = inspect_safetensors(path).value();
  std::uint64_t length = 0;
  std::memcpy(&length, test::bytes_of(path).data(), 8);
  EXPECT_EQ(length % 8, 0u);
  for (const auto& t : header.tensors)
    EXPECT_EQ(t.begin % size_of(t.type), 0u) << t.name;
}

TEST(safetensors, bytes_are_those_of_the_format) {
  test::scratch_folder folder;
  const auto path = folder.path() / "a.safetensors";
  safetensors_content c;
  c.tensors.push_back(tensor::of<std::uint8_t>("b", std::vector<std::uint8_t>{7}, {1}));
  c.tensors.push_back(tensor::of<std::int16_t>("a", std::vector<std::int16_t>{1, 2}, {2, 1}));
  ASSERT_TRUE(write_safetensors(path, c));
  const std::string header = R"({"a":{"dtype":"I16","shape":[2,1],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[1],"data_offsets":[4,5]}})";
  const auto padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  EXPECT_EQ(test::bytes_of(path), file_of(padded, std::string("\1\0\2\0\7", 5)));
}

TEST(safetensors, a_sharded_checkpoint_is_exported_verified_and_whole) {
  test::scratch_folder folder;
  const auto tensors = test::sample_tensors(); // more than one block
  const auto store = sharded_store::begin(folder.path() / "c", 1).value();
  ASSERT_TRUE(test::save_sharded(store, tensors, 4, 3));
  const auto c = sharded_checkpoint::open(store.folder_of_step(4)).value();
  const auto path = folder.path() / "a.safetensors";
  ASSERT_TRUE(export_safetensors(path, c, {{"step", "4"}}, [](const std::string& name) { return name != "random"; }));
  const auto read = read_safetensors(path).value();
  EXPECT_EQ(read.tensors.size(), tensors.size() - 1);
  for (const auto& t : tensors)
    for (const auto& r : read.tensors)
      if (r.name == t.name) {
        EXPECT_EQ(r.bytes, test::bytes_at(t, 4)) << t.name;
      }
  const auto shard = store.folder_of_step(4) / shard_file_name(2, 3);
  auto bytes = test::bytes_of(shard);
  bytes[bytes.size() - 40] ^= 1;
  test::write_bytes(shard, bytes);
  fs::remove(path);
  EXPECT_FALSE(export_safetensors(path, c, {}, [](const std::string&) { return true; }));
  EXPECT_FALSE(fs::exists(path)) << "damage is not passed on";
}

TEST(safetensors, malformed_headers_are_refused_with_a_reason) {
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  ASSERT_TRUE(parse_safetensors_header(good, 8)) << parse_safetensors_header(good, 8).error().to_string();
  ASSERT_TRUE(parse_safetensors_header(good + "   ", 8)) << "padding";
  ASSERT_TRUE(parse_safetensors_header("{}", 0));
  const auto entry = [](const std::string& inside) { return "{\"a\":{" + inside + "}}"; };
  const struct { std::string header; std::uint64_t data; const char* reason; errc code = errc::invalid_format; } cases[] = {
      {"", 0, "begin"},
      {" {}", 0, "begin"},
      {"[]", 0, "begin"},
      {"{", 0, "no JSON"},
      {"{}x", 0, "no JSON"},
      {good, 9, "end at byte 8"},
      {good, 7, "end at byte 8"},
      {entry(R"("dtype":"F32","shape":[2])"), 0, "lacks"},
      {entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1)"), 8, "none of the format"},
      {entry(R"("dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8])"), 8, "twice"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2, "twice"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})", 3, "overlaps"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2, "overlaps"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})", 3, "hole"},
      {entry(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), 8, "no range"},
      {entry(R"("dtype":"F32","shape":[2],"data_offsets":[0])"), 8, "no range"},
      {entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,9])"), 8, "too many"},
      {entry(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"), 8, "does not fit"},
      {entry(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])"), 0, "does not fit"},
      {entry(R"("dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4])"), 4, "does not fit"},
      {entry(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"), 8, "negative"},
      {entry(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"), 8, "no size"},
      {entry(R"("dtype":"F32","shape":[1e400],"data_offsets":[0,8])"), 8, "no JSON"},
      {entry(R"("dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,8])"), 8, "no size"},
      {entry(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8])"), 8, "too many"},
      {entry(R"("dtype":"F32","shape":[[2]],"data_offsets":[0,8])"), 8, "list where none"},
      {entry(R"("dtype":"F32","shape":2,"data_offsets":[0,8])"), 8, "number where none"},
      {entry(R"("dtype":4,"shape":[2],"data_offsets":[0,8])"), 8, "number where none"},
      {entry(R"("dtype":null,"shape":[2],"data_offsets":[0,8])"), 8, "null"},
      {entry(R"("dtype":"F32","shape":["2"],"data_offsets":[0,8])"), 8, "text where none"},
      {R"({"a":[1]})", 0, "list where none"},
      {R"({"a":{"dtype":{}}})", 0, "object where none"},
      {R"({"__metadata__":{"a":1}})", 0, "number where none"},
      {R"({"__metadata__":{"a":"1","a":"2"}})", 0, "twice"},
      {R"({"__metadata__":{"a":{}}})", 0, "object where none"},
      {R"({"__metadata__":"x"})", 0, "text where none"},
      {entry(R"("dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2])"), 2, "F8_E4M3", errc::unsupported},
      {R"({"a/b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1, "a/b", errc::unsupported},
      {R"({"a":)" + std::string(500'000, '['), 0, "list where none"},
      {R"({"a":)" + std::string(500'000, '{'), 0, "no JSON"},
  };
  for (const auto& c : cases) {
    const auto r = parse_safetensors_header(c.header, c.data);
    ASSERT_FALSE(r) << c.header.substr(0, 100);
    EXPECT_EQ(r.error().code, c.code) << r.error().to_string();
    EXPECT_THAT(r.error().what, HasSubstr(c.reason)) << c.header.substr(0, 100);
  }
}

TEST(safetensors, files_that_lie_about_their_sizes_are_refused_before_memory_is_reserved) {
  test::scratch_folder folder;
  const auto path = folder.path() / "a.safetensors";
  const auto refused = [&](const std::string& bytes) {
    test::write_bytes(path, bytes);
    const auto r = read_safetensors(path);
    EXPECT_FALSE(r);
    return r ? std::string{} : r.error().to_string();
  };
  const std::string header = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})";
  EXPECT_THAT(refused(""), HasSubstr("at least 8 bytes"));
  EXPECT_THAT(refused("1234567"), HasSubstr("at least 8 bytes"));
  EXPECT_THAT(refused(file_of(header, "abcd", ~std::uint64_t{0})), HasSubstr("claims"));
  EXPECT_THAT(refused(file_of(header, "abcd", std::uint64_t{1} << 40)), HasSubstr("claims"));
  EXPECT_THAT(refused(file_of(header, "abcd", header.size() + 5)), HasSubstr("claims"));
  EXPECT_THAT(refused(file_of(header, "abc")), HasSubstr("end at byte 4"));
  EXPECT_THAT(refused(file_of(header, "abcde")), HasSubstr("end at byte 4"));
  test::write_bytes(path, file_of(header, "abcd"));
  EXPECT_TRUE(read_safetensors(path));
}

TEST(safetensors, cuts_and_noise_never_do_more_than_change_values) {
  test::scratch_folder folder;
  const auto path = folder.path() / "a.safetensors";
  ASSERT_TRUE(write_safetensors(path, sample()));
  const auto whole = test::bytes_of(path);
  for (std::size_t left = 0; left < whole.size(); left += 1 + left / 50) {
    test::write_bytes(path, whole.substr(0, left));
    ASSERT_FALSE(read_safetensors(path)) << "cut to " << left;
  }
  random_source random{5};
  std::uint64_t length = 0;
  std::memcpy(&length, whole.data(), 8);
  for (int i = 0; i < 3000; ++i) {
    auto broken = whole;
    for (int hits = 1 + static_cast<int>(random.below(3)); hits > 0; --hits) {
      const auto at = random.below(8 + length);
      broken[at] = static_cast<char>(i % 2 == 0 ? broken[at] ^ (1 << random.below(8)) : "{}[]\",:0189aU"[random.below(13)]);
    }
    test::write_bytes(path, broken);
    const auto r = read_safetensors(path);
    if (r) {
      std::uint64_t bytes = 0;
      for (const auto& t : r->tensors) {
        ASSERT_EQ(bytes_needed(t.shape, t.type), t.bytes.size());
        bytes += t.bytes.size();
      }
      ASSERT_LE(bytes, whole.size());
    } else {
      ASSERT_TRUE(r.error().klass() == error_class::bad_input) << r.error().to_string();
    }
  }
}

TEST(safetensors, what_could_not_come_back_is_not_written) {
  test::scratch_folder folder;
  const auto path = folder.path() / "a.safetensors";
  const auto refused = [&](safetensors_content c) {
    const auto s = write_safetensors(path, c);
    return !s && s.error().code == errc::invalid_argument && !fs::exists(path);
  };
  EXPECT_TRUE(refused({{}, {tensor::of("a/b", std::vector<float>{1})}}));
  EXPECT_TRUE(refused({{}, {tensor::of("a", std::vector<float>{1}), tensor::of("a", std::vector<float>{1})}}));
  EXPECT_TRUE(refused({{}, {{"a", tensor_type::f32, {3}, std::vector<std::byte>(4)}}}));
  EXPECT_TRUE(refused({{{"k", "\xff"}}, {}}));
}
