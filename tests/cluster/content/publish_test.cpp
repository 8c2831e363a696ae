#include "cluster/content/publish.hpp"

#include "tests/cluster/content/scratch.hpp"

#include <csignal>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace flywheel;
namespace fs = std::filesystem;
using flywheel::testing::entries;
using flywheel::testing::scratch;
using flywheel::testing::slurp;
using flywheel::testing::spill;

namespace {

/// Runs `body` in a child in which every write beyond `limit` bytes of a file fails, as on a full disk (EFBIG, which
/// is told as disk_full like ENOSPC). Works everywhere, without root. Returns body's verdict.
bool on_a_full_disk(rlim_t limit, const std::function<bool()>& body) {
  const auto child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit r{limit, limit};
    if (::setrlimit(RLIMIT_FSIZE, &r) != 0)
      ::_exit(2);
    ::_exit(body() ? 0 : 1);
  }
  int how = 0;
  return ::waitpid(child, &how, 0) == child && WIFEXITED(how) && WEXITSTATUS(how) == 0;
}

} // namespace

TEST(publish_file, appears_whole_and_replaces_whole) {
  const scratch dir;
  ASSERT_TRUE(publish_file(dir / "f", "one"));
  EXPECT_EQ(slurp(dir / "f"), "one");
  ASSERT_TRUE(publish_file(dir / "f", ""));
  EXPECT_EQ(slurp(dir / "f"), "");
  const std::string big(5u << 20, 'z');
  ASSERT_TRUE(publish_file(dir / "f", big));
  EXPECT_EQ(slurp(dir / "f"), big);
  EXPECT_EQ(entries(dir.path()), 1u);
}

