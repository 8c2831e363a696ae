#include "cluster/base/json.hpp"
#include "cluster/dataset/snapshot.hpp"

#include "cluster/content/publish.hpp"
#include "cluster/dataset/table_format.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

using namespace flywheel;
namespace fs = std::filesystem;

namespace {

struct snapshot : testing::Test {
  fs::path root;
  seal_private_key key = *seal_private_key::generate();
  fs::path folder;

  table part(double first) {
    table t;
    t.row_ids = {1, 2};
    t.columns.push_back({"x", column_type::numeric, {first, 2}, {}, {}});
    t.columns.push_back({"y", column_type::categorical, {}, {0, 1}, {"no", "yes"}});
    return t;
  }

  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "flywheel-test-XXXXXX").string();
    root = ::mkdtemp(name.data());
    const std::string train = encode_table(part(1)), holdout = encode_table(part(5));
    const std::string profile = to_json(build_profile(part(1), "y")).dump();
    snapshot_report report;
    report.features = {"x"};
    report.findings.push_back({"leak", severity::problem, "x", "text", "advice", true});
    snapshot_info info;
    info.source = "/data/x.csv";
    info.source_sha256 = "s";
    info.target = "y";
    info.task = "binary";
    info.classes = {"no", "yes"};
    info.features = {"x"};
    info.split = "tail";
    info.train_rows = info.holdout_rows = 2;
    info.holdout_sha256 = digest_of(holdout).hex();
    info.sealed_for = key.public_key().hex();
    info.files = {{"train.fwt", digest_of(train).hex()}, {"profile.json", digest_of(profile).hex()},
                  {"quarantine.jsonl", digest_of("").hex()}};
    info.name = snapshot_name_of(info);
    const std::string sealed = *seal(key.public_key(), holdout, info.name), said = to_json(report).dump();
    info.files["holdout.sealed"] = digest_of(sealed).hex();
    info.files["report.json"] = digest_of(said).hex();
    folder = root / info.name;
    fs::create_directories(folder);
    ASSERT_TRUE(publish_file(folder / "train.fwt", train));
    ASSERT_TRUE(publish_file(folder / "profile.json", profile));
    ASSERT_TRUE(publish_file(folder / "quarantine.jsonl", ""));
    ASSERT_TRUE(publish_file(folder / "holdout.sealed", sealed));
    ASSERT_TRUE(publish_file(folder / "report.json", said));
    ASSERT_TRUE(publish_file(folder / "snapshot.json", encode_snapshot_info(info)));
  }
  void TearDown() override { fs::remove_all(root); }
};

} // namespace

TEST_F(snapshot, a_whole_one_is_read_by_everyone_but_the_held_out_rows_only_by_the_key) {
  EXPECT_TRUE(verify_snapshot(folder));
  EXPECT_EQ(load_train(folder)->columns[0].numbers[0], 1);
  EXPECT_EQ(load_profile(folder)->rows, 2u);
  const auto report = load_report(folder);
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(report->findings.at(0).level, severity::problem);
  EXPECT_EQ(report->snapshot, folder.filename().string());
  EXPECT_EQ(open_holdout(folder, key)->columns[0].numbers[0], 5);
  const auto stranger = seal_private_key::generate();
  EXPECT_EQ(open_holdout(folder, *stranger).error().code, errc::checksum_mismatch);
}

TEST_F(snapshot, every_flipped_byte_of_snapshot_json_is_reported) {
  const std::string bytes = *read_file(folder / "snapshot.json", 1 << 20);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << (i % 8)));
    EXPECT_FALSE(decode_snapshot_info(damaged)) << "byte " << i;
  }
  EXPECT_FALSE(decode_snapshot_info(bytes + " "));
  EXPECT_FALSE(decode_snapshot_info(bytes.substr(0, bytes.size() - 1)));
}

TEST_F(snapshot, damage_to_any_file_is_reported_with_its_name) {
  for (const std::string file : {"train.fwt", "profile.json", "holdout.sealed", "report.json"}) {
    const std::string bytes = *read_file(folder / file, 1 << 20);
    std::string damaged = bytes;
    damaged[damaged.size() / 2] = static_cast<char>(damaged[damaged.size() / 2] ^ 4);
    ASSERT_TRUE(publish_file(folder / file, damaged));
    const auto verdict = verify_snapshot(folder);
    ASSERT_FALSE(verdict) << file;
    EXPECT_EQ(verdict.error().code, errc::checksum_mismatch);
    EXPECT_EQ(verdict.error().what, file);
    EXPECT_EQ(load_train(folder).has_value(), file != "train.fwt");
    EXPECT_EQ(load_profile(folder).has_value(), file != "profile.json");
    EXPECT_EQ(load_report(folder).has_value(), file != "report.json");
    EXPECT_EQ(open_holdout(folder, key).has_value(), file != "holdout.sealed");
    ASSERT_TRUE(publish_file(folder / file, bytes));
  }
  fs::remove(folder / "train.fwt");
  EXPECT_EQ(load_train(folder).error().code, errc::not_found);
}

TEST_F(snapshot, another_snapshots_files_are_not_taken_for_its_own) {
  // The held-out box of one snapshot, its digest corrected in snapshot.json, is refused by the other's context.
  auto info = *load_snapshot_info(folder);
  const std::string foreign = *seal(key.public_key(), encode_table(part(5)), "another name");
  info.files["holdout.sealed"] = digest_of(foreign).hex();
  ASSERT_TRUE(publish_file(folder / "holdout.sealed", foreign));
  ASSERT_TRUE(publish_file(folder / "snapshot.json", encode_snapshot_info(info)));
  EXPECT_EQ(open_holdout(folder, key).error().code, errc::checksum_mismatch);
  // Training rows exchanged and the digest corrected: the snapshot's name no longer fits.
  const std::string other = encode_table(part(9));
  info.files["train.fwt"] = digest_of(other).hex();
  ASSERT_TRUE(publish_file(folder / "train.fwt", other));
  ASSERT_TRUE(publish_file(folder / "snapshot.json", encode_snapshot_info(info)));
  EXPECT_EQ(load_train(folder).error().code, errc::checksum_mismatch);
}
