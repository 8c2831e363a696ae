#pragma once
// A gang of test ranks (test_rank_main.cpp) under the real supervisor, with everything it told.

#include "cluster/gang/gang_supervisor.hpp"
#include "cluster/gang/rank_environment.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <poll.h>
#include <unistd.h>

namespace flywheel::testing {

using namespace std::chrono_literals;

inline bool is_alive(int pid) {
  if (::kill(pid, 0) != 0 && errno == ESRCH)
    return false;
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat"); // a zombie that nobody reaps in a container is dead too
  std::string stat((std::istreambuf_iterator<char>(in)), {});
  const auto at = stat.rfind(") ");
  return at != std::string::npos && stat[at + 2] != 'Z';
}

/// Until the condition holds; false after a time that nothing here should need. Looks at what has no event to wait for.
template <class F> bool soon(const F& condition, std::chrono::seconds at_most = 60s) {
  const auto until = system_clock().mono() + at_most;
  while (!condition()) {
    if (system_clock().mono() > until)
      return false;
    ::poll(nullptr, 0, 2);
  }
  return true;
}

inline int number_in_file(const std::filesystem::path& file) {
  int number = 0;
  std::ifstream(file) >> number;
  return number;
}

class gang_under_test : public ::testing::Test {
protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "flywheel-ranks-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  std::string file(const std::string& name) const { return (folder_ / name).string(); }

  gang_plan plan(int ranks, std::vector<std::string> words) {
    gang_plan p;
    for (int r = 0; r < ranks; ++r)
      p.seats.push_back({"here", "cpu " + std::to_string(r), r});
    p.launcher.host = "here";
    p.launcher.ranks = ranks;
    p.launcher.keeper_command = {FLYWHEEL_TEST_RANK, "_keep"};
    p.restart.restarts_max = 0;
    p.restart.backoff_first = 10ms;
    words.insert(words.begin(), FLYWHEEL_TEST_RANK);
    p.command = [words, seats = p.seats](int rank, std::uint64_t attempt, std::uint32_t restart) -> result<rank_command> {
      const std::vector<std::string> base{"PATH=/usr/bin:/bin"};
      rank_command c;
      c.rank = rank;
      c.attempt = attempt;
      c.arguments = words;
      c.environment = rank_environment(base, {"test", attempt, restart, 0, "127.0.0.1", 1, "", ""}, seats, rank, "");
      return c;
    };
    p.tell = [this](const gang_event& e) {
      events_.push_back(e);
      if (e.what == gang_event::kind::rank_started)
        pids_.push_back(e.pid);
      if (on_event_)
        on_event_(e);
    };
    p.output = [this](int rank, bool is_error, std::string_view line) {
      output_.push_back("[" + std::to_string(rank) + (is_error ? "!" : "") + "] " + std::string(line));
    };
    return p;
  }
  gang_result run(const gang_plan& p) {
    auto done = supervise_gang(p, system_clock());
    EXPECT_TRUE(done) << (done ? "" : done.error().to_string());
    for (const int pid : pids_)
      EXPECT_FALSE(is_alive(pid)) << "rank process " << pid << " is left";
    return done ? *done : gang_result{};
  }
  int count(gang_event::kind k) const {
    return static_cast<int>(std::count_if(events_.begin(), events_.end(), [&](const gang_event& e) { return e.what == k; }));
  }
  mono_time when(gang_event::kind k) const {
    for (const auto& e : events_)
      if (e.what == k)
        return e.at;
    ADD_FAILURE() << "no event " << name_of(k);
    return {};
  }

  std::filesystem::path folder_;
  std::vector<gang_event> events_;
  std::vector<std::string> output_;
  std::vector<int> pids_;
  std::function<void(const gang_event&)> on_event_;
};

} // namespace flywheel::testing
