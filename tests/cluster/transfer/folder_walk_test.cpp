#include "cluster/transfer/folder_walk.hpp"

#include "cluster/content/publish.hpp"
#include "tests/cluster/transfer/places.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace flywheel;
using namespace flywheel::transfer;
namespace fs = std::filesystem;

TEST(folder_walk, every_file_is_found_in_order_and_temporary_ones_are_not_seen) {
  const places p;
  p.write("a/z", "1");
  p.write("a/b/c", "22");
  p.write("a/b.h5", "333");
  p.write("a/x.tmp-1-2", "no");
  p.write("a/y.tmp-put-9/file", "no");
  const auto root = open_folder(p.root / "a");
  ASSERT_TRUE(root);
  const auto found = files_beneath(root->get());
  ASSERT_TRUE(found) << found.error().to_string();
  std::vector<std::string> names;
  for (const auto& f : *found)
    names.push_back(f.name + ":" + std::to_string(f.state.size));
  EXPECT_EQ(names, (std::vector<std::string>{"b.h5:3", "b/c:2", "z:1"}));
}

TEST(folder_walk, no_link_is_followed_wherever_it_stands) {
  const places p;
  p.write("secret/key", "hidden");
  p.write("root/file", "x");
  fs::create_directory_symlink(p.root / "secret", p.root / "root" / "folder");
  const auto root = open_folder(p.root / "root");
  ASSERT_TRUE(root);
  EXPECT_EQ(open_beneath(root->get(), "folder/key", O_RDONLY).error().code, errc::not_allowed);
  EXPECT_EQ(files_beneath(root->get()).error().code, errc::not_allowed);
  EXPECT_EQ(open_folder_beneath(root->get(), "folder", true).error().code, errc::not_allowed);
  fs::remove(p.root / "root" / "folder");
  fs::create_symlink(p.root / "secret" / "key", p.root / "root" / "link");
  EXPECT_EQ(open_beneath(root->get(), "link", O_RDONLY).error().code, errc::not_allowed);
  EXPECT_EQ(open_beneath(root->get(), "link", O_RDWR | O_CREAT).error().code, errc::not_allowed);
  EXPECT_EQ(open_beneath(root->get(), "../secret/key", O_RDONLY).error().code, errc::not_allowed);
  EXPECT_EQ(open_beneath(root->get(), (p.root / "secret/key").string(), O_RDONLY).error().code, errc::not_allowed);
  EXPECT_EQ(p.read("secret/key"), "hidden");
}

TEST(folder_walk, pipes_and_folders_are_no_files_and_block_nobody) {
  const places p;
  p.write("root/sub/x", "x");
  ASSERT_EQ(::mkfifo((p.root / "root" / "pipe").c_str(), 0600), 0);
  const auto root = open_folder(p.root / "root");
  ASSERT_TRUE(root);
  EXPECT_FALSE(open_beneath(root->get(), "pipe", O_RDONLY));
  EXPECT_FALSE(open_beneath(root->get(), "sub", O_RDONLY));
  EXPECT_EQ(open_beneath(root->get(), "none", O_RDONLY).error().code, errc::not_found);
  EXPECT_EQ(files_beneath(root->get()).error().code, errc::not_allowed);
}

TEST(folder_walk, a_digest_is_of_the_whole_file_wherever_it_was_read_before) {
  const places p;
  const std::string big(3'000'001, 'b');
  p.write("f", big);
  const auto file = open_file(p.root / "f", O_RDONLY);
  ASSERT_TRUE(file);
  ::lseek(file->get(), 100, SEEK_SET);
  EXPECT_EQ(*digest_of_descriptor(file->get(), "f"), flywheel::digest_of(big));
  int asked = 0;
  EXPECT_EQ(digest_of_descriptor(file->get(), "f", [&] { return ++asked > 1; }).error().code, errc::interrupted);
  EXPECT_EQ(split_name("a/b/c"), (std::pair<std::string_view, std::string_view>{"a/b", "c"}));
  EXPECT_EQ(split_name("c"), (std::pair<std::string_view, std::string_view>{"", "c"}));
}
