// One attempt of a gang as a table of what is seen and when, and the one cause that comes out.

#include "cluster/gang/gang_policy.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <csignal>

using namespace flywheel;
using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

namespace {

constexpr mono_time start{1'000'000'000'000};

rank_exit killed(int signal) { return {.signal = signal}; }
rank_exit exited(int code, std::string said = {}) { return {.code = code, .last_output = std::move(said)}; }

/// Three ranks on two hosts that report as a launcher does: snapshots, not events.
struct gang {
  explicit gang(gang_options options = {}) : policy({{"a", "gpu 0", 0}, {"a", "gpu 1", 1}, {"b", "gpu 0", 0}}, 4, start, options) {}

  void see(int rank, rank_phase phase, std::uint64_t step, std::uint64_t finished, nanoseconds ago = 0ns, nanoseconds own = 100ms, bool stopped = false) {
    rank_seen s;
    s.report.phase = phase;
    s.report.step = step;
    s.report.steps = finished;
    s.report.own = own;
    s.report.loss = std::nan("");
    s.report.collective = 2 * step + 1;
    s.report.collective_name = "all_reduce";
    s.entered_ago = s.finished_ago = ago;
    s.is_stopped = stopped;
    policy.observe(rank_observation{rank, 4, s}, now);
    policy.judge(now);
  }
  /// `n` steps of 100 ms of all ranks, seen while they work on the next.
  void train(int n) {
    for (int i = 0; i < n; ++i) {
      now = now + 100ms;
      ++steps;
      for (int r = 0; r < 3; ++r)
        see(r, rank_phase::working, steps, steps);
    }
  }
  void end(int rank, rank_exit how) {
    policy.observe(rank_observation{rank, 4, rank_ended{std::move(how)}}, now);
  }
  void complain(int rank, int about) {
    rank_seen s;
    s.report.phase = rank_phase::failed;
    s.report.step = steps;
    s.report.steps = steps;
    s.report.fault = rank_fault::peer;
    s.report.blamed = about;
    s.report.fault_text = "rank " + std::to_string(about) + " is lost";
    policy.observe(rank_observation{rank, 4, s}, now);
    end(rank, exited(1));
  }
  void after(nanoseconds d) {
    now = now + d;
    policy.judge(now);
  }
  std::string said() const { return sentence_of(policy.cause()); }

  gang_policy policy;
  mono_time now = start;
  std::uint64_t steps = 0;
};

} // namespace

TEST(gang_policy, a_killed_rank_is_named_with_everything_that_is_known) {
  gang g;
  g.train(10);
  g.end(1, killed(SIGKILL));
  EXPECT_EQ(g.policy.state(), gang_state::clearing);
  EXPECT_EQ(g.policy.noticed(), g.now);
  EXPECT_EQ(g.said(), "rank 1 (a, gpu 1) was killed by signal 9 (KILL) in step 10 (collective 21, all_reduce)");
  EXPECT_EQ(g.policy.cause().steps, 10u);
}

TEST(gang_policy, the_peers_complaints_that_follow_are_not_the_cause) {
  gang g;
  g.train(10);
  g.end(1, killed(SIGSEGV));
  g.after(5ms);
  g.complain(0, 1);
  g.end(2, exited(1, "Connection closed by peer"));
  EXPECT_EQ(g.policy.cause().rank, 1);
  EXPECT_EQ(g.policy.cause().end, gang_end::killed);
}

TEST(gang_policy, a_complaint_that_is_seen_first_waits_for_the_death_it_is_about) {
  for (const bool has_board : {true, false}) {
    gang g;
    g.train(10);
    if (has_board)
      g.complain(0, 1);
    else
      g.end(0, exited(1, "RuntimeError: Connection closed by peer [127.0.0.1]:1234"));
    EXPECT_EQ(g.policy.state(), gang_state::settling);
    ASSERT_TRUE(g.policy.next_look(g.now));
    g.after(20ms);
    EXPECT_EQ(g.policy.state(), gang_state::settling);
    g.end(1, killed(SIGKILL));
    EXPECT_EQ(g.policy.state(), gang_state::clearing);
    EXPECT_EQ(g.policy.cause().rank, 1);
    EXPECT_EQ(g.policy.cause().end, gang_end::killed);
    EXPECT_EQ(g.policy.noticed()->ns, g.now.ns - 20'000'000) << "noticed when the first sign came";
  }
}

