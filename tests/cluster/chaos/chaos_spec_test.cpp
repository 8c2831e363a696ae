// What a file of faults may say, and where each mistake is found.

#include "cluster/chaos/chaos_spec.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace flywheel {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

std::string with(const std::string& experiment) { return "flywheel_chaos: 1\nname: night\nduration: 10s\nexperiments:\n  - " + experiment + "\n"; }

std::string problems_of(const std::string& text) {
  const auto parsed = parse_chaos(text, "/x");
  return render_problems(parsed.problems, "f.yaml", text, false);
}

TEST(chaos_spec, everything_that_is_not_said_has_a_value) {
  const auto p = parse_chaos(with("{name: a, kind: PodChaos, action: pod-kill, schedule: '@every 2s', jitter: 500ms}"), "/x");
  ASSERT_TRUE(p.ok()) << render_problems(p.problems, "f", "", false);
  ASSERT_EQ(p.spec.experiments.size(), 1U);
  const auto& e = p.spec.experiments[0];
  EXPECT_EQ(e.every(), 2s);
  EXPECT_EQ(e.jitter, 500ms);
  EXPECT_EQ(e.mode, "one");
  EXPECT_TRUE(e.restart);
  EXPECT_EQ(p.spec.settle, 5min);
}

TEST(chaos_spec, offsets_go_both_ways) {
  const auto p = parse_chaos(with("{name: a, kind: TimeChaos, selector: {role: head}, timeOffset: '-10m', duration: 2s}"), "/x");
  ASSERT_TRUE(p.ok()) << render_problems(p.problems, "f", "", false);
  EXPECT_EQ(p.spec.experiments[0].offset(), -10min);
}

TEST(chaos_spec, the_example_is_one) {
  std::ifstream in{FLYWHEEL_SOURCE_DIR "/examples/chaos.yaml"};
  std::ostringstream text;
  text << in.rdbuf();
  const auto p = parse_chaos(text.str(), FLYWHEEL_SOURCE_DIR "/examples");
  EXPECT_TRUE(p.ok()) << render_problems(p.problems, "chaos.yaml", text.str(), false);
  EXPECT_EQ(p.spec.load.goal, FLYWHEEL_SOURCE_DIR "/examples/churn/goal.yaml");
}

TEST(chaos_spec, the_digest_is_of_what_it_says) {
  const auto text = with("{name: a, kind: PodChaos, action: pod-kill}");
  const auto plain = parse_chaos(text, "/x"), spaced = parse_chaos("# a comment\n" + text, "/y"), other = parse_chaos(text + "settle: 6m\n", "/x");
  EXPECT_EQ(digest_of(plain.spec), digest_of(spaced.spec));
  EXPECT_NE(digest_of(plain.spec), digest_of(other.spec));
}

struct mistake {
  const char* experiment;
  const char* says;
};
void PrintTo(const mistake& m, std::ostream* out) { *out << m.experiment; }

class chaos_mistake : public testing::TestWithParam<mistake> {};
TEST_P(chaos_mistake, is_found) {
  const auto text = problems_of(with(GetParam().experiment));
  EXPECT_THAT(text, HasSubstr(GetParam().says));
  EXPECT_THAT(text, HasSubstr("f.yaml:5:")) << "with its place";
}
INSTANTIATE_TEST_SUITE_P(
    all, chaos_mistake,
    testing::Values(
        mistake{"{name: a, kind: PodChaos, action: pod-kil}", "did you mean 'pod-kill'?"}, mistake{"{name: a, kind: PodChoas, action: pod-kill}", "did you mean 'PodChaos'?"},
        mistake{"{name: a, kind: PodChaos}", "PodChaos needs an action: pod-kill, pod-failure, container-kill"},
        mistake{"{name: a, kind: TimeChaos, action: skew, timeOffset: 5s, duration: 1s}", "TimeChaos has no action"},
        mistake{"{name: a, kind: TimeChaos, timeOffset: soon, duration: 1s}", "'soon'"}, mistake{"{name: a, kind: TimeChaos, duration: 1s}", "needs 'timeOffset'"},
        mistake{"{name: a, kind: PodChaos, action: pod-failure}", "needs 'duration'"},
        mistake{"{name: a, kind: PodChaos, action: pod-kill, duration: 1s}", "'duration' says nothing with PodChaos pod-kill"},
        mistake{"{name: a, kind: PodChaos, action: pod-kill, direction: to}", "'direction' says nothing"},
        mistake{"{name: a, kind: NetworkChaos, action: delay, duration: 1s}", "needs 'delay.latency'"},
        mistake{"{name: a, kind: PodChaos, action: container-kill}", "needs 'containerNames'"},
        mistake{"{name: a, kind: PodChaos, action: container-kill, containerNames: [wroker]}", "did you mean 'worker'?"},
        mistake{"{name: a, kind: PodChaos, action: container-kill, containerNames: [worker, hpo]}", "make two experiments"},
        mistake{"{name: a, kind: PodChaos, action: pod-failure, containerNames: [hpo], duration: 1s}", "cannot be frozen alone"},
        mistake{"{name: a, kind: PodChaos, action: pod-kill, schedule: every 5s}", "a schedule is \"@every D\""},
        mistake{"{name: a, kind: PodChaos, action: pod-kill, schedule: '@every 1ms'}", "every 100ms to 24h"},
        mistake{"{name: a, kind: PodChaos, action: pod-kill, schedule: '@every 1s', jitter: 2s}", "change their order"},
        mistake{"{name: a, kind: PodChaos, action: pod-kill, count: 3}", "without a schedule"}, mistake{"{name: a, kind: PodChaos, action: pod-kill, startAfter: 1m}", "after the rehearsal's"},
        mistake{"{name: a, kind: PodChaos, action: pod-kill, mode: fixed}", "needs a 'value'"},
        mistake{"{name: a, kind: PodChaos, action: pod-kill, mode: fixed, value: 0}", "from 1 on"},
        mistake{"{name: a, kind: PodChaos, action: pod-kill, mode: fixed-percent, value: 120}", "0 to 100"},
        mistake{"{name: a, kind: PodChaos, action: pod-kill, value: 3}", "says nothing with the mode one"},
        mistake{"{name: a, kind: PodChaos, action: pod-kill, containers: [worker]}", "unknown key 'containers'"},
        mistake{"{name: a, kind: PhysicalMachineChaos, action: disk-fill, duration: 3s}", "needs 'size'"},
        mistake{"{kind: PodChaos, action: pod-kill}", "'name' is missing"}));

TEST(chaos_spec, two_of_one_name_and_files_that_are_none) {
  EXPECT_THAT(problems_of(with("{name: a, kind: PodChaos, action: pod-kill}\n  - {name: a, kind: PodChaos, action: pod-kill}")), HasSubstr("is called 'a' already"));
  EXPECT_THAT(problems_of("flywheel_chaos: 1\nname: n\nexperiments: []\n"), HasSubstr("nothing to do"));
  EXPECT_THAT(problems_of("- a\n"), HasSubstr("is a mapping"));
  EXPECT_FALSE(parse_chaos("", "/x").ok());
  EXPECT_FALSE(parse_chaos("flywheel_chaos: 2\nname: n\nexperiments: []\n", "/x").ok());
  EXPECT_FALSE(parse_chaos(std::string(100, '['), "/x").ok());
  EXPECT_FALSE(parse_chaos("name: &a n\nexperiments: *a\n", "/x").ok());
}

} // namespace
} // namespace flywheel
