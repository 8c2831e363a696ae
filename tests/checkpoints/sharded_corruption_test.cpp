// What is restored matches its checksums; damage and hostile manifests are reported, never returned (I10).

#include "checkpoints/checkpoint_saver.hpp"
#include "checkpoints/sealed_folder.hpp"
#include "checkpoints/sharded_store.hpp"
#include "cluster/base/json.hpp"
#include "tests/checkpoints/sample_checkpoint.hpp"
#include "tests/checkpoints/sharded_state.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

using namespace flywheel;
namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

namespace {

class sharded_corruption : public testing::Test {
protected:
  void SetUp() override {
    store_ = sharded_store::begin(folder_.path(), 1, {2, 0}).value();
    ASSERT_TRUE(test::save_sharded(*store_, tensors_, 1, 2));
    ASSERT_TRUE(test::save_sharded(*store_, tensors_, 2, 2));
  }
  fs::path newest() const { return store_->folder_of_step(2); }
  fs::path manifest() const { return newest() / manifest_file_name; }
  /// Replaces the manifest's body by what `change` makes of it, sealed anew: what a person with bad intentions would send.
  result<sharded_checkpoint> with_manifest(const std::function<void(json&)>& change) {
    json body = json::parse(read_document(manifest()).value().body);
    change(body);
    const auto before = test::bytes_of(manifest());
    test::write_bytes(manifest(), seal_document(body));
    auto opened = sharded_checkpoint::open(newest());
    test::write_bytes(manifest(), before);
    return opened;
  }
  const std::vector<test::sample_tensor> tensors_ = test::sample_tensors(3000);
  test::scratch_folder folder_;
  std::optional<sharded_store> store_;
};

} // namespace

TEST_F(sharded_corruption, ten_thousand_flipped_bits_are_reported_or_harmless) {
  const std::vector<fs::path> files{manifest(), newest() / shard_file_name(0, 2), newest() / shard_file_name(1, 2)};
  std::vector<std::string> whole;
  for (const auto& f : files)
    whole.push_back(test::bytes_of(f));
  random_source random{21};
  std::size_t reported = 0;
  constexpr std::size_t flips = 10'000;
  for (std::size_t i = 0; i < flips; ++i) {
    const auto which = i % files.size();
    const auto at = random.below(whole[which].size());
    const char flipped = static_cast<char>(whole[which][at] ^ (1 << random.below(8)));
    const auto put = [&](char c) {
      const auto file = open_file(files[which], O_WRONLY).value();
      ASSERT_EQ(::pwrite(file.get(), &c, 1, static_cast<off_t>(at)), 1);
    };
    put(flipped);
    const auto opened = sharded_checkpoint::open(newest());
    const auto read = opened ? opened->read_all() : result<checkpoint>{opened.error()};
    if (read) {
      ASSERT_EQ(test::differences(*opened, tensors_), "") << files[which] << " byte " << at;
    } else {
      ++reported;
      ASSERT_TRUE(read.error().klass() == error_class::damaged || read.error().code == errc::invalid_format) << read.error().to_string();
    }
    put(whole[which][at]);
  }
  EXPECT_EQ(reported, flips) << "there is no byte that nothing covers";
  EXPECT_EQ(test::differences(sharded_checkpoint::open(newest()).value(), tensors_), "") << "all put back";
}