TEST(gang_policy, seen_together_the_stronger_one_is_the_cause_whatever_the_order) {
  for (const bool death_first : {true, false}) {
    gang g;
    g.train(10);
    if (death_first)
      g.end(2, killed(SIGKILL));
    g.end(0, exited(1, "it broke"));
    if (!death_first)
      g.end(2, killed(SIGKILL));
    EXPECT_EQ(g.policy.cause().rank, 2) << death_first;
    EXPECT_EQ(g.policy.cause().signal, SIGKILL);
  }
}

TEST(gang_policy, what_the_launcher_kills_afterwards_is_no_cause) {
  gang g;
  g.train(10);
  g.end(0, exited(3, "it broke"));
  g.after(1ms);
  g.end(1, killed(SIGKILL));
  EXPECT_EQ(g.policy.cause().rank, 0);
  g.end(2, killed(SIGSEGV));
  EXPECT_EQ(g.policy.cause().rank, 2) << "nobody here sends SEGV: it died by itself, only slower";
}

TEST(gang_policy, complaints_alone_name_the_rank_they_are_about) {
  gang g;
  g.train(10);
  g.complain(0, 1);
  g.after(150ms);
  EXPECT_EQ(g.policy.state(), gang_state::clearing);
  EXPECT_EQ(g.policy.cause().rank, 1);
  EXPECT_EQ(g.policy.cause().end, gang_end::hung);
  EXPECT_THAT(g.said(), HasSubstr("rank 0 said: rank 1 is lost"));
}

TEST(gang_policy, complaints_about_a_rank_that_had_ended_well_are_the_cause_themselves) {
  gang g;
  g.train(10);
  g.end(1, exited(0));
  g.complain(0, 1);
  g.after(150ms);
  EXPECT_EQ(g.policy.cause().rank, 0);
  EXPECT_EQ(g.policy.cause().end, gang_end::peers_only);
}

TEST(gang_policy, classes_of_ends) {
  const struct { rank_exit how; gang_end end; const char* says; } table[] = {
      {killed(SIGTERM), gang_end::killed, "signal 15 (TERM)"},
      {exited(2, "no such column"), gang_end::exit_code, "ended with exit code 2 in step 3 (collective 7, all_reduce); its last output: no such column"},
      {{.signal = SIGKILL, .kernel_oom = true, .peak_bytes = 3 << 20}, gang_end::out_of_memory, "it had used 3.0 MiB, the kernel's out-of-memory killer was at work"},
      {{.signal = SIGABRT, .peak_bytes = 90, .memory_max = 100}, gang_end::out_of_memory, "ran out of memory"},
      {{.signal = SIGABRT, .peak_bytes = 10, .memory_max = 100}, gang_end::killed, "signal 6 (ABRT)"},
      {{.signal = SIGABRT, .last_output = "terminate called: std::bad_alloc"}, gang_end::out_of_memory, "bad_alloc"},
      {{.signal = SIGKILL, .last_output = "std::bad_alloc"}, gang_end::killed, "signal 9"},
      {exited(1, "MemoryError"), gang_end::out_of_memory, "ended with exit code 1"},
      {exited(1, "torch.OutOfMemoryError: CUDA out of memory."), gang_end::out_of_memory, "CUDA"},
  };
  for (const auto& row : table) {
    gang g;
    g.train(3);
    g.end(2, row.how);
    EXPECT_EQ(g.policy.cause().end, row.end) << row.says;
    EXPECT_THAT(g.said(), HasSubstr(row.says));
    EXPECT_THAT(g.said(), HasSubstr("rank 2 (b, gpu 0)"));
  }
}

TEST(gang_policy, a_program_that_cannot_be_started_is_told_as_that) {
  gang g;
  g.policy.observe(rank_observation{2, 4, rank_refused{{errc::not_found, "starting the program"}}}, g.now);
  EXPECT_EQ(g.policy.cause().end, gang_end::not_startable);
  EXPECT_THAT(g.said(), HasSubstr("could not be started"));
}

TEST(gang_policy, all_ended_well_is_success_once_every_host_is_cleared) {
  gang g;
  g.train(10);
  for (int r = 0; r < 3; ++r)
    g.end(r, exited(0));
  EXPECT_EQ(g.policy.state(), gang_state::clearing) << "what they started must go too";
  EXPECT_TRUE(g.policy.all_ended());
  g.policy.observe(host_cleared{"b", 4}, g.now);
  g.policy.observe(host_cleared{"b", 4}, g.now);
  g.policy.observe(host_cleared{"a", 3}, g.now);
  EXPECT_EQ(g.policy.state(), gang_state::clearing) << "another host, another attempt";
  g.policy.observe(host_cleared{"a", 4}, g.now);
  EXPECT_EQ(g.policy.state(), gang_state::over);
  EXPECT_EQ(g.policy.cause().end, gang_end::succeeded);
  EXPECT_EQ(g.said(), "all ranks ended with exit code 0");
}

