#include "actors/remote_agents/agent_messages.hpp"

#include <gtest/gtest.h>

#include <set>

using namespace flywheel;
using nlohmann::json;

TEST(message_fields, a_message_comes_back_as_it_was_also_with_a_fault_inside) {
  trial_ended m;
  m.problem = error{errc::worker_lost, "what", "where", "hint"};
  m.trial = std::string("bytes \xff\0", 8);
  m.attempt = 3;
  m.result_json = "{}";
  m.milliseconds = ~0ULL;
  const auto fields = message_fields::to_json(m);
  std::set<std::string> names;
  for (const auto& [key, value] : fields.items())
    names.insert(key);
  EXPECT_EQ(names, (std::set<std::string>{"problem", "trial", "attempt", "result_json", "milliseconds", "rss_peak_bytes"})) << "these names are the protocol";
  const auto got = message_fields::from_json<trial_ended>(fields);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->problem.to_error().code, errc::worker_lost);
  EXPECT_EQ(got->problem.hint, "hint");
  EXPECT_EQ(std::tie(got->trial, got->attempt, got->result_json, got->milliseconds), std::tie(m.trial, m.attempt, m.result_json, m.milliseconds));
}

TEST(message_fields, another_version_may_say_more_or_less) {
  const auto less = message_fields::from_json<run_step>({{"goal", "g"}, {"new_field", 1}});
  ASSERT_TRUE(less);
  EXPECT_EQ(less->goal, "g");
  EXPECT_EQ(less->attempt, 1U) << "the default";
}

TEST(message_fields, another_type_is_refused_and_named) {
  for (const auto& bad : {json{{"goal", 1}}, json{{"attempt", "1"}}, json{{"attempt", -1}}, json{{"attempt", 1ULL << 32}}, json::array()})
    EXPECT_EQ(message_fields::from_json<run_step>(bad).error().code, errc::protocol_violation) << bad;
  EXPECT_NE(message_fields::from_json<run_step>({{"attempt", -1}}).error().what.find("attempt"), std::string::npos);
  EXPECT_FALSE(message_fields::from_json<step_outcome>({{"problem", {{"code", "text"}}}}));
}

TEST(message_fields, every_message_of_the_table_crosses) {
  std::apply(
      [](const auto&... entries) {
        const auto check = [](const auto& entry) {
          using message = typename std::decay_t<decltype(entry)>::message;
          const auto there = agent_messages::message_of<message>(agent_messages::fields_of(message{}));
          EXPECT_TRUE(there) << entry.name;
        };
        (check(entries), ...);
      },
      agent_messages::all);
}