TEST_F(sharded_corruption, cuts_and_missing_files_fall_back_to_the_one_before) {
  const auto falls_back = [&](const std::string& what) {
    const auto found = find_newest_sharded(folder_.path());
    ASSERT_TRUE(found) << what << ": " << found.error().to_string();
    ASSERT_TRUE(found->newest) << what;
    EXPECT_EQ(found->newest->contents().id.step, 1u) << what;
    EXPECT_EQ(found->damaged_ids, (std::vector<checkpoint_id>{{1, 2}})) << what;
    EXPECT_EQ(found->damaged.size(), 1u);
  };
  for (const auto& file : {manifest(), newest() / shard_file_name(1, 2)}) {
    const auto whole = test::bytes_of(file);
    for (const std::size_t left : {std::size_t{0}, std::size_t{7}, whole.size() / 3, whole.size() / 2, whole.size() - 1}) {
      test::write_bytes(file, whole.substr(0, left));
      falls_back(file.string() + " cut to " + std::to_string(left));
    }
    test::write_bytes(file, whole + "x");
    falls_back(file.string() + " longer");
    test::write_bytes(file, whole);
  }
  // A shard of another step under this one's name.
  const auto shard = newest() / shard_file_name(1, 2);
  fs::copy_file(store_->folder_of_step(1) / shard_file_name(1, 2), shard, fs::copy_options::overwrite_existing);
  falls_back("another step's shard");
  fs::remove(shard);
  falls_back("no shard");
  ASSERT_TRUE(set_aside_sharded(folder_.path(), {1, 2}));
  EXPECT_TRUE(find_newest_sharded(folder_.path())->damaged.empty()) << "told once";
  EXPECT_TRUE(fs::exists(newest().string() + ".damaged"));
  fs::rename(store_->folder_of_step(1), store_->folder_of_step(9));
  EXPECT_FALSE(find_newest_sharded(folder_.path())->newest) << "renamed: it would resume at the wrong place";
}

TEST_F(sharded_corruption, damage_behind_the_head_is_met_by_reading_that_slice_only) {
  const auto tensors = std::vector<test::sample_tensor>{{"t", tensor_type::u8, {5u << 20}}};
  ASSERT_TRUE(test::save_sharded(*store_, tensors, 3, 1));
  const auto path = store_->folder_of_step(3) / shard_file_name(0, 1);
  auto bytes = test::bytes_of(path);
  bytes[bytes.size() - 1] ^= 1; // in the fifth block
  test::write_bytes(path, bytes);
  const auto c = sharded_checkpoint::open(store_->folder_of_step(3)).value();
  std::vector<std::byte> memory(4u << 20);
  const read_request sound{"t", {0, 4u << 20}, memory}, broken{"t", {(4u << 20) + 5, (4u << 20) + 6}, std::span{memory}.first(1)};
  EXPECT_TRUE(c.read({&sound, 1}));
  const auto s = c.read({&broken, 1});
  ASSERT_FALSE(s);
  EXPECT_EQ(s.error().code, errc::checksum_mismatch);
  EXPECT_THAT(s.error().what, HasSubstr("tensor t "));
  EXPECT_FALSE(c.verify());
}

