#include "actors/client/launch_view.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <csignal>

namespace flywheel {
namespace {

using testing::HasSubstr;

gang_cause killed() {
  gang_cause c;
  c.end = gang_end::killed;
  c.rank = 1;
  c.host = "n1";
  c.slot = "gpu 1";
  c.signal = SIGKILL;
  c.has_stepped = true;
  c.step = 40;
  c.collective = 81;
  c.collective_name = "all_reduce";
  c.steps = 40;
  return c;
}

TEST(launch_view, people_see_the_cause_once_and_what_follows) {
  gang_event e{};
  e.cause = killed();
  e.text = "restart 1 of 3";
  for (const auto quiet : {gang_event::kind::attempt_started, gang_event::kind::rank_started, gang_event::kind::first_step,
                           gang_event::kind::noticed, gang_event::kind::cleared, gang_event::kind::ended}) {
    e.what = quiet;
    EXPECT_EQ(line_of(e), "") << name_of(quiet);
  }
  e.what = gang_event::kind::restarting;
  EXPECT_EQ(line_of(e), "rank 1 (n1, gpu 1) was killed by signal 9 (KILL) in step 40 (collective 81, all_reduce); all ranks were stopped: "
                        "restart 1 of 3");
  e.what = gang_event::kind::straggler;
  e.text = "rank 1 needs 2s a step, the others 1s";
  EXPECT_EQ(line_of(e), e.text);
}

TEST(launch_view, the_end_is_one_sentence) {
  gang_result r;
  EXPECT_EQ(line_of(r), "all ranks ended with exit code 0");
  r.restarts = 2;
  EXPECT_EQ(line_of(r), "all ranks ended with exit code 0 after 2 restarts");
  r.cause = killed();
  r.restarts = 1;
  r.why_final = "all 1 restarts are used up";
  EXPECT_EQ(line_of(r), "rank 1 (n1, gpu 1) was killed by signal 9 (KILL) in step 40 (collective 81, all_reduce); final after 1 restart: "
                        "all 1 restarts are used up");
}

TEST(launch_view, programs_get_records) {
  gang_event e{};
  e.what = gang_event::kind::noticed;
  e.at = mono_time{77};
  e.attempt = 3;
  e.cause = killed();
  const auto r = record_of(e);
  EXPECT_EQ(r["event"], "noticed");
  EXPECT_EQ(r["at_ns"], 77);
  EXPECT_EQ(r["attempt"], 3);
  EXPECT_EQ(r["cause"]["end"], "killed");
  EXPECT_EQ(r["cause"]["signal"], 9);
  EXPECT_EQ(r["cause"]["step"], 40);
  EXPECT_EQ(r["cause"]["host"], "n1");
  EXPECT_FALSE(r["cause"].contains("code"));
  gang_result done;
  done.loss = 2.5;
  done.steps = 9;
  EXPECT_EQ(record_of(done)["event"], "done");
  EXPECT_EQ(record_of(done)["loss"], 2.5);
  done.loss = std::nan("");
  done.cause = killed();
  EXPECT_EQ(record_of(done)["event"], "failed");
  EXPECT_FALSE(record_of(done).contains("loss")) << "JSON has no NaN";
  EXPECT_THAT(record_of(done)["cause"]["sentence"].get<std::string>(), HasSubstr("was killed"));
}

TEST(launch_view, exit_codes) {
  const auto code = [](gang_end end, int signal, int exit, int stop) {
    gang_result r;
    r.cause.end = end;
    r.cause.signal = signal;
    r.cause.code = exit;
    return exit_code_of(r, stop);
  };
  EXPECT_EQ(code(gang_end::succeeded, 0, 0, 0), 0);
  EXPECT_EQ(code(gang_end::exit_code, 0, 3, 0), 3);
  EXPECT_EQ(code(gang_end::killed, SIGSEGV, 0, 0), 139);
  EXPECT_EQ(code(gang_end::out_of_memory, 0, 1, 0), 1);
  EXPECT_EQ(code(gang_end::out_of_memory, SIGABRT, 0, 0), 134);
  EXPECT_EQ(code(gang_end::hung, SIGKILL, 0, 0), 1) << "the signal was ours";
  EXPECT_EQ(code(gang_end::frozen, 0, 0, 0), 1);
  EXPECT_EQ(code(gang_end::peers_only, 0, 0, 0), 1) << "never 0";
  EXPECT_EQ(code(gang_end::not_startable, 0, 0, 0), 127);
  EXPECT_EQ(code(gang_end::cancelled, 0, 0, SIGINT), 130);
  EXPECT_EQ(code(gang_end::cancelled, 0, 0, SIGTERM), 143);
}

TEST(launch_view, the_end_of_a_gang_on_a_cluster_is_read_from_the_journal) {
  using nlohmann::json;
  const auto code = [](const json& body, int stop = 0) { return exit_code_of(end_in(body).value(), stop); };
  EXPECT_FALSE(end_in({{"state", "failed"}, {"attempt", 1}})) << "it is started again";
  EXPECT_FALSE(end_in(json::array()));
  EXPECT_EQ(code({{"state", "done"}, {"attempt", 3}, {"restarts", 2}}), 0);
  EXPECT_EQ(end_in({{"state", "done"}, {"attempt", 3}, {"restarts", 2}})->restarts, 2U);
  EXPECT_EQ(code({{"state", "gave_up"}, {"cause", {{"end", "exit_code"}, {"code", 7}}}}), 7);
  EXPECT_EQ(code({{"state", "gave_up"}, {"cause", {{"end", "killed"}, {"signal", SIGSEGV}}}}), 139);
  EXPECT_EQ(code({{"state", "gave_up"}, {"cause", {{"end", "not_startable"}}}}), 127);
  EXPECT_EQ(code({{"state", "gave_up"}, {"cause", {{"end", "host_lost"}}}}), 1);
  EXPECT_EQ(code({{"state", "gave_up"}, {"cause", {{"end", "of a later version"}}}}), 1);
  EXPECT_EQ(code({{"state", "gave_up"}, {"cause", 5}, {"attempt", "x"}}), 1);
  EXPECT_EQ(code({{"state", "cancelled"}, {"cause", {{"end", "killed"}}}}, SIGINT), 130);
  EXPECT_EQ(code({{"state", "cancelled"}}), 1) << "by somebody else";
}

} // namespace
} // namespace flywheel