TEST(publish_file, a_full_disk_leaves_the_old_file_and_nothing_else) {
  const scratch dir;
  ASSERT_TRUE(publish_file(dir / "f", "old"));
  EXPECT_TRUE(on_a_full_disk(4096, [&] {
    const auto s = publish_file(dir / "f", std::string(100'000, 'x'));
    return !s && s.error().code == errc::disk_full;
  }));
  EXPECT_EQ(slurp(dir / "f"), "old");
  EXPECT_EQ(entries(dir.path()), 1u);
}

TEST(publish_file, a_truly_full_file_system_leaves_nothing_behind) {
  const scratch dir;
  if (::mount("none", dir.path().c_str(), "tmpfs", 0, "size=64k") != 0)
    GTEST_SKIP() << "SKIPPED publish_file on a full tmpfs: mounting needs root; the RLIMIT_FSIZE variant ran";
  const auto s = publish_file(dir / "f", std::string(1'000'000, 'x'));
  EXPECT_EQ(s.error().code, errc::disk_full);
  EXPECT_EQ(entries(dir.path()), 0u);
  EXPECT_TRUE(publish_file(dir / "g", "there is room again"));
  ::umount(dir.path().c_str());
}

TEST(publish_file, says_what_is_wrong) {
  const scratch dir;
  EXPECT_EQ(publish_file(dir / "no/f", "x").error().code, errc::not_found);
  EXPECT_EQ(publish_file(dir.path().string() + "/", "x").error().code, errc::invalid_argument);
  fs::create_directory(dir / "d");
  spill(dir / "d/keep", "x");
  EXPECT_FALSE(publish_file(dir / "d", "x"));
  EXPECT_EQ(slurp(dir / "d/keep"), "x");
  EXPECT_EQ(entries(dir.path()), 1u); // the failed attempts left no temporary
}

TEST(publish_with, the_error_of_fill_is_returned_and_its_file_removed) {
  const scratch dir;
  fs::path seen;
  const auto s = publish_with(dir / "f", [&](const fs::path& temporary) -> status {
    seen = temporary;
    spill(temporary, "half");
    return error{errc::cancelled, "changed my mind"};
  });
  EXPECT_EQ(s.error().code, errc::cancelled);
  EXPECT_EQ(seen.parent_path(), dir.path());
  EXPECT_NE(seen.filename().string().find(".tmp-"), std::string::npos);
  EXPECT_EQ(entries(dir.path()), 0u);
  EXPECT_EQ(publish_with(dir / "f", [](const fs::path&) { return success(); }).error().code, errc::not_found);
  EXPECT_THROW((void)publish_with(dir / "f",
                                  [](const fs::path& temporary) -> status {
                                    spill(temporary, "half");
                                    throw 1;
                                  }),
               int);
  EXPECT_EQ(entries(dir.path()), 0u);
}

TEST(publish_with, a_kill_at_any_moment_leaves_the_old_or_the_new_whole) {
  const scratch dir;
  const std::string a(200'000, 'a');
  const std::string b(300'000, 'b');
  ASSERT_TRUE(publish_file(dir / "f", a));
  for (int round = 0; round < 10; ++round) {
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const auto child = ::fork();
    if (child == 0) {
      for (int i = 0;; ++i) {
        if (!publish_file(dir / "f", i % 2 ? a : b))
          ::_exit(1);
        if (i == round && ::write(ready[1], "r", 1) != 1)
          ::_exit(1);
      }
    }
    char c = 0;
    ASSERT_EQ(::read(ready[0], &c, 1), 1); // the child is in the middle of its work
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(ready[0]);
    ::close(ready[1]);
    const auto now = slurp(dir / "f");
    EXPECT_TRUE(now == a || now == b) << now.size();
  }
  ASSERT_TRUE(sweep_temporaries(dir.path()));
  EXPECT_EQ(entries(dir.path()), 1u);
}

TEST(publish_with, threads_that_publish_one_name_do_not_mix) {
  const scratch dir;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i)
        EXPECT_TRUE(publish_file(dir / "f", std::string(10'000, static_cast<char>('a' + t))));
    });
  for (auto& t : threads)
    t.join();
  const auto bytes = slurp(dir / "f");
  EXPECT_EQ(bytes, std::string(10'000, bytes.at(0)));
  EXPECT_EQ(entries(dir.path()), 1u);
}

TEST(publish_folder, appears_whole_and_never_changes) {
  const scratch dir;
  const auto fill = [](const fs::path& temporary) -> status {
    fs::create_directories(temporary / "a/b");
    spill(temporary / "a/b/f", "deep");
    spill(temporary / "top", "flat");
    fs::create_symlink("top", temporary / "link");
    return success();
  };
  ASSERT_TRUE(publish_folder(dir / "v1", fill));
  EXPECT_EQ(slurp(dir / "v1/a/b/f"), "deep");
  EXPECT_EQ(slurp(dir / "v1/link"), "flat");
  bool asked = false;
  const auto again = publish_folder(dir / "v1", [&](const fs::path&) { asked = true; return success(); });
  EXPECT_EQ(again.error().code, errc::already_exists);
  EXPECT_FALSE(asked);
  EXPECT_EQ(entries(dir.path()), 1u);
}

TEST(publish_folder, the_slower_of_two_publishers_is_told_and_leaves_nothing) {
  const scratch dir;
  const auto s = publish_folder(dir / "v1", [&](const fs::path& temporary) -> status {
    spill(temporary / "f", "slow");
    return publish_folder(dir / "v1", [](const fs::path& inner) -> status {
      spill(inner / "f", "quick");
      return success();
    });
  });
  EXPECT_EQ(s.error().code, errc::already_exists);
  EXPECT_EQ(slurp(dir / "v1/f"), "quick");
  EXPECT_EQ(entries(dir.path()), 1u);
  // An empty folder at the target counts as taken too: rename(2) alone would replace it.
  EXPECT_EQ(publish_folder(dir / "v2", [&](const fs::path&) -> status {
              fs::create_directory(dir / "v2");
              return success();
            }).error().code,
            errc::already_exists);
}

TEST(publish_folder, refuses_what_is_not_a_file_and_cleans_up) {
  const scratch dir;
  const auto s = publish_folder(dir / "v1", [](const fs::path& temporary) -> status {
    return ::mkfifo((temporary / "pipe").c_str(), 0600) == 0 ? success() : status{errc::internal, "mkfifo"};
  });
  EXPECT_EQ(s.error().code, errc::unsupported);
  EXPECT_EQ(entries(dir.path()), 0u);
}

TEST(read_file, reads_whole_files_and_keeps_its_limit) {
  const scratch dir;
  const std::string bytes(100'000, 'q');
  spill(dir / "f", bytes);
  EXPECT_EQ(*read_file(dir / "f", 100'000), bytes);
  EXPECT_EQ(read_file(dir / "f", 99'999).error().code, errc::too_large);
  spill(dir / "empty", "");
  EXPECT_EQ(*read_file(dir / "empty", 0), "");
  EXPECT_EQ(read_file(dir / "none", 10).error().code, errc::not_found);
  EXPECT_EQ(read_file(dir.path(), 10).error().code, errc::invalid_argument);
  EXPECT_GT(read_file("/proc/self/status", 1u << 20)->size(), 100u); // announces a size of 0
  EXPECT_EQ(read_file("/proc/self/status", 10).error().code, errc::too_large);
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(read_file(dir / "pipe", 10).error().code, errc::invalid_argument); // and does not wait for a writer
}

TEST(sweep_temporaries, removes_leftovers_only) {
  const scratch dir;
  fs::create_directories(dir / "data/v1.tmp-1-2/sub");
  spill(dir / "data/v1.tmp-1-2/sub/f", "x");
  spill(dir / "data/f.tmp-77-0", "x");
  spill(dir / "data/f", "keep");
  fs::create_directory(dir / "outside");
  spill(dir / "outside/g.tmp-1-1", "elsewhere");
  fs::create_directory_symlink(dir / "outside", dir / "data/link");
  EXPECT_EQ(*sweep_temporaries(dir / "data"), 2u);
  EXPECT_EQ(entries(dir / "data"), 2u);
  EXPECT_TRUE(fs::exists(dir / "outside/g.tmp-1-1")); // links are not followed
  EXPECT_EQ(*sweep_temporaries(dir / "data"), 0u);
  EXPECT_EQ(sweep_temporaries(dir / "none").error().code, errc::not_found);
}
