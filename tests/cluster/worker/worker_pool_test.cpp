// The pool against real processes that crash, hang, lie and eat memory.

#include "cluster/worker/worker_pool.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace flywheel;
using namespace std::chrono_literals;
using testing::HasSubstr;

namespace {

/// A folder that vanishes with the test.
class scratch {
public:
  scratch() {
    char name[] = "/tmp/flywheel-worker-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

private:
  std::filesystem::path path_;
};

bool process_exists(int pid) {
  std::ifstream stat{"/proc/" + std::to_string(pid) + "/stat"};
  std::string text;
  std::getline(stat, text);
  const auto after_name = text.rfind(") ");
  return after_name != std::string::npos && text[after_name + 2] != 'Z';
}

class worker_pool_test : public testing::Test {
protected:
  worker_pool_options options() {
    worker_pool_options o;
    o.socket = folder.path() / "run" / "workers";
    o.command = {FLYWHEEL_TEST_WORKER};
    o.heartbeat = 20ms;
    o.silent_after = 2s;
    o.stop_grace = 300ms;
    return o;
  }
  void start(worker_pool_options o) {
    worker_pool_events e;
    e.started = [this](const std::string& task, int pid) {
      const std::lock_guard guard{mutex};
      pids[task] = pid;
      changed.notify_all();
    };
    e.reported = [this](const wire::report& r, std::function<void(bool)> answer) {
      const std::lock_guard guard{mutex};
      reports.push_back(r);
      if (hold_answers)
        held = answer;
      else
        answer(r.rung < prune_at);
      changed.notify_all();
    };
    e.logged = [this](const wire::log& l) {
      const std::lock_guard guard{mutex};
      logs.push_back(l);
    };
    e.ended = [this](const task_end& end) {
      const std::lock_guard guard{mutex};
      ++times_ended[end.task];
      ends[end.task] = end;
      changed.notify_all();
    };
    auto started = worker_pool::start(std::move(o), std::move(e), system_clock());
    ASSERT_TRUE(started) << started.error().to_string();
    pool = std::move(started).value();
  }
  worker_task task(const std::string& id, const std::string& kind, const std::string& body = "") {
    worker_task t;
    t.task = {id, 1, kind, body};
    return t;
  }
  template <class Condition> bool wait_until(Condition condition) {
    std::unique_lock lock{mutex};
    return changed.wait_for(lock, 30s, condition);
  }
  task_end end_of(const std::string& id) {
    EXPECT_TRUE(wait_until([&] { return ends.contains(id); })) << id << " did not end";
    const std::lock_guard guard{mutex};
    return ends[id];
  }
  int pid_of(const std::string& id) {
    EXPECT_TRUE(wait_until([&] { return pids.contains(id); })) << id << " did not start";
    const std::lock_guard guard{mutex};
    return pids[id];
  }
  task_end run(worker_task t) {
    const auto id = t.task.id;
    pool->submit(std::move(t));
    return end_of(id);
  }
  /// A pool whose worker speaks raw bytes in the given way; the end of its one task, "t".
  task_end run_bad(const std::string& how) {
    auto o = options();
    o.command.push_back(how);
    o.hello_within = 500ms;
    o.silent_after = 500ms;
    start(o);
    return run(task("t", "any"));
  }

