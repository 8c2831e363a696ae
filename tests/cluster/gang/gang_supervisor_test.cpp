// Real ranks that are killed, frozen, starved and lie; the supervisor names the cause, leaves nobody, and starts anew.

#include "tests/cluster/gang/gang_fixture.hpp"

#include <sys/eventfd.h>
#include <sys/wait.h>

namespace flywheel::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;

using supervised = gang_under_test;

TEST_F(supervised, ranks_that_end_well_are_done) {
  const auto done = run(plan(3, {"steps=5", "env=LOCAL_RANK", "r1:complain=late"}));
  EXPECT_EQ(done.cause.end, gang_end::succeeded);
  EXPECT_EQ(done.restarts, 0u);
  EXPECT_EQ(done.steps, 5u);
  EXPECT_EQ(done.loss, 0.2);
  EXPECT_THAT(output_, IsSupersetOf({"[0] LOCAL_RANK=0", "[1] LOCAL_RANK=1", "[2] LOCAL_RANK=2", "[1!] late"}));
  EXPECT_EQ(count(gang_event::kind::rank_started), 3);
  EXPECT_EQ(count(gang_event::kind::first_step), 1);
  EXPECT_EQ(count(gang_event::kind::noticed), 0);
}

TEST_F(supervised, a_killed_rank_takes_its_siblings_along_and_the_gang_starts_anew) {
  auto p = plan(3, {"steps=10", "a1.r1:raise=9", "a1.hang", "steps=3"});
  p.restart.restarts_max = 1;
  const auto done = run(p);
  EXPECT_EQ(done.cause.end, gang_end::succeeded);
  EXPECT_EQ(done.attempt, 2u);
  EXPECT_EQ(done.restarts, 1u);
  EXPECT_EQ(done.steps, 13u);
  EXPECT_EQ(pids_.size(), 6u);
  for (const auto& e : events_)
    if (e.what == gang_event::kind::cleared) {
      EXPECT_EQ(sentence_of(e.cause), "rank 1 (here, cpu 1) was killed by signal 9 (KILL) in step 10 (collective 19, all_reduce)");
      EXPECT_EQ(e.attempt, 1u);
    }
  EXPECT_EQ(count(gang_event::kind::cleared), 1);
}

