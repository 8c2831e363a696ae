// Histories of all agents, each from its seed, in a process of its own; and deliberate defects around them, each of which must be found.
//   FLYWHEEL_SEED=17 build/release/test_agent_simulation --gtest_filter='*one_seed*'     tells one history again, fault by fault

#include "tests/simulation/agent_world.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fcntl.h>
#include <unistd.h>

using namespace flywheel::simulation;
namespace fs = std::filesystem;

namespace {

/// A folder in memory: what is tested here is not this machine's disk.
fs::path scratch() {
  std::string name = fs::exists("/dev/shm") ? "/dev/shm/fw-sim-XXXXXX" : "/tmp/fw-sim-XXXXXX";
  return ::mkdtemp(name.data());
}

class agents : public testing::Test {
protected:
  static void SetUpTestSuite() {
    root = scratch();
    make_certificates(root / "certs", 2);
  }
  static void TearDownTestSuite() { fs::remove_all(root); }

  static history run(std::uint64_t seed, const history_rules& r) {
    const auto folder = root / ("h" + std::to_string(seed));
    fs::create_directories(folder);
    auto h = in_a_process_of_its_own([&] {
      if (!r.tell) { // what agents print for operators
        const int nowhere = ::open((folder / "stderr").c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
        ::dup2(nowhere, 2);
      }
      ::chdir(folder.c_str()); // paths are the same wherever it is run
      return run_agents(seed, r, "w", "../certs");
    });
    if (h.found.empty())
      fs::remove_all(folder);
    return h;
  }
  static std::string text(const history& h) {
    std::string out;
    for (const auto& f : h.found)
      out += "  " + f + "\n";
    return out;
  }
  static inline fs::path root;
};

class agent_histories : public agents, public testing::WithParamInterface<std::uint64_t> {};

constexpr std::uint64_t shards = 16, seeds_each = 20;

} // namespace

TEST_P(agent_histories, keep_every_promise) {
  std::uint64_t done = 0, faults = 0;
  for (std::uint64_t seed = GetParam() * seeds_each; seed < (GetParam() + 1) * seeds_each; ++seed) {
    const auto h = run(seed, {});
    ASSERT_TRUE(h.found.empty()) << "FLYWHEEL_SEED=" << seed << " shows it again:\n" << text(h);
    done += h.goals_done;
    faults += h.faults;
  }
  EXPECT_GT(done, seeds_each) << "most goals reach production, whatever breaks";
  EXPECT_GT(faults, seeds_each * 5);
}
INSTANTIATE_TEST_SUITE_P(agent_simulation, agent_histories, testing::Range<std::uint64_t>(0, shards));

TEST_F(agents, one_seed_is_told) {
  const auto* seed = std::getenv("FLYWHEEL_SEED");
  history_rules r;
  r.tell = seed != nullptr;
  const auto h = run(seed != nullptr ? std::strtoull(seed, nullptr, 10) : 1, r);
  std::printf("%llu events, %llu turns, %llu goals done, %llu failed, %llu faults, %llu heads, %llu tasks, %.1f virtual seconds\n", static_cast<unsigned long long>(h.events),
              static_cast<unsigned long long>(h.turns), static_cast<unsigned long long>(h.goals_done), static_cast<unsigned long long>(h.goals_failed),
              static_cast<unsigned long long>(h.faults), static_cast<unsigned long long>(h.heads), static_cast<unsigned long long>(h.tasks), h.virtual_seconds);
  EXPECT_TRUE(h.found.empty()) << text(h);
}
