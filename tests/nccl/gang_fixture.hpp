#pragma once
// Gangs of real processes for tests: fork one child a rank, run the same function in each, and collect what each says went wrong.

#include "nccl/communicator.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace flywheel::testing {

using namespace std::chrono_literals;
using namespace flywheel::nccl; // NOLINT: tests of this folder only

/// Sanitizers make everything slower: deadlines of things that must happen are generous, not exact.
inline constexpr nanoseconds plenty = 30s;

inline const char* name_of_param(backend b) { return b == backend::gloo ? "gloo" : "shared_memory"; }

/// Memory that parent and children share, for counters and results.
template <class T> class shared_value {
public:
  shared_value() {
    void* p = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
      std::abort();
    value_ = new (p) T{};
  }
  ~shared_value() { ::munmap(value_, sizeof(T)); }
  shared_value(const shared_value&) = delete;
  shared_value& operator=(const shared_value&) = delete;
  T* operator->() const { return value_; }
  T& operator*() const { return *value_; }

private:
  T* value_;
};

class gang_of_processes {
public:
  gang_of_processes(int size, backend use, std::uint64_t generation = 1, std::uint64_t arena_bytes = 64 << 20) {
    std::string pattern = (std::filesystem::temp_directory_path() / "flywheel-gang-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr)
      std::abort();
    folder_ = pattern;
    record_.gang = "g-test";
    record_.generation = generation;
    record_.use = use;
    record_.folder = folder_.string();
    record_.arena_bytes = arena_bytes;
    record_.members.assign(static_cast<std::size_t>(size), {"127.0.0.1", -1});
  }
  ~gang_of_processes() {
    for (auto& c : children_)
      end(c);
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  gang_of_processes(const gang_of_processes&) = delete;
  gang_of_processes& operator=(const gang_of_processes&) = delete;

  gang_record record(int rank) const {
    auto r = record_;
    r.rank = rank;
    return r;
  }
  const std::filesystem::path& folder() const { return folder_; }

  /// `body` returns what is wrong, empty if nothing.
  using body = std::function<std::string(int rank)>;
  void start(int rank, const body& f) {
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0)
      std::abort();
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::close(ends[0]);
      const std::string wrong = f(rank);
      [[maybe_unused]] const auto n = ::write(ends[1], wrong.data(), std::min<std::size_t>(wrong.size(), 4000));
      ::_exit(wrong.empty() ? 0 : 1);
    }
    ::close(ends[1]);
    children_.push_back({rank, pid, ends[0], false});
  }
  pid_t pid_of(int rank) const {
    for (const auto& c : children_)
      if (c.rank == rank)
        return c.pid;
    return -1;
  }
  /// Waits for one rank. What it said; "killed" by a signal; "hangs" after 60 s.
  std::string wait(int rank) {
    for (auto& c : children_)
      if (c.rank == rank && !c.reaped) {
        std::string text;
        std::array<char, 4096> buffer;
        while (true) {
          pollfd p{c.output, POLLIN, 0};
          if (::poll(&p, 1, 60'000) <= 0) {
            end(c);
            return "hangs";
          }
          const auto n = ::read(c.output, buffer.data(), buffer.size());
          if (n <= 0)
            break;
          text.append(buffer.data(), static_cast<std::size_t>(n));
        }
        int status = 0;
        ::waitpid(c.pid, &status, 0);
        c.reaped = true;
        ::close(c.output);
        return WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL ? "signal " + std::to_string(WTERMSIG(status))
               : WIFSIGNALED(status)                               ? "killed" : !text.empty() || WEXITSTATUS(status) == 0 ? text : "failed in silence";
      }
    return "was not started";
  }
  /// The same body on every rank; nobody may find anything wrong.
  void run(const body& f) {
    for (int r = 0; r < record_.size(); ++r)
      start(r, f);
    for (int r = 0; r < record_.size(); ++r)
      EXPECT_EQ(wait(r), "") << "rank " << r << " of " << record_.size();
  }
  /// A body over a joined communicator.
  void run_joined(const std::function<std::string(communicator&)>& f) {
    run([&](int rank) { return joined(rank, f); });
  }
  std::string joined(int rank, const std::function<std::string(communicator&)>& f) const {
    auto c = join_gang(record(rank), plenty);
    return c ? f(**c) : c.error().to_string();
  }

private:
  struct child {
    int rank;
    pid_t pid;
    int output;
    bool reaped;
  };
  void end(child& c) {
    if (c.reaped)
      return;
    ::kill(c.pid, SIGKILL);
    ::waitpid(c.pid, nullptr, 0);
    ::close(c.output);
    c.reaped = true;
  }
  std::filesystem::path folder_;
  gang_record record_;
  std::vector<child> children_;
};

/// For bodies: leaves with the text if the condition does not hold.
#define GANG_CHECK(condition, text)                                                                     \
  do {                                                                                                  \
    if (!(condition))                                                                                   \
      return std::string{__FILE_NAME__} + ":" + std::to_string(__LINE__) + ": " + #condition + ": " + (text); \
  } while (false)
#define GANG_OK(expression)                                                                             \
  do {                                                                                                  \
    if (const auto gang_status_ = (expression); !gang_status_)                                          \
      return std::string{__FILE_NAME__} + ":" + std::to_string(__LINE__) + ": " + gang_status_.error().to_string(); \
  } while (false)

} // namespace flywheel::testing