TEST_F(supervised, a_rank_killed_from_outside_is_noticed_at_once_and_nobody_is_left) {
  auto p = plan(3, {"steps=3", "touch=" + file("up"), "hang"});
  mono_time killed_at;
  on_event_ = [&](const gang_event& e) {
    if (e.what != gang_event::kind::first_step)
      return;
    ASSERT_TRUE(soon([&] { return std::filesystem::exists(file("up.0")) && number_in_file(file("up.2")) != 0; }));
    killed_at = system_clock().mono();
    ::kill(number_in_file(file("up.2")), SIGKILL);
  };
  const auto done = run(p);
  EXPECT_EQ(done.cause.rank, 2);
  EXPECT_EQ(done.cause.end, gang_end::killed);
  // Goals of the figures are 50 ms and 1 s; a test beside others on two cores leaves room, but not for a poll of seconds.
  EXPECT_LT((when(gang_event::kind::noticed) - killed_at).count(), 1'000'000'000);
  EXPECT_LT((when(gang_event::kind::cleared) - killed_at).count(), 3'000'000'000);
}

TEST_F(supervised, the_exit_code_and_the_last_words_are_in_the_cause) {
  const auto done = run(plan(2, {"steps=4", "r1:complain=no such column: income", "r1:exit=2", "hang"}));
  EXPECT_EQ(sentence_of(done.cause), "rank 1 (here, cpu 1) ended with exit code 2 in step 4 (collective 7, all_reduce); "
                                     "its last output: no such column: income");
  EXPECT_EQ(done.why_final, "no restarts are allowed");
}

TEST_F(supervised, a_peers_complaint_is_not_the_cause) {
  // Rank 0 ends first, because its peer is lost; the peer needs a moment more to die.
  const auto done = run(plan(2, {"steps=4", "r0:peer=1", "r0:exit=1", "r1:wait=30", "r1:raise=9"}));
  EXPECT_EQ(done.cause.rank, 1);
  EXPECT_EQ(done.cause.signal, SIGKILL);
}

TEST_F(supervised, a_frozen_rank_is_named_killed_and_the_gang_starts_anew) {
  auto p = plan(2, {"steps=20", "a1.r1:raise=19", "a1.hang"});
  p.restart.restarts_max = 1;
  const auto done = run(p);
  EXPECT_EQ(done.cause.end, gang_end::succeeded);
  for (const auto& e : events_)
    if (e.what == gang_event::kind::noticed) {
      EXPECT_EQ(e.cause.rank, 1);
      EXPECT_EQ(e.cause.end, gang_end::frozen);
    }
  EXPECT_EQ(count(gang_event::kind::noticed), 1);
}

TEST_F(supervised, a_rank_that_makes_no_step_is_hung) {
  auto p = plan(2, {"steps=20", "r1:hang", "steps=1", "hang"});
  p.watch.watch.fixed = 300ms;
  const auto done = run(p);
  EXPECT_EQ(done.cause.end, gang_end::hung);
  EXPECT_EQ(done.cause.rank, 1);
  EXPECT_THAT(done.cause.detail, HasSubstr("has worked on step 20"));
}

TEST_F(supervised, a_rank_that_never_makes_its_first_step_is_named) {
  auto p = plan(3, {"r2:hang", "steps=1", "hang"});
  p.watch.start_max = 300ms;
  const auto done = run(p);
  EXPECT_EQ(done.cause.end, gang_end::never_came_up);
  EXPECT_EQ(done.cause.rank, 2);
}

TEST_F(supervised, running_into_its_memory_limit_is_told_as_that) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers need address space without limit";
#endif
  auto p = plan(2, {"steps=2", "r0:hog=4096", "hang"});
  const auto command = p.command;
  p.command = [command](int rank, std::uint64_t attempt, std::uint32_t restart) {
    auto c = command(rank, attempt, restart);
    c->memory_max = 128 << 20;
    return c;
  };
  const auto done = run(p);
  EXPECT_EQ(done.cause.end, gang_end::out_of_memory);
  EXPECT_EQ(done.cause.rank, 0);
  EXPECT_THAT(done.cause.detail, HasSubstr("of 128.0 MiB"));
}

/// A control group of 96 MiB; empty where we may not make one.
std::filesystem::path small_memory_group() {
  std::ifstream in("/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    const auto at = line.find(":memory:");
    if (at == std::string::npos)
      continue;
    const std::filesystem::path group = "/sys/fs/cgroup/memory" + line.substr(at + 8) + "/flywheel-test-" + std::to_string(::getpid());
    std::error_code failed;
    std::filesystem::create_directory(group, failed);
    if (failed)
      return {};
    std::ofstream limit(group / "memory.limit_in_bytes");
    limit << (96 << 20) << std::flush;
    return limit ? group : std::filesystem::path{};
  }
  return {};
}

TEST_F(supervised, the_kernels_out_of_memory_killer_is_recognised) {
  const auto group = small_memory_group();
  if (group.empty())
    GTEST_SKIP() << "no memory control group can be made here";
  auto p = plan(2, {"steps=2", "r0:hog=4096", "hang"});
  const pid_t pid = ::fork();
  if (pid == 0) {
    std::ofstream(group / "cgroup.procs") << ::getpid() << std::flush;
    const auto done = supervise_gang(p, system_clock());
    std::ofstream(file("sentence")) << (done ? sentence_of(done->cause) : done.error().to_string()) << std::flush;
    ::_exit(done && done->cause.end == gang_end::out_of_memory && done->cause.rank == 0 ? 0 : 1);
  }
  int state = 0;
  ASSERT_EQ(::waitpid(pid, &state, 0), pid);
  std::ifstream in(file("sentence"));
  const std::string said((std::istreambuf_iterator<char>(in)), {});
  EXPECT_EQ(WEXITSTATUS(state), 0) << said;
  EXPECT_THAT(said, HasSubstr("the kernel's out-of-memory killer was at work"));
  EXPECT_TRUE(soon([&] { return ::rmdir(group.c_str()) == 0; })) << "nobody is left in the group";
}

TEST_F(supervised, grandchildren_that_hide_are_gone_before_the_slots_are_called_free) {
  auto p = plan(2, {"r1:grandchild=" + file("grandchild.pid"), "steps=2", "r0:wait=100", "r0:exit=1", "hang"});
  bool was_alive = false, is_left = true;
  on_event_ = [&](const gang_event& e) {
    const int pid = number_in_file(file("grandchild.pid"));
    if (e.what == gang_event::kind::first_step)
      was_alive = pid > 0 && is_alive(pid);
    if (e.what == gang_event::kind::cleared)
      is_left = pid > 0 && is_alive(pid);
  };
  run(p);
  EXPECT_TRUE(was_alive);
  EXPECT_FALSE(is_left);
}

TEST_F(supervised, grandchildren_of_a_gang_that_succeeded_go_too) {
  const auto done = run(plan(1, {"grandchild=" + file("grandchild.pid"), "steps=1"}));
  EXPECT_EQ(done.cause.end, gang_end::succeeded);
  EXPECT_FALSE(is_alive(number_in_file(file("grandchild.pid"))));
}

TEST_F(supervised, garbage_on_a_board_is_told_and_harms_nobody) {
  for (const char* garbage : {"255", "1", "0"}) {
    events_.clear();
    const auto told = file(std::string{"told-"} + garbage);
    on_event_ = [&](const gang_event& e) {
      if (e.what == gang_event::kind::garbled)
        std::ofstream{told} << "now the ranks may end";
    };
    const auto done = run(plan(2, {"steps=3", std::string("r1:garble=") + garbage, "until=" + told, "exit=0"}));
    EXPECT_EQ(done.cause.end, gang_end::succeeded) << garbage;
    ASSERT_EQ(count(gang_event::kind::garbled), 1) << "once";
    for (const auto& e : events_)
      if (e.what == gang_event::kind::garbled) {
        EXPECT_THAT(e.text, HasSubstr("the board of rank 1"));
      }
  }
}

TEST_F(supervised, a_program_that_is_not_there_is_an_error_at_once) {
  auto p = plan(2, {});
  p.command = [](int rank, std::uint64_t attempt, std::uint32_t) -> result<rank_command> {
    return rank_command{rank, attempt, {"no-such-program-anywhere"}, {}, {}, 0};
  };
  const auto absent = supervise_gang(p, system_clock());
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, errc::not_found);

  p.restart.restarts_max = 5;
  p.command = [this](int rank, std::uint64_t attempt, std::uint32_t) -> result<rank_command> {
    std::ofstream(file("text")) << "no program";
    std::filesystem::permissions(file("text"), std::filesystem::perms::owner_all);
    return rank_command{rank, attempt, {rank == 1 ? file("absent") : FLYWHEEL_TEST_RANK, "hang"}, {}, {}, 0};
  };
  const auto done = run(p);
  EXPECT_EQ(done.cause.end, gang_end::not_startable);
  EXPECT_EQ(done.cause.rank, 1);
  EXPECT_EQ(done.restarts, 0u) << "it would meet the same";
  EXPECT_THAT(done.cause.detail, HasSubstr("starting the program of rank 1"));
}

