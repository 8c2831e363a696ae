// The pool's decisions as a table of times and verdicts; no process, no socket.

#include "cluster/worker/worker_table.hpp"

#include "cluster/base/random.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

using namespace flywheel;
using namespace std::chrono_literals;
using testing::HasSubstr;

namespace {

worker_table_options small(std::uint32_t slots = 1) { return {slots, 10s, 20s, 2s, 30s, 5s}; }

mono_time at(nanoseconds t) { return mono_time{1'000'000'000'000} + t; }

worker_task task(const std::string& id, nanoseconds time_max = 0s) {
  worker_task t;
  t.task = {id, 1, "trial", "{}"};
  t.time_max = time_max;
  return t;
}

template <class T> std::vector<T> only(const std::vector<worker_table::action>& actions) {
  std::vector<T> found;
  for (const auto& a : actions)
    if (const auto* x = std::get_if<T>(&a))
      found.push_back(*x);
  return found;
}

using ended = worker_table::tell_ended;
using killed = worker_table::kill_worker;
using sent = worker_table::send_message;
using started = worker_table::start_worker;

/// A table with one worker that runs task "a" since `at(0s)`.
worker_table running(nanoseconds time_max = 0s) {
  worker_table t{small()};
  t.submit(task("a", time_max), at(0s));
  t.on_started(1, 100, false, at(0s));
  t.on_message(1, wire::hello{}, at(0s));
  t.take_actions();
  return t;
}

} // namespace

TEST(worker_table, a_task_starts_a_worker_and_is_sent_after_hello) {
  worker_table t{small()};
  t.submit(task("a"), at(0s));
  EXPECT_EQ(only<started>(t.take_actions()).size(), 1u);
  t.on_started(1, 100, true, at(0s));
  t.on_message(1, wire::hello{}, at(1s));
  const auto actions = t.take_actions();
  ASSERT_EQ(only<sent>(actions).size(), 1u);
  EXPECT_EQ(std::get<wire::task>(only<sent>(actions)[0].message).id, "a");
  EXPECT_EQ(only<worker_table::tell_started>(actions)[0].pid, 100);
  t.on_message(1, wire::done{"a", 1, "result"}, at(5s));
  const auto end = only<ended>(t.take_actions());
  ASSERT_EQ(end.size(), 1u);
  EXPECT_EQ(end[0].end.body, "result");
  EXPECT_EQ(end[0].end.seconds, 4.0);
  EXPECT_TRUE(end[0].end.sandboxed);
}

TEST(worker_table, silence_is_judged_to_the_second) {
  auto t = running();
  t.on_message(1, wire::heartbeat{"a", 1, 1}, at(3s));
  EXPECT_EQ(t.next_deadline(), at(13s));
  t.tick(at(13s - 1ns));
  EXPECT_TRUE(t.take_actions().empty());
  t.tick(at(13s));
  EXPECT_EQ(only<killed>(t.take_actions()).size(), 1u);
  t.on_exit(1, {9, 0, false, ""}, at(13s));
  const auto end = only<ended>(t.take_actions());
  ASSERT_EQ(end.size(), 1u);
  EXPECT_EQ(end[0].end.cause.code, errc::worker_silent);
}

TEST(worker_table, a_node_that_stood_still_blames_nobody) {
  auto t = running();
  t.on_pause(at(60s));
  t.tick(at(60s));
  EXPECT_TRUE(t.take_actions().empty());
  EXPECT_EQ(t.next_deadline(), at(70s));
}

TEST(worker_table, a_task_over_its_time_is_asked_to_stop_then_killed) {
  auto t = running(5s);
  t.tick(at(5s));
  auto actions = t.take_actions();
  ASSERT_EQ(only<sent>(actions).size(), 1u);
  EXPECT_EQ(std::get<wire::stop>(only<sent>(actions)[0].message).task, "a");
  EXPECT_TRUE(only<killed>(actions).empty());
  t.tick(at(7s));
  EXPECT_EQ(only<killed>(t.take_actions()).size(), 1u);
  t.on_exit(1, {9, 0, false, ""}, at(7s));
  EXPECT_EQ(only<ended>(t.take_actions())[0].end.cause.code, errc::timed_out);
}

