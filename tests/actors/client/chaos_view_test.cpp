#include "actors/client/chaos_view.hpp"

#include "cluster/base/json.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace flywheel {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

TEST(chaos_view, strokes_name_whom_and_how_long) {
  chaos_experiment e;
  e.name = "workers";
  e.kind = "PodChaos";
  e.action = "container-kill";
  chaos_stroke s{0, 2, 12300ms, 0s, {{chaos_subject::sort::worker, "node1/worker-0", "node1", {}, false, 4711, 1}}, 3};
  EXPECT_EQ(stroke_line(e, s), "   12.3s  workers: container-kill node1/worker-0 (process 4711)");
  EXPECT_THAT(stroke_line(e, s, "it was gone"), HasSubstr("(process 4711): it was gone"));
  const auto j = stroke_json(e, s, "it was gone");
  EXPECT_EQ(j["at_ms"], 12300);
  EXPECT_EQ(j["victims"][0]["pid"], 4711);
  EXPECT_EQ(j["problem"], "it was gone");
  s.victims.clear();
  EXPECT_THAT(stroke_line(e, s), HasSubstr("chooses nobody of 3"));
  s.candidates = 0;
  EXPECT_THAT(stroke_line(e, s), HasSubstr("finds nobody"));
  e.kind = "StressChaos";
  e.action.clear();
  s.lasting = 3s;
  EXPECT_THAT(stroke_line(e, s), HasSubstr("workers: StressChaos for 3.0s"));
}

TEST(chaos_view, verdicts_show_reasons_and_evidence) {
  const promise_verdict kept{promise_verdict::finding::kept, "I1", "no goal is lost", "3 goals", {}};
  const promise_verdict broken{promise_verdict::finding::broken, "I3", "once per key", "[7] twice", {"[7] twice", "[9] thrice"}};
  EXPECT_THAT(verdict_lines({kept, broken}, false),
              ElementsAre("I1   kept        no goal is lost", "                 3 goals", "I3   broken      once per key", "                 [7] twice", "                 [9] thrice"));
}

} // namespace
} // namespace flywheel
