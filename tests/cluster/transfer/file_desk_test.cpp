// What the file server does for a node, without the network: every hostile request there is.

#include "cluster/transfer/file_desk.hpp"

#include "tests/cluster/transfer/places.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <sys/resource.h>

using namespace flywheel;
using namespace flywheel::transfer;
using testing::HasSubstr;
namespace fs = std::filesystem;

namespace {

struct at_the_desk : ::testing::Test {
  at_the_desk() {
    p.write("in/table", "0123456789");
    p.write("in/folder/a", "aa");
    fs::create_directories(p.root / "job");
    book->admit("a", "key");
    grant_to(7);
  }
  void grant_to(std::uint64_t number) const { book->put(number, {"a", "task", {p.root / "in/table", p.root / "in/folder"}, p.root / "job", {"t"}, {"t.model"}}); }
  reply ask(op is, std::uint64_t root, const std::string& name, std::uint64_t offset = 0, std::uint64_t size = 0, const std::string& bytes = {}, const digest& sha = {}) {
    request r;
    r.is = is;
    r.id = 3;
    r.lease = lease;
    r.root = root;
    r.name = name;
    r.offset = offset;
    r.size = size;
    r.bytes = bytes;
    r.sha256 = sha;
    return desk.carry_out("a", r);
  }
  errc bring(std::uint64_t root, const std::string& name, const std::string& bytes) {
    for (const auto& r : {ask(op::begin, root, name, 0, bytes.size()), ask(op::put, root, name, 0, 0, bytes)})
      if (r.problem.code != errc::ok && !bytes.empty())
        return r.problem.code;
    return ask(op::publish, root, name, 0, bytes.size(), {}, flywheel::digest_of(bytes)).problem.code;
  }
  std::uint64_t lease = 7;
  places p;
  std::shared_ptr<grant_book> book = std::make_shared<grant_book>();
  file_desk desk{book};
};

} // namespace

TEST_F(at_the_desk, inputs_are_listed_and_read_in_any_part) {
  const auto table = ask(op::list, 0, "");
  ASSERT_EQ(table.problem.code, errc::ok) << table.problem.to_string();
  EXPECT_EQ(table.id, 3U);
  EXPECT_EQ(*files_from(table.bytes), (std::vector<file_entry>{{"", 10, flywheel::digest_of("0123456789")}}));
  EXPECT_EQ(*files_from(ask(op::list, 1, "").bytes), (std::vector<file_entry>{{"a", 2, flywheel::digest_of("aa")}}));
  EXPECT_TRUE(files_from(ask(op::list, 1, "a").bytes)->empty()) << "behind the last";
  EXPECT_EQ(ask(op::read, 0, "", 3, 4).bytes, "3456");
  EXPECT_EQ(ask(op::read, 0, "", 8, 100).bytes, "89");
  EXPECT_EQ(ask(op::read, 0, "", 100, 100).bytes, "");
  EXPECT_EQ(ask(op::read, 0, "", ~std::uint64_t{0}, 100).bytes, "");
  EXPECT_EQ(ask(op::read, 1, "a", 0, 2).bytes, "aa");
  EXPECT_EQ(ask(op::read, 0, "", 0, chunk_bytes_max + 1).problem.code, errc::too_large);
  p.write("in/table", "other, and longer");
  EXPECT_EQ(files_from(ask(op::list, 0, "").bytes)->front().sha256, flywheel::digest_of("other, and longer")) << "a changed file is looked at anew";
}