TEST_F(sharded_corruption, manifests_that_lie_are_refused_before_anything_is_reserved) {
  const auto refused = [&](const char* what, const std::function<void(json&)>& change, errc code = errc::invalid_format) {
    const auto r = with_manifest(change);
    ASSERT_FALSE(r) << what;
    EXPECT_EQ(r.error().code, code) << what << ": " << r.error().to_string();
    EXPECT_FALSE(r.error().where.empty()) << what;
  };
  ASSERT_TRUE(with_manifest([](json&) {})) << "an honest one";
  const auto huge = std::uint64_t{1} << 63;
  const auto tensor_named = [](json& b, const char* name) -> json& {
    for (auto& t : b["tensors"])
      if (t["name"] == name)
        return t;
    return b;
  };
  refused("a newer version", [](json& b) { b["version"] = 2; }, errc::incompatible_version);
  refused("another kind", [](json& b) { b["format"] = "x"; });
  refused("another block size", [](json& b) { b["block_bytes"] = 4096; });
  refused("no shards", [](json& b) { b["shards"] = json::array(); });
  refused("shards as text", [](json& b) { b["shards"] = "many"; });
  refused("a negative step", [](json& b) { b["step"] = -1; });
  refused("a real step", [](json& b) { b["step"] = 2.5; });
  refused("another step", [](json& b) { b["step"] = 3; }, errc::checksum_mismatch);
  refused("a shape that overflows", [&](json& b) { tensor_named(b, "weight.embedding")["shape"] = {huge, huge}; });
  refused("a shape beyond all files", [&](json& b) { tensor_named(b, "weight.embedding")["shape"] = {huge / 8}; });
  refused("a shape larger than its parts", [&](json& b) { tensor_named(b, "weight.embedding")["shape"] = {3001}; });
  refused("nine dimensions", [&](json& b) { tensor_named(b, "scalar")["shape"] = std::vector<int>(9, 1); });
  refused("an unknown type", [&](json& b) { tensor_named(b, "half")["type"] = "f8"; });
  refused("a wider type than there are bytes", [&](json& b) { tensor_named(b, "weight.embedding")["type"] = "f64"; });
  refused("a name that leaves the folder", [&](json& b) { tensor_named(b, "empty")["name"] = "../x"; });
  refused("a name twice", [&](json& b) { b["tensors"].push_back(b["tensors"].back()); });
  refused("a shard that there is not", [&](json& b) { tensor_named(b, "random")["parts"][0]["shard"] = 2; });
  refused("a part before the tensors", [&](json& b) { tensor_named(b, "random")["parts"][0]["offset"] = 16; });
  refused("a part behind the end", [&](json& b) { tensor_named(b, "random")["parts"][0]["offset"] = huge / 4; });
  refused("an offset that wraps", [&](json& b) { tensor_named(b, "random")["parts"][0]["offset"] = ~std::uint64_t{0} - 7; });
  refused("two tensors in one place", [&](json& b) {
    tensor_named(b, "random")["parts"][0]["offset"] = tensor_named(b, "weight.embedding")["parts"][0]["offset"];
  });
  refused("no checksums", [&](json& b) { tensor_named(b, "random")["parts"][0]["first_block"] = 1000; });
  refused("a gap", [&](json& b) { tensor_named(b, "weight.embedding")["parts"].erase(0); });
  refused("parts that overlap", [&](json& b) { tensor_named(b, "weight.embedding")["parts"][1]["begin"] = 1499; });
  refused("a part backwards", [&](json& b) { std::swap(tensor_named(b, "random")["parts"][0]["begin"], tensor_named(b, "random")["parts"][0]["end"]); });
  refused("a head larger than the file", [](json& b) { b["shards"][0]["head_bytes"] = std::uint64_t{1} << 40; });
  refused("a head smaller than its seal", [](json& b) { b["shards"][0]["head_bytes"] = 100; });
  refused("a table larger than the head", [](json& b) { b["shards"][0]["table_blocks"] = std::uint64_t{1} << 60; });
  refused("another table", [](json& b) { b["shards"][0]["table_offset"] = 4096; }, errc::checksum_mismatch);
  refused("another head", [](json& b) { b["shards"][0]["head_xxh3_128"] = std::string(32, '0'); }, errc::checksum_mismatch);
  refused("no hash", [](json& b) { b["shards"][0]["head_xxh3_128"] = "zz"; });
  refused("shards exchanged", [](json& b) { std::swap(b["shards"][0]["head_xxh3_128"], b["shards"][1]["head_xxh3_128"]); }, errc::checksum_mismatch);
  refused("attributes that are no text", [](json& b) { b["attributes"] = json::object(); });
}

TEST_F(sharded_corruption, a_deep_manifest_needs_no_stack) {
  for (const std::size_t depth : {std::size_t{100}, std::size_t{1'000'000}}) {
    test::write_bytes(manifest(), "{\"body\":" + std::string(depth, '[') + std::string(depth, ']') + ",\"sha256\":\"\"}\n");
    EXPECT_EQ(sharded_checkpoint::open(newest()).error().code, errc::checksum_mismatch);
  }
}