TEST(worker_table, a_report_in_the_stopping_time_is_answered_no_at_once) {
  auto t = running(5s);
  t.tick(at(5s));
  t.take_actions();
  t.on_message(1, wire::report{"a", 1, 0, 1, 0.5, 0.1}, at(6s));
  const auto actions = t.take_actions();
  ASSERT_EQ(only<sent>(actions).size(), 1u);
  EXPECT_FALSE(std::get<wire::verdict>(only<sent>(actions)[0].message).go_on);
  EXPECT_TRUE(only<worker_table::tell_report>(actions).empty());
}

TEST(worker_table, a_cancel_answers_an_open_report_so_that_the_worker_can_stop) {
  auto t = running();
  t.on_message(1, wire::report{"a", 1, 0, 1, 0.5, 0.1}, at(1s));
  t.take_actions();
  t.cancel("a", "enough", at(2s));
  const auto messages = only<sent>(t.take_actions());
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_TRUE(std::holds_alternative<wire::stop>(messages[0].message));
  EXPECT_FALSE(std::get<wire::verdict>(messages[1].message).go_on);
  t.answer(1, "a", 0, true); // too late
  EXPECT_TRUE(t.take_actions().empty());
}

TEST(worker_table, a_second_report_before_the_verdict_is_a_violation) {
  auto t = running();
  t.on_message(1, wire::report{"a", 1, 0, 1, 0.5, 0.1}, at(1s));
  t.on_message(1, wire::report{"a", 1, 1, 2, 0.5, 0.1}, at(1s));
  t.on_exit(1, {9, 0, false, ""}, at(1s));
  EXPECT_EQ(only<ended>(t.take_actions())[0].end.cause.code, errc::protocol_violation);
}

TEST(worker_table, causes_of_an_exit_are_told_apart) {
  struct row { worker_exit how; errc code; const char* text; };
  const row rows[] = {
      {{11, 0, false, "segfault in tree"}, errc::worker_lost, "signal 11 (SIGSEGV); its last output: segfault in tree"},
      {{9, 0, false, ""}, errc::worker_lost, "signal 9 (SIGKILL)"},
      {{9, 0, true, ""}, errc::out_of_memory, "memory ran out"},
      {{11, 0, true, ""}, errc::worker_lost, "signal 11"},
      {{0, 0, false, ""}, errc::worker_lost, "exited with code 0 before its task was done"},
      {{0, 3, false, "usage: ..."}, errc::worker_lost, "code 3"},
  };
  for (const auto& r : rows) {
    auto t = running();
    t.on_exit(1, r.how, at(1s));
    const auto end = only<ended>(t.take_actions());
    ASSERT_EQ(end.size(), 1u);
    EXPECT_EQ(end[0].end.cause.code, r.code) << r.text;
    EXPECT_THAT(end[0].end.cause.to_string(), HasSubstr(r.text));
  }
}

TEST(worker_table, memory_over_the_limit_kills_whoever_measured_it) {
  worker_table t{small()};
  auto a = task("a");
  a.memory_max = 1000;
  t.submit(a, at(0s));
  t.on_message(1, wire::hello{}, at(0s));
  t.on_memory(1, 1000, at(1s));
  EXPECT_TRUE(only<killed>(t.take_actions()).empty());
  t.on_message(1, wire::heartbeat{"a", 1, 1001}, at(2s));
  EXPECT_EQ(only<killed>(t.take_actions()).size(), 1u);
  t.on_exit(1, {9, 0, false, ""}, at(2s));
  const auto end = only<ended>(t.take_actions())[0].end;
  EXPECT_EQ(end.cause.code, errc::out_of_memory);
  EXPECT_EQ(end.rss_peak_bytes, 1001u);
}