TEST(gang_policy, other_attempts_and_other_ranks_are_ignored) {
  gang g;
  g.policy.observe(rank_observation{1, 3, rank_ended{killed(SIGKILL)}}, g.now);
  g.policy.observe(rank_observation{3, 4, rank_ended{killed(SIGKILL)}}, g.now);
  g.policy.observe(rank_observation{-1, 4, rank_ended{killed(SIGKILL)}}, g.now);
  EXPECT_EQ(g.policy.state(), gang_state::running);
}

TEST(gang_policy, a_frozen_rank_is_named_after_its_step_time_and_two_seconds) {
  gang g;
  g.train(10);
  g.see(1, rank_phase::working, 10, 10, 0ns, 100ms, true);
  for (int r : {0, 2})
    g.see(r, rank_phase::waiting, 10, 10);
  g.after(2s + 99ms);
  EXPECT_EQ(g.policy.state(), gang_state::running);
  g.after(2ms);
  EXPECT_EQ(g.policy.cause().end, gang_end::frozen);
  EXPECT_THAT(g.said(), HasSubstr("rank 1 (a, gpu 1) was frozen (stopped by a signal or a debugger) in step 10"));
}

TEST(gang_policy, a_rank_that_goes_on_was_not_frozen) {
  gang g;
  g.train(10);
  g.see(1, rank_phase::working, 10, 10, 0ns, 100ms, true);
  g.after(1s);
  g.see(1, rank_phase::working, 10, 10, 0ns, 100ms, false);
  g.after(1500ms);
  g.see(1, rank_phase::working, 10, 10, 0ns, 100ms, true);
  g.after(1500ms);
  EXPECT_EQ(g.policy.state(), gang_state::running);
}

TEST(gang_policy, a_hung_rank_is_named_by_the_watchdog_and_not_those_who_wait_for_it) {
  gang g;
  g.train(10);
  for (int r : {0, 2})
    g.see(r, rank_phase::waiting, 10, 10);
  g.after(10s);
  EXPECT_EQ(g.policy.state(), gang_state::running) << "a busy disk is no hang";
  g.after(10ms);
  EXPECT_EQ(g.policy.cause().rank, 1);
  EXPECT_EQ(g.policy.cause().end, gang_end::hung);
  EXPECT_THAT(g.said(), HasSubstr("rank 1 has worked on step 10 for 10.0s, allowed 10.0s"));
}

TEST(gang_policy, a_step_time_of_ones_own_replaces_the_learnt_one) {
  gang_options o;
  o.watch.fixed = 1s;
  gang g{o};
  g.train(2);
  g.after(1s);
  EXPECT_EQ(g.policy.state(), gang_state::running);
  g.after(1ms);
  EXPECT_EQ(g.policy.cause().end, gang_end::hung);
}

TEST(gang_policy, watching_for_hangs_can_be_switched_off) {
  gang_options o;
  o.watches_hangs = false;
  gang g{o};
  g.train(10);
  g.see(1, rank_phase::working, 10, 10, 0ns, 100ms, true);
  g.after(1h);
  EXPECT_EQ(g.policy.state(), gang_state::running);
}

TEST(gang_policy, an_announced_pause_is_no_hang_but_does_not_last_for_ever) {
  gang g;
  g.train(10);
  for (int i = 1; i <= 60; ++i) {
    g.now = g.now + 1s;
    g.see(0, rank_phase::paused, 10, 10, std::chrono::seconds{i});
  }
  EXPECT_EQ(g.policy.state(), gang_state::running);
  for (int i = 61; i <= 320 && g.policy.state() == gang_state::running; ++i) {
    g.now = g.now + 1s;
    g.see(0, rank_phase::paused, 10, 10, std::chrono::seconds{i});
  }
  EXPECT_EQ(g.policy.cause().end, gang_end::hung) << "300 s of pause and 10 s";
}

TEST(gang_policy, who_never_comes_up_is_named_and_not_who_waits_for_it) {
  gang g;
  g.see(0, rank_phase::starting, 0, 0);
  g.see(2, rank_phase::working, 0, 0);
  g.after(300s);
  EXPECT_EQ(g.policy.state(), gang_state::running);
  g.after(1s);
  EXPECT_EQ(g.policy.cause().rank, 1);
  EXPECT_EQ(g.policy.cause().end, gang_end::never_came_up);
  EXPECT_THAT(g.said(), HasSubstr("it was silent after"));
}