TEST_F(at_the_desk, nothing_is_read_or_written_beyond_the_grant) {
  p.write("job/other/secret", "s");
  p.write("secret", "s");
  for (const char* name : {"../secret", "/etc/passwd", "..", "a/../../secret", "sub/../../../secret"}) {
    EXPECT_EQ(ask(op::read, 1, name, 0, 1).problem.code, errc::not_allowed) << name;
    EXPECT_EQ(ask(op::begin, 2, name, 0, 1).problem.code, errc::not_allowed) << name;
    EXPECT_EQ(ask(op::remove, 2, name).problem.code, errc::not_allowed) << name;
  }
  EXPECT_EQ(ask(op::begin, 0, "x", 0, 1).problem.code, errc::not_allowed) << "inputs are only read";
  EXPECT_EQ(ask(op::remove, 1, "a").problem.code, errc::not_allowed);
  EXPECT_EQ(ask(op::finish, 2, "").problem.code, errc::not_allowed);
  EXPECT_EQ(ask(op::read, 9, "", 0, 1).problem.code, errc::invalid_argument);
  EXPECT_EQ(ask(op::begin, 2, "x.tmp-put-9", 0, 1).problem.code, errc::not_allowed) << "nobody writes under a temporary name";
  fs::create_directory_symlink(p.root / "job/other", p.root / "job/t"); // a worker of the head's may have put it there
  EXPECT_EQ(ask(op::list, 2, "").problem.code, errc::not_allowed);
  EXPECT_EQ(ask(op::read, 2, "secret", 0, 1).problem.code, errc::not_allowed);
  EXPECT_EQ(ask(op::begin, 2, "x", 0, 1).problem.code, errc::not_allowed);
  EXPECT_EQ(p.tree("job/other"), "secret ");
}

TEST_F(at_the_desk, a_file_appears_when_it_is_whole_and_not_before) {
  const std::string bytes = "checkpoint";
  EXPECT_EQ(ask(op::begin, 2, "step-1.h5", 0, bytes.size()).offset, 0U);
  EXPECT_EQ(ask(op::put, 2, "step-1.h5", 0, 0, bytes.substr(0, 4)).offset, 4U);
  EXPECT_TRUE(files_from(ask(op::list, 2, "").bytes)->empty());
  EXPECT_EQ(ask(op::begin, 2, "step-1.h5", 0, bytes.size()).offset, 4U) << "after a broken connection";
  EXPECT_EQ(ask(op::put, 2, "step-1.h5", 0, 0, bytes.substr(0, 4)).problem.code, errc::ok) << "told a second time";
  EXPECT_EQ(ask(op::put, 2, "step-1.h5", 5, 0, "x").problem.code, errc::protocol_violation) << "a gap";
  EXPECT_EQ(ask(op::publish, 2, "step-1.h5", 0, bytes.size(), {}, flywheel::digest_of(bytes)).problem.code, errc::checksum_mismatch) << "a part is not the whole";
  EXPECT_EQ(bring(2, "step-1.h5", bytes), errc::ok);
  EXPECT_EQ(p.read("job/t/step-1.h5"), bytes);
  EXPECT_EQ(ask(op::publish, 2, "step-1.h5", 0, bytes.size(), {}, flywheel::digest_of(bytes)).problem.code, errc::ok) << "told a second time";
  EXPECT_EQ(bring(2, "sub/empty", ""), errc::ok);
  EXPECT_EQ(p.read("job/t/sub/empty"), "");
  EXPECT_EQ(ask(op::begin, 2, "wrong", 0, 3).problem.code, errc::ok);
  EXPECT_EQ(ask(op::put, 2, "wrong", 0, 0, "abc").problem.code, errc::ok);
  EXPECT_EQ(ask(op::publish, 2, "wrong", 0, 3, {}, flywheel::digest_of("abd")).problem.code, errc::checksum_mismatch);
  EXPECT_EQ(p.tree("job/t"), "step-1.h5 sub sub/empty ") << "and what was wrong is gone";
  EXPECT_EQ(ask(op::remove, 2, "step-1.h5").problem.code, errc::ok);
  EXPECT_EQ(ask(op::remove, 2, "step-1.h5").problem.code, errc::ok);
  EXPECT_FALSE(p.has("job/t/step-1.h5"));
}