TEST(worker_table, last_words_after_the_exit_count_but_bring_no_new_task) {
  auto t = running();
  t.submit(task("b"), at(1s));
  t.on_leaving(1);
  t.on_message(1, wire::done{"a", 1, "result"}, at(2s));
  auto actions = t.take_actions();
  EXPECT_EQ(only<ended>(actions)[0].end.body, "result");
  EXPECT_TRUE(only<sent>(actions).empty());
  t.on_exit(1, {0, 0, false, ""}, at(2s));
  EXPECT_EQ(only<started>(t.take_actions()).size(), 1u); // b, in a new worker
}

TEST(worker_table, a_process_that_does_not_die_holds_its_slot_but_not_its_task) {
  auto t = running(5s);
  t.submit(task("b"), at(1s));
  t.tick(at(5s));
  t.tick(at(7s));
  t.take_actions();
  t.tick(at(12s));
  const auto actions = t.take_actions();
  ASSERT_EQ(only<ended>(actions).size(), 1u);
  EXPECT_EQ(only<ended>(actions)[0].end.cause.code, errc::timed_out);
  EXPECT_THAT(only<ended>(actions)[0].end.cause.hint, HasSubstr("driver"));
  EXPECT_TRUE(only<started>(actions).empty());
  t.on_exit(1, {9, 0, false, ""}, at(100s));
  EXPECT_EQ(only<ended>(t.take_actions()).size(), 0u);
  EXPECT_EQ(t.workers(), 1u);
}

TEST(worker_table, an_idle_worker_goes_home) {
  auto t = running();
  t.on_message(1, wire::done{"a", 1, ""}, at(1s));
  t.take_actions();
  for (auto s = 2s; s < 31s; s += 1s) {
    t.on_message(1, wire::heartbeat{}, at(s));
    t.tick(at(s));
  }
  EXPECT_TRUE(t.take_actions().empty());
  t.tick(at(31s));
  const auto dismissal = only<sent>(t.take_actions());
  ASSERT_EQ(dismissal.size(), 1u);
  EXPECT_EQ(std::get<wire::stop>(dismissal[0].message).task, "");
  t.submit(task("b"), at(32s)); // not for one who is on its way out
  EXPECT_TRUE(only<sent>(t.take_actions()).empty());
  t.tick(at(33s));
  EXPECT_EQ(only<killed>(t.take_actions()).size(), 1u); // it did not go
  t.on_exit(1, {9, 0, false, ""}, at(33s));
  EXPECT_EQ(only<started>(t.take_actions()).size(), 1u);
}

TEST(worker_table, cancelling_before_hello_keeps_the_worker) {
  worker_table t{small()};
  t.submit(task("a"), at(0s));
  t.cancel("a", "no", at(1s));
  EXPECT_EQ(only<ended>(t.take_actions()).size(), 1u);
  t.on_message(1, wire::hello{}, at(2s));
  t.submit(task("b"), at(3s));
  const auto actions = t.take_actions();
  EXPECT_TRUE(only<started>(actions).empty());
  EXPECT_EQ(std::get<wire::task>(only<sent>(actions)[0].message).id, "b");
}

// Whatever happens in whatever order: each task ends exactly once, and there are never more workers than slots.
TEST(worker_table, a_second_attempt_waits_until_the_first_has_ended_and_lets_others_pass) {
  worker_table t{small(3)};
  t.submit(task("goal/t1#1"), at(0s));
  t.submit(task("goal/t1#2"), at(0s));
  t.submit(task("goal/t10#1"), at(0s));
  EXPECT_EQ(only<started>(t.take_actions()).size(), 2u) << "one for each trial, although there is a third slot";
  for (const worker_number n : {1, 2}) {
    t.on_started(n, 100, false, at(0s));
    t.on_message(n, wire::hello{}, at(0s));
  }
  t.take_actions();
  t.cancel("goal/t1#1", "a newer attempt was ordered", at(1s));
  EXPECT_TRUE(only<started>(t.take_actions()).empty()) << "it was asked to stop, but writes still";
  t.on_message(1, wire::failed{"goal/t1#1", 1, "cancelled", "stopped", ""}, at(2s));
  const auto actions = t.take_actions();
  ASSERT_EQ(only<ended>(actions).size(), 1u);
  ASSERT_EQ(only<sent>(actions).size(), 1u);
  EXPECT_EQ(std::get<wire::task>(only<sent>(actions)[0].message).id, "goal/t1#2");
}