TEST_F(supervised, a_folder_that_is_not_there_is_told) {
  auto p = plan(1, {});
  p.command = [](int rank, std::uint64_t attempt, std::uint32_t) -> result<rank_command> {
    return rank_command{rank, attempt, {FLYWHEEL_TEST_RANK}, {}, "/nonexistent", 0};
  };
  EXPECT_THAT(run(p).cause.detail, HasSubstr("entering the folder of rank 0"));
}

TEST_F(supervised, bad_input_at_the_same_step_is_not_retried_for_ever) {
  auto p = plan(2, {"steps=3", "r1:exit=2", "hang"});
  p.restart.restarts_max = 50;
  const auto done = run(p);
  EXPECT_EQ(done.restarts, 1u);
  EXPECT_THAT(done.why_final, HasSubstr("the same failure came twice at step 3"));
}

TEST_F(supervised, asked_to_stop_it_lets_the_ranks_end_by_themselves) {
  const int stop = ::eventfd(0, EFD_CLOEXEC);
  auto p = plan(2, {"steps=1", "hang"});
  p.stop_fd = stop;
  p.restart.restarts_max = 5;
  on_event_ = [&](const gang_event& e) {
    const std::uint64_t one = 1;
    if (e.what == gang_event::kind::first_step) {
      ASSERT_EQ(::write(stop, &one, sizeof one), 8);
    }
  };
  const auto done = run(p);
  EXPECT_EQ(done.cause.end, gang_end::cancelled);
  EXPECT_EQ(done.restarts, 0u);
  ::close(stop);
}

TEST_F(supervised, who_ignores_the_request_to_stop_is_killed_after_the_grace) {
  const int stop = ::eventfd(1, EFD_CLOEXEC);
  auto p = plan(2, {"ignore=15", "hang"});
  p.stop_fd = stop;
  p.stop_grace = 100ms;
  EXPECT_EQ(run(p).cause.end, gang_end::cancelled);
  ::close(stop);
}

TEST_F(supervised, what_prepares_an_attempt_can_refuse_it) {
  auto p = plan(1, {"steps=1"});
  p.prepare = [](std::uint64_t) -> status { return {errc::stale_epoch, "a newer attempt trains"}; };
  const auto refused = supervise_gang(p, system_clock());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::stale_epoch);
}

TEST_F(supervised, a_gang_has_ranks) { EXPECT_FALSE(supervise_gang(plan(0, {}), system_clock())); }

} // namespace
} // namespace flywheel::testing
