#include "checkpoints/checkpoint_file.hpp"
#include "checkpoints/checkpoint_store.hpp"
#include "checkpoints/hdf5_handle.hpp"
#include "tests/checkpoints/sample_checkpoint.hpp"

#include <gtest/gtest.h>

using namespace flywheel;
namespace fs = std::filesystem;

TEST(checkpoint_file, comes_back_to_the_bit_with_every_type_and_shape) {
  test::scratch_folder folder;
  const auto path = folder.path() / "c.h5";
  const auto c = test::sample_checkpoint(42, 1);
  ASSERT_TRUE(write_checkpoint(path, c));
  const auto read = read_checkpoint(path);
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(*read, c) << "tensors in the order they were written, values, shapes, attributes and step";
}

TEST(checkpoint_file, bears_the_empty_and_the_many) {
  test::scratch_folder folder;
  const auto path = folder.path() / "c.h5";
  checkpoint c;
  ASSERT_TRUE(write_checkpoint(path, c));
  EXPECT_EQ(read_checkpoint(path).value(), c);
  c.attributes.assign(200'000, 'x'); // beyond what an HDF5 attribute could hold
  for (int i = 0; i < 500; ++i)
    c.tensors.push_back(tensor::of(std::string("t") += std::to_string(i), std::vector<float>{static_cast<float>(i)}));
  ASSERT_TRUE(write_checkpoint(path, c)) << "writing over the one before";
  EXPECT_EQ(read_checkpoint(path).value(), c);
}

TEST(checkpoint_file, refuses_names_and_shapes_that_could_not_come_back) {
  test::scratch_folder folder;
  const auto path = folder.path() / "c.h5";
  const auto refused = [&](tensor t) {
    checkpoint c;
    c.tensors = {std::move(t)};
    const auto s = write_checkpoint(path, c);
    return !s && s.error().code == errc::invalid_argument && !fs::exists(path);
  };
  const std::vector<float> three{1, 2, 3};
  for (const std::string name : {"", ".", "a/b", "/a", "ä", "a b"})
    EXPECT_TRUE(refused(tensor::of(name, three))) << name;
  EXPECT_TRUE(refused(tensor::of(std::string(201, 'a'), three)));
  EXPECT_TRUE(refused({"a", tensor_type::f32, {4}, std::vector<std::byte>(12)}));
  EXPECT_TRUE(refused({"a", tensor_type::f32, {1ull << 32, 1ull << 32}, {}}));
  EXPECT_TRUE(refused({"a", tensor_type::f32, std::vector<std::uint64_t>(9, 1), std::vector<std::byte>(4)}));
  checkpoint twice;
  twice.tensors = {tensor::of("a", three), tensor::of("a", three)};
  EXPECT_FALSE(write_checkpoint(path, twice));
}

TEST(checkpoint_file, says_not_found_and_refuses_folders) {
  test::scratch_folder folder;
  EXPECT_EQ(read_checkpoint(folder.path() / "none.h5").error().code, errc::not_found);
  EXPECT_FALSE(read_checkpoint(folder.path()));
  EXPECT_FALSE(write_checkpoint(folder.path() / "no" / "folder.h5", {}));
}

TEST(checkpoint_file, bytes_are_those_of_the_page) {
  test::scratch_folder folder;
  const auto path = folder.path() / "c.h5";
  ASSERT_TRUE(write_checkpoint(path, test::sample_checkpoint(0x1122334455, 1)));
  const auto bytes = test::bytes_of(path);
  const auto number = [&](std::size_t at, std::size_t size) {
    std::uint64_t x = 0;
    for (std::size_t i = 0; i < size; ++i)
      x |= std::uint64_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
    return x;
  };
  EXPECT_EQ(bytes.substr(0, 8), "FWCKPT\r\n");
  EXPECT_EQ(number(8, 4), 1u);
  EXPECT_EQ(number(12, 4), 512u);
  EXPECT_EQ(number(16, 8), bytes.size());
  EXPECT_EQ(number(24, 8), 0x1122334455u);
  EXPECT_EQ(bytes.substr(56, 456), std::string(456, '\0'));
  EXPECT_EQ(bytes.substr(512, 8), "\x89HDF\r\n\x1a\n");
  EXPECT_EQ(number(520, 1), 3u) << "superblock version";
}

TEST(checkpoint_file, written_in_the_first_release_is_still_read) {
  // 2 x 3 floats 1..6 as "w", one u32 as "a.first", written by version 1 of the format.
  const auto c = read_checkpoint(fs::path{FLYWHEEL_SOURCE_DIR} / "tests/checkpoints/golden/version-1.h5");
  ASSERT_TRUE(c) << c.error().to_string();
  EXPECT_EQ(c->step, 7u);
  EXPECT_EQ(c->attributes, R"({"a":1})");
  ASSERT_EQ(c->tensors.size(), 2u);
  EXPECT_EQ(c->tensors[0].shape, (std::vector<std::uint64_t>{2, 3}));
  EXPECT_EQ(c->tensors[0].to<float>(), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(c->tensors[1].to<std::uint32_t>(), (std::vector<std::uint32_t>{9}));
}

TEST(checkpoint_file, equal_content_is_equal_bytes_whenever_it_is_written) {
  test::scratch_folder folder;
  const auto path = folder.path() / "c.h5";
  ASSERT_TRUE(write_checkpoint(path, test::sample_checkpoint(1, 1)));
  const hdf5::handle file{H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT)};
  for (const auto* name : {"/", "/tensors", "/tensors/weights", "/attributes"}) {
    H5O_info_t info{};
    ASSERT_GE(H5Oget_info_by_name2(file.get(), name, &info, H5O_INFO_TIME, H5P_DEFAULT), 0);
    EXPECT_EQ(info.mtime + info.ctime + info.btime, 0) << name << " carries a time";
  }
  ASSERT_TRUE(write_checkpoint(folder.path() / "again.h5", test::sample_checkpoint(1, 1)));
  EXPECT_EQ(test::bytes_of(path), test::bytes_of(folder.path() / "again.h5"));
}

TEST(checkpoint_store, keeps_the_last_two_and_finds_the_newest) {
  test::scratch_folder folder;
  auto store = checkpoint_store::open(folder.path() / "a" / "b").value();
  EXPECT_FALSE(store.latest().value().newest);
  for (std::uint64_t step = 1; step <= 5; ++step)
    ASSERT_TRUE(store.save(test::sample_checkpoint(step * 10, step)));
  EXPECT_EQ(store.steps().value(), (std::vector<std::uint64_t>{40, 50}));
  EXPECT_EQ(*store.latest().value().newest, test::sample_checkpoint(50, 5));
}

TEST(checkpoint_store, ignores_strangers_and_sweeps_what_a_killed_writer_left) {
  test::scratch_folder folder;
  for (const auto* name : {"step-1.h5", "step-00000000000x.h5", "notes.txt", "step-000000000007.h5.damaged"})
    std::ofstream(folder.path() / name) << "x";
  std::ofstream(folder.path() / "step-000000000009.h5.tmp-1-2") << "half";
  const auto store = checkpoint_store::open(folder.path()).value();
  EXPECT_TRUE(store.steps().value().empty());
  EXPECT_FALSE(fs::exists(folder.path() / "step-000000000009.h5.tmp-1-2"));
  EXPECT_TRUE(fs::exists(folder.path() / "notes.txt"));
}

TEST(retention_policy, table) {
  using steps = std::vector<std::uint64_t>;
  const struct { retention_rule rule; steps present, removed; } cases[] = {
      {{2, 0}, {}, {}},
      {{2, 0}, {7}, {}},
      {{2, 0}, {3, 1, 2}, {1}},
      {{1, 0}, {1, 2, 3}, {1, 2}},
      {{0, 0}, {1, 2}, {1}},                      // never all of them
      {{1, 10}, {5, 10, 15, 20, 25}, {5, 15}},    // every tenth stays
  };
  for (const auto& c : cases)
    EXPECT_EQ(steps_to_remove(c.rule, c.present), c.removed);
}