TEST(worker_table, any_history_ends_each_task_exactly_once) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    random_source random{seed};
    const auto slots = static_cast<std::uint32_t>(1 + random.below(3));
    worker_table t{small(slots)};
    std::multiset<std::string> ends;
    std::set<worker_number> alive;
    std::map<worker_number, std::string> gave;
    std::vector<std::string> tasks;
    auto now = at(0s);
    const auto look = [&] {
      for (auto actions = t.take_actions(); !actions.empty(); actions = t.take_actions())
        for (const auto& a : actions) {
          if (const auto* e = std::get_if<ended>(&a))
            ends.insert(e->end.task);
          if (const auto* s = std::get_if<started>(&a)) {
            if (random.below(8) == 0) {
              t.on_start_failed(s->worker, {errc::io_failed, "fork"}, now);
            } else {
              alive.insert(s->worker);
              t.on_started(s->worker, 100, false, now);
            }
          }
          if (const auto* s = std::get_if<sent>(&a))
            if (const auto* given = std::get_if<wire::task>(&s->message))
              gave[s->worker] = given->id;
        }
      ASSERT_LE(t.workers(), slots) << "seed " << seed;
    };
    for (int step = 0; step < 400; ++step) {
      now = now + std::chrono::milliseconds(random.below(3000));
      const auto pick = [&]() -> worker_number {
        if (alive.empty())
          return 999;
        return *std::next(alive.begin(), static_cast<std::ptrdiff_t>(random.below(alive.size())));
      };
      const auto w = pick();
      switch (random.below(12)) {
      case 0:
      case 1: {
        auto next = task("t" + std::to_string(tasks.size()), random.below(2) == 0 ? 0s : 4s);
        if (random.below(4) == 0)
          next.sandbox.readable = {"/tmp"};
        tasks.push_back(next.task.id);
        t.submit(next, now);
        break;
      }
      case 2:
        if (!tasks.empty())
          t.cancel(tasks[random.below(tasks.size())], "random", now);
        break;
      case 3: t.on_message(w, wire::hello{}, now); break;
      case 4: t.on_message(w, wire::done{gave[w], 1, ""}, now); break;
      case 5: t.on_message(w, wire::failed{gave[w], 1, random.below(2) ? "out_of_memory" : "internal", "", ""}, now); break;
      case 6: t.on_message(w, wire::report{gave[w], 1, 0, 1, 0.5, 0}, now); break;
      case 7: t.answer(w, gave[w], 0, true); break;
      case 8:
        if (alive.erase(w))
          t.on_exit(w, {random.below(2) ? 9 : 0, 1, random.below(2) == 0, ""}, now);
        break;
      case 9: t.on_leaving(w); break;
      default:
        for (auto n : alive)
          t.on_message(n, wire::heartbeat{gave[n], 1, 1}, now);
        t.tick(now);
      }
      look();
    }
    t.shut_down("end", now);
    t.submit(task("late"), now);
    tasks.push_back("late");
    look();
    for (auto n : std::exchange(alive, {}))
      t.on_exit(n, {9, 0, false, ""}, now);
    look();
    EXPECT_EQ(t.workers(), 0u) << "seed " << seed;
    for (const auto& id : tasks)
      ASSERT_EQ(ends.count(id), 1u) << "seed " << seed << " task " << id;
  }
}
