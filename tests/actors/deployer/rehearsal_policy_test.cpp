// Which rehearsals let a release pass.

#include "actors/deployer/rehearsal_policy.hpp"

#include <gtest/gtest.h>

namespace flywheel {
namespace {

using namespace std::chrono_literals;

const std::string one(64, '1'), two(64, '2');

event rehearsal(std::uint64_t seq, const std::string& state, nanoseconds at, const std::string& digest = one, const std::string& name = "night") {
  event e;
  e.kind = event_kind::rehearsal;
  e.seq = seq;
  e.subject = name;
  e.key = digest;
  e.body = "{\"state\":\"" + state + "\"}";
  e.time.ns = at.count();
  return e;
}

struct row {
  const char* what;
  std::vector<rehearsal_rule> rules;
  std::vector<event> events;
  bool passed;
  const char* says;
};

TEST(rehearsal_policy, table) {
  const rehearsal_rule night{"night", "", 24h}, exactly{"night", one.substr(0, 12), 24h}, day{"day", "", 24h};
  const std::vector<row> rows{
      {"nothing asked", {}, {}, true, ""},
      {"never run", {night}, {}, false, "was never run here"},
      {"passed", {night}, {rehearsal(5, "began", 0h), rehearsal(6, "kept", 1h)}, true, "(entry 6)"},
      {"begun and not ended", {night}, {rehearsal(5, "began", 99h)}, false, "was never run here"},
      {"one in progress takes nothing away", {night}, {rehearsal(5, "kept", 90h), rehearsal(6, "began", 99h)}, true, "(entry 5)"},
      {"too long ago", {night}, {rehearsal(5, "kept", 50h)}, false, "ago (entry 5), and at most"},
      {"broken the last time", {night}, {rehearsal(5, "kept", 90h), rehearsal(6, "broken", 95h)}, false, "(entry 6: broken)"},
      {"passed again", {night}, {rehearsal(5, "broken", 90h), rehearsal(6, "kept", 95h)}, true, "(entry 6)"},
      {"stopped", {night}, {rehearsal(5, "stopped", 95h)}, false, "(entry 5: stopped)"},
      {"another file of that name", {exactly}, {rehearsal(5, "kept", 95h, two)}, false, "night (111111111111) was never run here"},
      {"that file", {exactly}, {rehearsal(5, "kept", 95h, one), rehearsal(6, "broken", 96h, two)}, true, "(entry 5)"},
      {"both asked, one there", {night, day}, {rehearsal(5, "kept", 95h)}, false, "rehearsal day was never run here"},
      {"both", {night, day}, {rehearsal(5, "kept", 95h), rehearsal(6, "kept", 95h, two, "day")}, true, "; rehearsal day was passed"},
      {"a body that is none", {night}, {rehearsal(5, "\"}", 95h)}, false, "entry 5"},
  };
  for (const auto& r : rows) {
    auto events = r.events;
    auto now = wall_time{std::chrono::nanoseconds{r.events.size() == 2 && r.events[1].time.ns == std::chrono::nanoseconds{1h}.count() ? 2h : 100h}.count()};
    const auto v = judge_rehearsals(r.rules, events, now);
    EXPECT_EQ(v.passed, r.passed) << r.what << ": " << v.reason;
    EXPECT_NE(v.reason.find(r.says), std::string::npos) << r.what << ": " << v.reason;
    EXPECT_EQ(v.seqs.size() == r.rules.size(), r.passed) << r.what;
  }
}

} // namespace
} // namespace flywheel
