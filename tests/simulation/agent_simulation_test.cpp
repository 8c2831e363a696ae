// Histories of all agents, each from its seed, in a process of its own; and deliberate defects around them, each of which must be found.
//   FLYWHEEL_SEED=17 build/release/test_agent_simulation --gtest_filter='*one_seed*'     tells one history again, fault by fault

#include "tests/simulation/agent_world.hpp"

#include "cluster/base/random.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fcntl.h>
#include <unistd.h>

using namespace flywheel::simulation;
namespace fs = std::filesystem;

namespace {

constexpr int members_max = 3;

/// A folder in memory: what is tested here is not this machine's disk.
fs::path scratch() {
  std::string name = fs::exists("/dev/shm") ? "/dev/shm/fw-sim-XXXXXX" : "/tmp/fw-sim-XXXXXX";
  return ::mkdtemp(name.data());
}

class agents : public testing::Test {
protected:
  static void SetUpTestSuite() {
    root = scratch();
    make_certificates(root / "certs", members_max);
  }
  static void TearDownTestSuite() { fs::remove_all(root); }

  static history run(std::uint64_t seed, const history_rules& r) {
    const auto folder = root / ("h" + std::to_string(seed));
    fs::remove_all(folder);
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

/// Small and calm, large and rough.
history_rules rules_of(std::uint64_t seed) {
  auto chance = flywheel::random_source::derive(seed, "rules");
  history_rules r;
  r.members = 1 + static_cast<int>(chance.below(members_max));
  r.goals = 1 + static_cast<int>(chance.below(3));
  r.faults = 4 + static_cast<int>(chance.below(24));
  const auto given = [](const char* name, int& number) {
    if (const auto* text = std::getenv(name))
      number = std::atoi(text);
  };
  given("FLYWHEEL_MEMBERS", r.members);
  given("FLYWHEEL_GOALS", r.goals);
  given("FLYWHEEL_FAULTS", r.faults);
  return r;
}

class agent_histories : public agents, public testing::WithParamInterface<std::uint64_t> {};

constexpr std::uint64_t shards = 16;
/// FLYWHEEL_HISTORIES: more of them for a night. Under the sanitizers each takes six times as long.
const std::uint64_t seeds_each = [] {
  const auto* wanted = std::getenv("FLYWHEEL_HISTORIES");
#if defined(__SANITIZE_ADDRESS__)
  constexpr std::uint64_t usual = 160;
#else
  constexpr std::uint64_t usual = 3008;
#endif
  return std::max<std::uint64_t>(1, (wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : usual) / shards);
}();

} // namespace

TEST_P(agent_histories, keep_every_promise) {
  std::uint64_t done = 0, submitted = 0, faults = 0;
  for (std::uint64_t seed = GetParam() * seeds_each; seed < (GetParam() + 1) * seeds_each; ++seed) {
    const auto h = run(seed, rules_of(seed));
    ASSERT_TRUE(h.found.empty()) << "FLYWHEEL_SEED=" << seed << " shows it again:\n" << text(h);
    done += h.goals_done;
    submitted += h.goals_done + h.goals_failed;
    faults += h.faults;
  }
  EXPECT_GT(done * 2, submitted) << "most goals reach production, whatever breaks";
  EXPECT_GT(faults, seeds_each * 5);
}
INSTANTIATE_TEST_SUITE_P(agent_simulation, agent_histories, testing::Range<std::uint64_t>(0, shards));

TEST_F(agents, one_seed_is_told) {
  const auto* seed = std::getenv("FLYWHEEL_SEED");
  const auto number = seed != nullptr ? std::strtoull(seed, nullptr, 10) : 1;
  auto r = rules_of(number);
  r.tell = seed != nullptr;
  const auto h = run(number, r);
  std::printf("%llu events, %llu turns, %llu goals done, %llu failed, %llu faults, %llu heads, %llu tasks, %.1f virtual seconds\n", static_cast<unsigned long long>(h.events),
              static_cast<unsigned long long>(h.turns), static_cast<unsigned long long>(h.goals_done), static_cast<unsigned long long>(h.goals_failed),
              static_cast<unsigned long long>(h.faults), static_cast<unsigned long long>(h.heads), static_cast<unsigned long long>(h.tasks), h.virtual_seconds);
  EXPECT_TRUE(h.found.empty()) << text(h);
}

TEST_F(agents, the_same_seed_is_the_same_history) {
  for (const std::uint64_t seed : {5, 23, 1234}) {
    const auto first = run(seed, {}), again = run(seed, {});
    EXPECT_EQ(first.fingerprint, again.fingerprint) << seed;
    EXPECT_EQ(first.turns, again.turns) << seed;
    EXPECT_NE(first.fingerprint, run(seed + 1, {}).fingerprint);
  }
}

TEST_F(agents, a_history_without_faults_is_short_and_ends_well) {
  history_rules calm;
  calm.faults = 0;
  const auto h = run(1, calm);
  EXPECT_TRUE(h.found.empty()) << text(h);
  EXPECT_EQ(h.goals_done, 2U);
  EXPECT_EQ(h.goals_failed, 0U);
  EXPECT_EQ(h.heads, 1U);
}

namespace {
struct seeded_flaw {
  flaw what;
  const char* name;
};
class seeded_flaws : public agents, public testing::WithParamInterface<seeded_flaw> {};
} // namespace

TEST_P(seeded_flaws, are_found) {
  history_rules r;
  r.seeded = GetParam().what;
  r.goals = 3;
  r.faults = 24;
  std::uint64_t seed = 0;
  history h;
  for (; seed < 150 && h.found.empty(); ++seed)
    h = run(seed, r);
  EXPECT_FALSE(h.found.empty()) << GetParam().name << " went unnoticed in 150 histories";
  if (!h.found.empty())
    std::printf("%s: found by seed %llu: %s\n", GetParam().name, static_cast<unsigned long long>(seed - 1), h.found.front().c_str());
}
INSTANTIATE_TEST_SUITE_P(agent_simulation, seeded_flaws,
                         testing::Values(seeded_flaw{flaw::disk_lies, "disk_lies"}, seeded_flaw{flaw::workers_outlive_lease, "workers_outlive_lease"},
                                         seeded_flaw{flaw::epoch_stands_still, "epoch_stands_still"}, seeded_flaw{flaw::incarnation_stands_still, "incarnation_stands_still"},
                                         seeded_flaw{flaw::clock_runs_slow, "clock_runs_slow"}, seeded_flaw{flaw::outcomes_forgotten, "outcomes_forgotten"}),
                         [](const auto& p) { return std::string{p.param.name}; });
