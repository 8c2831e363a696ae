// The hands on one node: what they promise when somebody kills the launcher or the keeper itself.

#include "cluster/base/text.hpp"
#include "cluster/gang/rank_keeper.hpp"
#include "cluster/gang/rank_launcher.hpp"
#include "cluster/worker/lease_page.hpp"
#include "tests/cluster/gang/gang_fixture.hpp"

#include <sys/wait.h>

namespace flywheel::testing {
namespace {

using ::testing::HasSubstr;

class launcher : public gang_under_test {
protected:
  rank_launcher_options options(int ranks) const {
    rank_launcher_options o;
    o.host = "here";
    o.ranks = ranks;
    o.keeper_command = {FLYWHEEL_TEST_RANK, "_keep"};
    return o;
  }
  static rank_command command(int rank, std::uint64_t attempt, std::vector<std::string> words) {
    words.insert(words.begin(), FLYWHEEL_TEST_RANK);
    return {rank, attempt, std::move(words), {"RANK=" + std::to_string(rank), "FLYWHEEL_ATTEMPT=" + std::to_string(attempt)}, "", 0};
  }
  /// Waits until an observation satisfies the condition; keeps all.
  template <class F> bool until(rank_launcher& l, const F& condition) {
    return soon([&] {
      for (auto& o : l.wait(100ms))
        seen_.push_back(std::move(o));
      return std::any_of(seen_.begin(), seen_.end(), condition);
    });
  }
  template <class T> static bool is_rank(const gang_observation& o, int rank, std::uint64_t attempt) {
    const auto* r = std::get_if<rank_observation>(&o);
    return r != nullptr && r->rank == rank && r->attempt == attempt && std::holds_alternative<T>(r->what);
  }
  std::vector<gang_observation> seen_;
};

TEST(rank_keeper, a_plan_reads_back_as_it_was) {
  rank_command c;
  c.arguments = {"train.py", "", "a\nb", "--lr=1"};
  c.environment = {"A=1", "B="};
  c.folder = "/tmp";
  const auto text = encode_plan("/usr/bin/python3", c);
  ASSERT_TRUE(text);
  const auto plan = decode_plan(*text);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->program, "/usr/bin/python3");
  EXPECT_EQ(plan->folder, "/tmp");
  EXPECT_EQ(plan->arguments, c.arguments);
  EXPECT_EQ(plan->environment, c.environment);
  for (std::size_t cut = 0; cut < text->size(); ++cut)
    if (const auto part = decode_plan(text->substr(0, cut))) {
      EXPECT_EQ(part->arguments, c.arguments) << "only the environment may be shorter";
    }
  c.environment = {std::string("A=\0b", 4)};
  EXPECT_EQ(encode_plan("x", c).error().code, errc::invalid_argument);
  c.environment = {std::string(3 << 20, 'x')};
  EXPECT_EQ(encode_plan("x", c).error().code, errc::too_large);
  EXPECT_FALSE(decode_plan("nonsense"));
  EXPECT_FALSE(decode_plan(std::string("a\0b\0x9\0", 7)));
}

TEST_F(launcher, observations_are_values_that_a_head_elsewhere_can_judge) {
  auto l = rank_launcher::start(options(2), {});
  ASSERT_TRUE(l) << l.error().to_string();
  for (int r : {0, 1})
    ASSERT_TRUE((*l)->start_rank(command(r, 1, {"steps=3", "wait=60", "r1:exit=7", "hang"})));
  ASSERT_TRUE(until(**l, [](const auto& o) { return is_rank<rank_ended>(o, 1, 1); }));
  std::uint64_t steps = 0;
  for (const auto& o : seen_)
    if (is_rank<rank_seen>(o, 1, 1)) {
      const auto& s = std::get<rank_seen>(std::get<rank_observation>(o).what);
      steps = s.report.steps;
      EXPECT_GE(s.finished_ago.count(), 0);
      EXPECT_LT(s.finished_ago, 60s);
    }
  EXPECT_EQ(steps, 3u) << "the last look comes before the end";
  (*l)->kill_all();
  EXPECT_TRUE(until(**l, [](const auto& o) { return std::holds_alternative<host_cleared>(o); }));
  EXPECT_TRUE(std::any_of(seen_.begin(), seen_.end(), [](const auto& o) { return is_rank<rank_ended>(o, 0, 1); }));
}

TEST_F(launcher, when_the_nodes_lease_is_over_the_keeper_ends_the_ranks_without_being_told) {
  const auto page = lease_page::make();
  ASSERT_TRUE(page);
  auto o = options(1);
  o.lease_fd = (*page)->fd();
  auto l = rank_launcher::start(o, {});
  ASSERT_TRUE(l) << l.error().to_string();
  ASSERT_TRUE((*l)->start_rank(command(0, 1, {"steps=1", "hang"})));
  int pid = 0;
  ASSERT_TRUE(until(**l, [&](const auto& seen) {
    if (is_rank<rank_started>(seen, 0, 1))
      pid = std::get<rank_started>(std::get<rank_observation>(seen).what).pid;
    return pid > 0;
  }));
  (*page)->set_end(mono_time{1});
  EXPECT_TRUE(soon([&] { return !is_alive(pid); })) << "nobody looks at the launcher: it might be frozen";
  EXPECT_TRUE(until(**l, [](const auto& seen) { return std::holds_alternative<host_lost>(seen); }));
}

TEST_F(launcher, ranks_stand_in_process_groups_of_their_own_with_nothing_open_but_what_is_theirs) {
  std::vector<std::string> lines;
  auto l = rank_launcher::start(options(1), [&](int, bool, std::string_view line) { lines.emplace_back(line); });
  ASSERT_TRUE(l);
  rank_command c;
  c.attempt = 1;
  c.arguments = {"/bin/sh", "-c", "echo group $(ps -o pgid= -p $$ 2>/dev/null || cut -d' ' -f5 /proc/$$/stat) $$; ls /proc/$$/fd; true"};
  c.environment = {"PATH=/usr/bin:/bin"};
  ASSERT_TRUE((*l)->start_rank(c));
  ASSERT_TRUE(until(**l, [](const auto& o) { return is_rank<rank_ended>(o, 0, 1); }));
  ASSERT_EQ(lines.size(), 5u) << "one line, and four descriptors";
  const auto words = split(lines[0], ' ');
  ASSERT_EQ(words.size(), 3u);
  EXPECT_EQ(words[1], words[2]) << "leader of its group";
  EXPECT_EQ(lines[4], "3") << "the board is the last";
}

TEST_F(launcher, a_long_line_comes_in_pieces_and_the_last_one_without_an_end) {
  std::vector<std::string> lines;
  auto l = rank_launcher::start(options(1), [&](int, bool, std::string_view line) { lines.emplace_back(line); });
  ASSERT_TRUE(l);
  rank_command c;
  c.attempt = 1;
  c.arguments = {"/bin/sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; printf '\\nend'"};
  c.environment = {"PATH=/usr/bin:/bin"};
  ASSERT_TRUE((*l)->start_rank(c));
  ASSERT_TRUE(until(**l, [](const auto& o) { return is_rank<rank_ended>(o, 0, 1); }));
  std::size_t bytes = 0;
  for (const auto& line : lines)
    bytes += line.size();
  EXPECT_EQ(bytes, 100'003u);
  EXPECT_GT(lines.size(), 2u);
  EXPECT_EQ(lines.back(), "end");
}

TEST_F(launcher, a_flood_of_output_does_not_keep_it_from_noticing_an_end) {
  std::size_t bytes = 0;
  auto l = rank_launcher::start(options(2), [&](int, bool, std::string_view line) { bytes += line.size(); });
  ASSERT_TRUE(l);
  rank_command flood;
  flood.attempt = 1;
  flood.arguments = {"/bin/sh", "-c", "yes flood"};
  flood.environment = {"PATH=/usr/bin:/bin"};
  ASSERT_TRUE((*l)->start_rank(flood));
  ASSERT_TRUE((*l)->start_rank(command(1, 1, {"wait=50", "exit=3"})));
  EXPECT_TRUE(until(**l, [](const auto& o) { return is_rank<rank_ended>(o, 1, 1); }));
  EXPECT_GT(bytes, 10'000u);
}

TEST_F(launcher, refuses_what_is_no_rank_of_the_gang) {
  auto l = rank_launcher::start(options(2), {});
  ASSERT_TRUE(l);
  EXPECT_EQ((*l)->start_rank(command(2, 1, {})).error().code, errc::invalid_argument);
  EXPECT_EQ((*l)->start_rank(command(-1, 1, {})).error().code, errc::invalid_argument);
  EXPECT_EQ((*l)->start_rank(command(0, 0, {})).error().code, errc::invalid_argument);
  EXPECT_EQ((*l)->start_rank({0, 1, {}, {}, "", 0}).error().code, errc::invalid_argument);
  EXPECT_EQ((*l)->start_rank({0, 1, {"no-such-program-anywhere"}, {}, "", 0}).error().code, errc::not_found);
}

TEST_F(launcher, a_second_attempt_starts_on_the_same_keeper) {
  auto l = rank_launcher::start(options(1), {});
  ASSERT_TRUE(l);
  for (std::uint64_t attempt : {1, 2, 3}) {
    ASSERT_TRUE((*l)->start_rank(command(0, attempt, {"exit=1"})));
    ASSERT_TRUE(until(**l, [&](const auto& o) { return is_rank<rank_ended>(o, 0, attempt); }));
    (*l)->kill_all();
    ASSERT_TRUE(until(**l, [&](const auto& o) {
      const auto* c = std::get_if<host_cleared>(&o);
      return c != nullptr && c->attempt == attempt;
    }));
  }
}

/// Starts a launcher in a process of its own and tells the ranks' and a hidden grandchild's numbers through files.
pid_t launcher_process(const rank_launcher_options& options, const std::string& up, const std::string& grandchild) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    auto l = rank_launcher::start(options, {});
    if (!l)
      ::_exit(1);
    std::ofstream(up + ".keeper") << (*l)->keeper_pid() << std::flush;
    for (int r = 0; r < 2; ++r)
      (void)(*l)->start_rank({r, 1, {FLYWHEEL_TEST_RANK, "ignore=15", "ignore=1", "r1:grandchild=" + grandchild, "touch=" + up, "hang"},
                              {"RANK=" + std::to_string(r), "FLYWHEEL_ATTEMPT=1"}, "", 0});
    while (true)
      (void)(*l)->wait(1s);
  }
  return pid;
}

TEST_F(launcher, killed_with_signal_9_it_leaves_nobody_and_nothing) {
  auto o = options(2);
  o.scratch = file("scratch");
  std::filesystem::create_directories(o.scratch + "/inner");
  const pid_t pid = launcher_process(o, file("up"), file("grandchild"));
  ASSERT_TRUE(soon([&] { return number_in_file(file("up.0")) != 0 && number_in_file(file("up.1")) != 0; }));
  const std::vector<int> all{number_in_file(file("up.0")), number_in_file(file("up.1")), number_in_file(file("grandchild")), number_in_file(file("up.keeper"))};
  for (const int p : all)
    ASSERT_TRUE(p > 0 && is_alive(p));
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  for (const int p : all)
    EXPECT_TRUE(soon([&] { return !is_alive(p); }, 10s)) << p;
  EXPECT_FALSE(std::filesystem::exists(o.scratch));
}

TEST_F(launcher, when_the_keeper_is_killed_the_ranks_go_and_the_host_is_told_as_lost) {
  auto l = rank_launcher::start(options(2), {});
  ASSERT_TRUE(l);
  for (int r : {0, 1})
    ASSERT_TRUE((*l)->start_rank(command(r, 1, {"touch=" + file("up"), "hang"})));
  ASSERT_TRUE(soon([&] {
    (void)(*l)->wait(10ms);
    return number_in_file(file("up.0")) != 0 && number_in_file(file("up.1")) != 0;
  }));
  ::kill((*l)->keeper_pid(), SIGKILL);
  EXPECT_TRUE(until(**l, [](const auto& o) { return std::holds_alternative<host_lost>(o); }));
  for (const char* name : {"up.0", "up.1"})
    EXPECT_TRUE(soon([&] { return !is_alive(number_in_file(file(name))); }, 10s));
  EXPECT_EQ((*l)->start_rank(command(0, 2, {})).error().code, errc::worker_lost);
}

TEST_F(launcher, a_keeper_that_cannot_be_started_is_an_error) {
  auto o = options(1);
  o.keeper_command = {"no-such-keeper-anywhere"};
  EXPECT_EQ(rank_launcher::start(o, {}).error().code, errc::not_found);
}

} // namespace
} // namespace flywheel::testing