TEST_F(at_the_desk, a_result_appears_as_a_whole_folder_and_replaces_a_damaged_one) {
  p.write("job/t.model/half", "h");
  EXPECT_EQ(bring(3, "weights", "ww"), errc::ok);
  EXPECT_EQ(bring(3, "about/name", "n"), errc::ok);
  EXPECT_EQ(p.tree("job/t.model"), "half ");
  const std::vector<file_entry> files{{"about/name", 1, flywheel::digest_of("n")}, {"weights", 2, flywheel::digest_of("ww")}};
  EXPECT_EQ(ask(op::finish, 3, "", 0, 2, {}, flywheel::digest_of("else")).problem.code, errc::checksum_mismatch);
  EXPECT_EQ(p.tree("job/t.model"), "half ");
  EXPECT_EQ(bring(3, "weights", "ww"), errc::ok);
  EXPECT_EQ(bring(3, "about/name", "n"), errc::ok);
  EXPECT_EQ(ask(op::finish, 3, "", 0, 2, {}, transfer::digest_of(files)).problem.code, errc::ok);
  EXPECT_EQ(ask(op::finish, 3, "", 0, 2, {}, transfer::digest_of(files)).problem.code, errc::ok) << "told a second time";
  EXPECT_EQ(p.tree("job"), "t.model t.model/about t.model/about/name t.model/weights ");
}

TEST_F(at_the_desk, a_lease_that_is_over_publishes_nothing_and_the_next_one_sweeps_up) {
  EXPECT_EQ(ask(op::begin, 2, "f", 0, 1).problem.code, errc::ok);
  EXPECT_EQ(ask(op::put, 2, "f", 0, 0, "x").problem.code, errc::ok);
  EXPECT_EQ(ask(op::begin, 3, "f", 0, 1).problem.code, errc::ok);
  book->keep_only([](std::uint64_t, const grant&) { return false; });
  for (const auto is : {op::list, op::read, op::begin, op::put, op::publish, op::remove, op::finish})
    EXPECT_EQ(ask(is, 2, is == op::list || is == op::finish ? "" : "f", 0, 1, is == op::put ? "y" : "", flywheel::digest_of("x")).problem.code, errc::stale_epoch) << name_of(is);
  EXPECT_FALSE(p.has("job/t/f"));
  grant_to(8);
  lease = 8;
  EXPECT_TRUE(files_from(ask(op::list, 2, "").bytes)->empty());
  EXPECT_TRUE(files_from(ask(op::list, 3, "").bytes)->empty());
  EXPECT_EQ(p.tree("job"), "t ") << "nothing is left of the older one";
  EXPECT_EQ(ask(op::begin, 2, "f", 0, 1).offset, 0U);
}

TEST_F(at_the_desk, no_lease_brings_more_than_its_share_and_a_full_disk_is_told) {
  file_desk small{book, {5}};
  request r;
  r.is = op::begin;
  r.lease = 7;
  r.root = 2;
  r.name = "f";
  r.size = 100;
  EXPECT_EQ(small.carry_out("a", r).problem.code, errc::ok);
  r.is = op::put;
  r.bytes = "123456";
  EXPECT_EQ(small.carry_out("a", r).problem.code, errc::too_large);
  // A limit on the size of files stands for a full disk.
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const auto old = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit tiny{1000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tiny), 0);
  const std::string bytes(4000, 'x');
  EXPECT_EQ(ask(op::begin, 2, "g", 0, bytes.size()).problem.code, errc::ok);
  const auto full = ask(op::put, 2, "g", 0, 0, bytes);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old);
  EXPECT_NE(full.problem.code, errc::ok);
  EXPECT_THAT(full.problem.what, HasSubstr("the head cannot write it"));
  EXPECT_THAT(full.problem.where, HasSubstr("g"));
  EXPECT_EQ(p.tree("job/t").find("g"), std::string::npos) << "its space is given back";
}

TEST_F(at_the_desk, a_long_listing_comes_in_parts) {
  for (int i = 0; i < 3000; ++i)
    p.write("in/folder/" + std::string(190, 'f') + std::to_string(100'000 + i), "");
  std::vector<file_entry> all;
  int parts = 0;
  for (bool more = true; more; ++parts) {
    const auto r = ask(op::list, 1, all.empty() ? "" : all.back().name);
    ASSERT_EQ(r.problem.code, errc::ok);
    const auto files = files_from(r.bytes);
    ASSERT_TRUE(files);
    all.insert(all.end(), files->begin(), files->end());
    more = r.more;
  }
  EXPECT_EQ(all.size(), 3001U);
  EXPECT_GT(parts, 1);
}