  scratch folder;
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, int> pids, times_ended;
  std::map<std::string, task_end> ends;
  std::vector<wire::report> reports;
  std::vector<wire::log> logs;
  std::function<void(bool)> held;
  bool hold_answers = false;
  std::uint32_t prune_at = 99;
  std::unique_ptr<worker_pool> pool; // last: its callbacks use the members above
};

} // namespace

TEST_F(worker_pool_test, runs_a_task_and_gives_the_worker_the_next_one) {
  start(options());
  const auto first = run(task("a", "ok", "hello"));
  EXPECT_EQ(first.cause.code, errc::ok) << first.cause.to_string();
  EXPECT_EQ(first.body, "{\"echo\":\"hello\"}");
  EXPECT_GT(first.rss_peak_bytes, 0u);
  const auto second = run(task("b", "pid"));
  EXPECT_EQ(second.body, std::to_string(pid_of("a")));
  EXPECT_EQ(pool->free_slots(), 1u);
}

TEST_F(worker_pool_test, two_slots_run_two_at_once_and_the_third_waits) {
  auto o = options();
  o.slots = 2;
  start(o);
  pool->submit(task("a", "obey_stop"));
  pool->submit(task("b", "obey_stop"));
  pool->submit(task("c", "ok"));
  EXPECT_EQ(pool->free_slots(), 0u);
  EXPECT_NE(pid_of("a"), pid_of("b"));
  {
    const std::lock_guard guard{mutex};
    EXPECT_FALSE(pids.contains("c"));
  }
  pool->cancel("a", "no longer wanted");
  EXPECT_EQ(end_of("c").cause.code, errc::ok);
  pool->cancel("b", "no longer wanted");
  EXPECT_EQ(end_of("b").cause.code, errc::cancelled);
}

TEST_F(worker_pool_test, reports_wait_for_their_verdicts) {
  prune_at = 1;
  start(options());
  EXPECT_EQ(run(task("a", "report")).body, "+-");
  ASSERT_EQ(reports.size(), 2u);
  EXPECT_EQ(reports[1].rung, 1u);
  EXPECT_EQ(reports[1].resource, 20u);
  EXPECT_EQ(reports[1].value, 0.625);
}

TEST_F(worker_pool_test, a_late_answer_to_an_ended_task_or_pool_is_harmless) {
  hold_answers = true;
  start(options());
  pool->submit(task("a", "report"));
  ASSERT_TRUE(wait_until([&] { return held != nullptr; }));
  pool->cancel("a", "changed my mind");
  EXPECT_EQ(end_of("a").cause.code, errc::cancelled);
  held(true);
  EXPECT_EQ(run(task("b", "ok")).cause.code, errc::ok);
  pool.reset();
  held(true);
  EXPECT_EQ(times_ended["a"], 1);
}

TEST_F(worker_pool_test, the_workers_own_failure_keeps_its_code_and_hint) {
  start(options());
  const auto end = run(task("a", "fail"));
  EXPECT_EQ(end.cause.code, errc::training_diverged);
  EXPECT_EQ(end.cause.what, "loss is nan at step 7");
  EXPECT_EQ(end.cause.hint, "lower the learning rate");
  EXPECT_EQ(run(task("b", "throw")).cause.code, errc::library_failed);
}

TEST_F(worker_pool_test, log_lines_arrive_before_the_end_and_are_printable) {
  start(options());
  run(task("a", "log"));
  ASSERT_EQ(logs.size(), 1u);
  EXPECT_EQ(logs[0].text, "first\\x01line");
}

TEST_F(worker_pool_test, a_crash_is_one_lost_task_that_names_signal_and_last_output) {
  start(options());
  const auto end = run(task("a", "crash"));
  EXPECT_EQ(end.cause.code, errc::worker_lost);
  EXPECT_THAT(end.cause.what, HasSubstr("signal 11 (SIGSEGV)"));
  EXPECT_THAT(end.cause.what, HasSubstr("the last thing it said"));
  EXPECT_EQ(run(task("b", "ok")).cause.code, errc::ok);
}

TEST_F(worker_pool_test, an_exit_without_an_answer_names_the_code) {
  start(options());
  const auto end = run(task("a", "exit"));
  EXPECT_EQ(end.cause.code, errc::worker_lost);
  EXPECT_THAT(end.cause.what, HasSubstr("exited with code 3"));
  EXPECT_THAT(end.cause.what, HasSubstr("giving up"));
}

TEST_F(worker_pool_test, a_killed_worker_is_lost_not_out_of_memory) {
  start(options());
  pool->submit(task("a", "hang"));
  kill(pid_of("a"), SIGKILL);
  const auto end = end_of("a");
  EXPECT_EQ(end.cause.code, errc::worker_lost);
  EXPECT_THAT(end.cause.what, HasSubstr("signal 9 (SIGKILL)"));
}

TEST_F(worker_pool_test, a_stopped_worker_is_killed_for_its_silence) {
  auto o = options();
  o.silent_after = 300ms;
  start(o);
  pool->submit(task("a", "hang"));
  const int pid = pid_of("a");
  kill(pid, SIGSTOP);
  EXPECT_EQ(end_of("a").cause.code, errc::worker_silent);
  EXPECT_FALSE(process_exists(pid));
}

TEST_F(worker_pool_test, a_busy_worker_goes_on_beating) {
  auto o = options();
  o.silent_after = 200ms;
  start(o);
  auto t = task("a", "hang");
  t.time_max = 700ms; // several times longer than silence is allowed
  const auto end = run(std::move(t));
  EXPECT_EQ(end.cause.code, errc::timed_out) << end.cause.to_string();
}

TEST_F(worker_pool_test, a_worker_that_ignores_stop_is_killed_after_the_grace) {
  start(options());
  pool->submit(task("a", "hang"));
  const int pid = pid_of("a");
  pool->cancel("a", "enough");
  const auto end = end_of("a");
  EXPECT_EQ(end.cause.code, errc::cancelled);
  EXPECT_EQ(end.cause.what, "enough");
  EXPECT_FALSE(process_exists(pid));
}

TEST_F(worker_pool_test, a_worker_that_obeys_stop_lives_on) {
  start(options());
  pool->submit(task("a", "obey_stop"));
  const int pid = pid_of("a");
  pool->cancel("a", "enough");
  EXPECT_EQ(end_of("a").cause.code, errc::cancelled);
  EXPECT_EQ(run(task("b", "pid")).body, std::to_string(pid));
}

TEST_F(worker_pool_test, a_queued_task_is_cancelled_without_ever_starting) {
  start(options());
  pool->submit(task("a", "obey_stop"));
  pool->submit(task("b", "ok"));
  pool->cancel("b", "no need");
  EXPECT_EQ(end_of("b").cause.code, errc::cancelled);
  pool->cancel("a", "done");
  end_of("a");
  EXPECT_FALSE(pids.contains("b"));
}

TEST_F(worker_pool_test, bad_alloc_is_out_of_memory_and_ends_that_worker) {
  start(options());
  EXPECT_EQ(run(task("a", "bad_alloc")).cause.code, errc::out_of_memory);
  EXPECT_NE(run(task("b", "pid")).body, std::to_string(pid_of("a")));
}

TEST_F(worker_pool_test, a_worker_over_its_memory_is_killed_and_says_so) {
  start(options());
  auto t = task("a", "eat_memory");
  t.memory_max = std::uint64_t{200} << 20;
  const auto end = run(std::move(t));
  EXPECT_EQ(end.cause.code, errc::out_of_memory) << end.cause.to_string();
  EXPECT_THAT(end.cause.what, HasSubstr("its limit is 200"));
  EXPECT_GT(end.rss_peak_bytes, std::uint64_t{200} << 20);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_F(worker_pool_test, a_sudden_huge_allocation_fails_in_the_worker_instead_of_filling_the_machine) {
  start(options());
  run(task("warm", "ok")); // the limit must also reach a worker that is reused
  auto t = task("a", "allocate_at_once");
  t.memory_max = std::uint64_t{500} << 20;
  EXPECT_EQ(run(std::move(t)).cause.code, errc::out_of_memory);
  EXPECT_EQ(run(task("b", "allocate_at_once")).body, "got it");
}
#endif

TEST_F(worker_pool_test, what_a_worker_leaves_behind_is_killed_with_it) {
  start(options());
  const int child = std::stoi(run(task("a", "child")).body);
  pollfd ended{static_cast<int>(syscall(SYS_pidfd_open, child, 0)), POLLIN, 0};
  ASSERT_GE(ended.fd, 0);
  EXPECT_EQ(poll(&ended, 1, 0), 0) << "it should still run";
  pool.reset();
  EXPECT_EQ(poll(&ended, 1, 10'000), 1);
  close(ended.fd);
}

TEST_F(worker_pool_test, the_pools_end_ends_every_task_once_and_leaves_nothing) {
  auto o = options();
  o.slots = 2;
  const auto socket = o.socket;
  start(o);
  for (const auto* id : {"a", "b", "c", "d"})
    pool->submit(task(id, "hang"));
  const int a = pid_of("a"), b = pid_of("b");
  struct stat info {};
  ASSERT_EQ(stat(socket.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  ASSERT_EQ(stat(socket.parent_path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  pool.reset();
  for (const auto* id : {"a", "b", "c", "d"}) {
    EXPECT_EQ(times_ended[id], 1) << id;
    EXPECT_EQ(ends[id].cause.code, errc::cancelled);
  }
  EXPECT_FALSE(process_exists(a));
  EXPECT_FALSE(process_exists(b));
  EXPECT_FALSE(std::filesystem::exists(socket));
}

TEST_F(worker_pool_test, a_second_task_of_the_same_name_is_refused) {
  start(options());
  pool->submit(task("a", "obey_stop"));
  pid_of("a");
  pool->submit(task("a", "ok"));
  EXPECT_EQ(end_of("a").cause.code, errc::already_exists);
  pool->cancel("a", "done");
  ASSERT_TRUE(wait_until([&] { return times_ended["a"] == 2; }));
  EXPECT_EQ(ends["a"].cause.code, errc::cancelled);
}

TEST_F(worker_pool_test, a_program_that_is_not_there_fails_the_task_by_name) {
  auto o = options();
  o.command = {"/nowhere/worker"};
  start(o);
  const auto end = run(task("a", "ok"));
  EXPECT_EQ(end.cause.code, errc::not_found);
  EXPECT_THAT(end.cause.what, HasSubstr("/nowhere/worker"));
}

TEST_F(worker_pool_test, a_program_that_is_no_worker_is_lost_or_silent) {
  auto o = options();
  o.command = {"false"};
  start(o);
  EXPECT_THAT(run(task("a", "ok")).cause.what, HasSubstr("exited with code 1"));
}

TEST_F(worker_pool_test, noise_before_hello_is_held_against_its_process) {
  EXPECT_EQ(run_bad("noise_before_hello").cause.code, errc::protocol_violation);
}
TEST_F(worker_pool_test, a_wrong_token_is_held_against_its_process) {
  EXPECT_EQ(run_bad("wrong_token").cause.code, errc::protocol_violation);
}
TEST_F(worker_pool_test, another_version_is_named) {
  const auto end = run_bad("other_version");
  EXPECT_EQ(end.cause.code, errc::incompatible_version);
  EXPECT_THAT(end.cause.what, HasSubstr("version 2"));
}
TEST_F(worker_pool_test, noise_kills_the_worker) {
  const auto end = run_bad("noise");
  EXPECT_EQ(end.cause.code, errc::protocol_violation);
  EXPECT_THAT(end.cause.what, HasSubstr("at byte"));
  EXPECT_FALSE(process_exists(pid_of("t")));
}
TEST_F(worker_pool_test, a_message_in_parts_kills_the_worker) {
  EXPECT_EQ(run_bad("parts").cause.code, errc::protocol_violation);
}
TEST_F(worker_pool_test, an_answer_to_another_task_kills_the_worker) {
  EXPECT_EQ(run_bad("done_of_another").cause.code, errc::protocol_violation);
}
TEST_F(worker_pool_test, an_answer_to_another_attempt_kills_the_worker) {
  EXPECT_EQ(run_bad("wrong_attempt").cause.code, errc::protocol_violation);
}
TEST_F(worker_pool_test, a_worker_that_plays_the_node_is_killed) {
  EXPECT_EQ(run_bad("plays_node").cause.code, errc::protocol_violation);
}
TEST_F(worker_pool_test, a_message_over_the_limit_ends_the_worker_without_being_stored) {
  const auto code = run_bad("too_large").cause.code;
  EXPECT_TRUE(code == errc::worker_silent || code == errc::protocol_violation) << name_of(code);
}
TEST_F(worker_pool_test, a_worker_without_hello_is_killed_in_time) {
  const auto end = run_bad("mute");
  EXPECT_EQ(end.cause.code, errc::worker_silent);
  EXPECT_THAT(end.cause.what, HasSubstr("hello"));
}
TEST_F(worker_pool_test, a_worker_that_falls_silent_is_killed) {
  EXPECT_EQ(run_bad("silent_after_hello").cause.code, errc::worker_silent);
}
TEST_F(worker_pool_test, last_words_before_an_exit_count) {
  const auto end = run_bad("done_and_exit");
  EXPECT_EQ(end.cause.code, errc::ok) << end.cause.to_string();
  EXPECT_EQ(end.body, "last words");
}

TEST_F(worker_pool_test, a_socket_path_that_is_too_long_is_refused_clearly) {
  auto o = options();
  o.socket = folder.path() / std::string(100, 'x') / "workers";
  const auto p = worker_pool::start(o, {}, system_clock());
  ASSERT_FALSE(p);
  EXPECT_EQ(p.error().code, errc::too_large);
  EXPECT_THAT(p.error().to_string(), HasSubstr("shorter"));
}

TEST_F(worker_pool_test, secrets_of_the_node_do_not_reach_the_worker) {
  setenv("MY_CLOUD_SECRET", "xyzzy", 1);
  start(options());
  EXPECT_EQ(run(task("a", "environment")).body, "clean");
  unsetenv("MY_CLOUD_SECRET");
}

class worker_sandbox_test : public worker_pool_test {
protected:
  void SetUp() override {
    if (const auto can = worker_pool::can_sandbox(); !can)
      GTEST_SKIP() << "THE SANDBOX IS NOT TESTED HERE: " << can.error().to_string();
    for (const auto* name : {"train", "holdout", "out"})
      std::filesystem::create_directory(folder.path() / name);
    std::ofstream{folder.path() / "train" / "rows"} << "for training";
    std::ofstream{folder.path() / "holdout" / "rows"} << "for judging";
  }
  worker_task confined(const std::string& id, const std::string& kind, const std::filesystem::path& body) {
    auto t = task(id, kind, body.string());
    t.sandbox = {{folder.path() / "train"}, {folder.path() / "out"}};
    return t;
  }
};

TEST_F(worker_sandbox_test, a_worker_reads_and_writes_only_what_it_may) {
  start(options());
  const auto allowed = run(confined("a", "read", folder.path() / "train" / "rows"));
  EXPECT_EQ(allowed.body, "for training") << allowed.cause.to_string();
  EXPECT_TRUE(allowed.sandboxed);
  EXPECT_THAT(run(confined("b", "read", folder.path() / "holdout" / "rows")).body, HasSubstr("Permission denied"));
  EXPECT_THAT(run(confined("c", "read", "/etc/passwd")).body, HasSubstr("Permission denied"));
  EXPECT_EQ(run(confined("d", "write", folder.path() / "out" / "new")).body, "written");
  EXPECT_THAT(run(confined("e", "write", folder.path() / "train" / "new")).body, HasSubstr("Permission denied"));
  EXPECT_THAT(run(confined("f", "read", "/proc/" + std::to_string(getpid()) + "/environ")).body,
              HasSubstr("cannot"));
}

TEST_F(worker_sandbox_test, a_confined_worker_cannot_signal_its_node) {
  start(options());
  const auto end = run(confined("a", "kill_node", ""));
  std::ifstream version{"/proc/sys/kernel/osrelease"};
  if (end.body == "may")
    GTEST_SKIP() << "this kernel's Landlock does not confine signals";
  EXPECT_THAT(end.body, HasSubstr("Operation not permitted"));
}

TEST_F(worker_sandbox_test, a_worker_serves_one_sandbox_only) {
  start(options());
  run(confined("a", "ok", ""));
  EXPECT_EQ(run(confined("b", "pid", "")).body, std::to_string(pid_of("a")));
  auto other = confined("c", "pid", "");
  other.sandbox.readable.push_back(folder.path() / "holdout");
  EXPECT_NE(run(std::move(other)).body, std::to_string(pid_of("a")));
  const auto free = run(task("d", "read", (folder.path() / "holdout" / "rows").string()));
  EXPECT_EQ(free.body, "for judging");
  EXPECT_FALSE(free.sandboxed);
}

TEST_F(worker_sandbox_test, a_path_that_does_not_exist_fails_the_task) {
  start(options());
  auto t = confined("a", "ok", "");
  t.sandbox.readable.push_back(folder.path() / "nothing");
  const auto end = run(std::move(t));
  EXPECT_EQ(end.cause.code, errc::not_found);
  EXPECT_THAT(end.cause.what, HasSubstr("nothing"));
}