TEST(gang_policy, a_program_that_reports_nothing_is_left_alone_unless_asked_for) {
  gang g;
  g.after(10h);
  EXPECT_EQ(g.policy.state(), gang_state::running);
  gang_options o;
  o.start_is_strict = true;
  o.start_max = 5s;
  gang strict{o};
  strict.after(5s + 1ms);
  EXPECT_EQ(strict.policy.cause().end, gang_end::never_came_up);
  o.start_max = 0s;
  gang patient{o};
  patient.after(10h);
  EXPECT_EQ(patient.policy.state(), gang_state::running);
}

TEST(gang_policy, when_the_first_has_come_to_the_end_the_others_get_time) {
  gang g;
  g.train(10);
  g.end(1, exited(0));
  g.after(100s);
  EXPECT_EQ(g.policy.state(), gang_state::running) << "the last evaluation of rank 0";
  g.after(211s);
  EXPECT_EQ(g.policy.cause().end, gang_end::hung);
  EXPECT_NE(g.policy.cause().rank, 1) << "it ended well";
  EXPECT_THAT(g.said(), HasSubstr("step 10"));
}

TEST(gang_policy, an_own_time_that_cannot_be_does_not_buy_patience) {
  gang g;
  for (int i = 0; i < 20; ++i) {
    g.now = g.now + 100ms;
    ++g.steps;
    for (int r = 0; r < 3; ++r)
      g.see(r, rank_phase::working, g.steps, g.steps, 0ns, r == 1 ? nanoseconds{1h} : 100ms);
  }
  g.after(10s + 10ms);
  EXPECT_EQ(g.policy.cause().end, gang_end::hung);
}

TEST(gang_policy, a_straggler_is_named_while_it_is_slow_and_nobody_is_killed_for_it) {
  gang g;
  for (int i = 0; i < 20; ++i) {
    g.now = g.now + 200ms;
    ++g.steps;
    for (int r = 0; r < 3; ++r)
      g.see(r, rank_phase::working, g.steps, g.steps, 0ns, r == 2 ? 190ms : 100ms);
  }
  EXPECT_EQ(g.policy.straggler().rank, 2);
  EXPECT_EQ(g.policy.straggler().reason, "rank 2 needs 190ms a step, the others 100ms");
  EXPECT_EQ(g.policy.state(), gang_state::running);
  g.train(31);
  EXPECT_EQ(g.policy.straggler().rank, -1);
}

TEST(gang_policy, a_lost_host_is_a_cause_and_names_a_rank_there) {
  gang g;
  g.train(3);
  g.policy.observe(host_lost{"b", "no heartbeat for 3 s"}, g.now);
  EXPECT_EQ(g.policy.cause().rank, 2);
  EXPECT_EQ(g.policy.cause().end, gang_end::host_lost);
  EXPECT_THAT(g.said(), HasSubstr("no heartbeat for 3 s"));
}

TEST(gang_policy, what_is_stopped_on_purpose_has_no_other_cause) {
  gang g;
  g.train(3);
  g.policy.cancel("asked to stop", g.now);
  g.end(0, killed(SIGTERM));
  g.end(1, exited(143));
  EXPECT_EQ(g.policy.cause().end, gang_end::cancelled);
  EXPECT_THAT(g.said(), HasSubstr("the gang was stopped"));
  EXPECT_FALSE(g.policy.all_ended());
}

TEST(gang_policy, after_a_pause_of_the_launcher_nobody_is_blamed_for_it) {
  gang g;
  g.train(10);
  g.see(1, rank_phase::working, 10, 10, 0ns, 100ms, true);
  g.now = g.now + 60s;
  g.policy.forgive(g.now);
  g.policy.judge(g.now);
  EXPECT_EQ(g.policy.state(), gang_state::running);
  g.after(2s + 101ms);
  EXPECT_EQ(g.policy.cause().end, gang_end::frozen);
}

TEST(gang_policy, the_last_output_of_the_cause_is_added_when_its_process_ends) {
  gang g;
  g.train(10);
  g.see(1, rank_phase::working, 10, 10, 0ns, 100ms, true);
  g.after(3s);
  g.end(1, {.signal = SIGKILL, .last_output = "loading shard 7"});
  EXPECT_THAT(g.said(), HasSubstr("its last output: loading shard 7"));
  EXPECT_THAT(g.said(), Not(HasSubstr("signal 9")));
}