TEST_F(sharded_corruption, thorough_verification_asks_hdf5_whether_it_agrees) {
  // A shard whose bytes, hashes and manifest are right, but whose HDF5 part tells something else.
  const auto layout = make_shard_layout({{"a", tensor_type::f32, {4, 2}, {2, 8}}, {"b", tensor_type::bf16, {3}, {0, 3}}}).value();
  const auto image = make_shard_image(layout).value();
  const auto path = folder_.path() / "shard.h5";
  ASSERT_TRUE(write_shard(path, layout, image, {1, 1}, 0, 1, {}, {}));
  const auto check = [&](auto change) {
    auto l = layout;
    change(l);
    const auto s = check_shard_structure(path, l.parts, l.placed, l.table_offset, l.table_blocks);
    return s ? std::string{} : s.error().what;
  };
  EXPECT_EQ(check([](shard_layout&) {}), "");
  EXPECT_THAT(check([](shard_layout& l) { l.parts[0].type = tensor_type::i32; }), HasSubstr("tensor a has another type"));
  EXPECT_THAT(check([](shard_layout& l) { l.parts[1].type = tensor_type::f16; }), HasSubstr("tensor b has another type"));
  EXPECT_THAT(check([](shard_layout& l) { l.parts[0].range = {0, 6}; }), HasSubstr("another slice"));
  EXPECT_THAT(check([](shard_layout& l) { l.parts[0].range = {1, 7}; }), HasSubstr("another type, shape")) << "not whole rows: flat";
  EXPECT_THAT(check([](shard_layout& l) { l.placed[0].offset += 8; }), HasSubstr("place"));
  EXPECT_THAT(check([](shard_layout& l) { l.placed[1].first_block = 0; }), HasSubstr("another slice"));
  EXPECT_THAT(check([](shard_layout& l) { l.parts[0].name = "c"; }), HasSubstr("named c"));
  EXPECT_THAT(check([](shard_layout& l) { l.parts.pop_back(); }), HasSubstr("2 tensors, the manifest 1"));
  EXPECT_THAT(check([](shard_layout& l) { l.table_blocks = 3; }), HasSubstr("tensor blocks"));
}

TEST(golden_shard, bytes_are_those_of_the_first_release) {
  const fs::path golden = fs::path{FLYWHEEL_SOURCE_DIR} / "tests/checkpoints/golden" / checkpoint_id{2, 7}.folder_name();
  const auto parts = [](std::uint32_t rank) {
    return std::vector<tensor_part>{{"w", tensor_type::f32, {3, 2}, rank == 0 ? element_range{0, 4} : element_range{4, 6}},
                                    {"b", tensor_type::bf16, {2}, rank == 0 ? element_range{0, 2} : element_range{2, 2}}};
  };
  test::scratch_folder folder;
  const auto store = sharded_store::begin(folder.path(), 2).value();
  const std::vector<float> w{1, 2, 3, 4, 5, 6};
  const std::vector<std::uint16_t> b{0x3f80, 0xc000}; // 1 and -2
  for (std::uint32_t rank = 0; rank < 2; ++rank) {
    saver_options o;
    o.rank = rank;
    o.ranks = 2;
    auto saver = checkpoint_saver::start(store, parts(rank), o).value();
    const auto whole_w = std::as_bytes(std::span{w}), whole_b = std::as_bytes(std::span{b});
    const std::vector<std::span<const std::byte>> state{rank == 0 ? whole_w.first(16) : whole_w.subspan(16), rank == 0 ? whole_b : whole_b.first(0)};
    ASSERT_TRUE(saver->save(7, R"({"a":1})", state));
    ASSERT_TRUE(saver->wait());
  }
  if (std::getenv("FLYWHEEL_WRITE_GOLDEN") != nullptr)
    fs::copy(store.folder_of_step(7), golden, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  for (const auto& name : {std::string{manifest_file_name}, shard_file_name(0, 2), shard_file_name(1, 2)})
    EXPECT_EQ(test::bytes_of(store.folder_of_step(7) / name), test::bytes_of(golden / name)) << name;
  const auto c = sharded_checkpoint::open(golden);
  ASSERT_TRUE(c) << c.error().to_string();
  EXPECT_EQ(c->read("w")->to<float>(), w);
  EXPECT_TRUE(c->verify());
  EXPECT_EQ(test::bytes_of(golden / shard_file_name(0, 2)).substr(0, 8), "FWSHRD\r\n");
}
