#include "actors/dispatcher/dispatch_format.hpp"

#include "actors/protocol/control_format.hpp"
#include "cluster/base/json.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

using namespace flywheel;
using namespace flywheel::dispatch;
using nlohmann::json;
using testing::HasSubstr;

namespace {
/// As it goes over the wire.
json carried(const json& j) { return (*control::decode(control::encode({{"x", j}})))["x"]; }
} // namespace

TEST(dispatch_format, a_task_arrives_as_it_left) {
  worker_task t;
  t.task = {"goal/trial-1#2", 2, "trial", R"({"deep":[1,2,{"x":"ü"}]})"};
  t.time_max = std::chrono::seconds{90};
  t.memory_max = 1u << 30;
  t.sandbox.readable = {"/a/b", "/c"};
  t.sandbox.writable = {"/d"};
  t.files = {{"/a/b", "/c"}, "/d", {"t"}, {"t.model"}, {"/table"}, {"/model"}};
  const auto back = task_from(carried(to_json(t)));
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(back->task.id, t.task.id);
  EXPECT_EQ(back->task.attempt, 2U);
  EXPECT_EQ(back->task.body, t.task.body);
  EXPECT_EQ(back->time_max, t.time_max);
  EXPECT_EQ(back->memory_max, t.memory_max);
  EXPECT_EQ(back->sandbox, t.sandbox);
  EXPECT_EQ(back->files, t.files);
}

TEST(dispatch_format, a_greeting_that_cannot_be_read_is_of_no_version_and_a_key_that_is_none_is_left_out) {
  const std::string key(40, 'k');
  const auto g = greeting_from(to_text(greeting{1, key}));
  EXPECT_EQ(g.protocol, 1U);
  EXPECT_EQ(g.data_key, key);
  EXPECT_EQ(greeting_from(R"({"protocol":1})").data_key, "");
  EXPECT_EQ(greeting_from(R"({"protocol":1,"data_key":"short"})").data_key, "");
  EXPECT_EQ(greeting_from(R"({"protocol":1,"data_key":[]})").protocol, 1U);
  for (const char* bad : {"", "text", "[]", R"({"protocol":-1})", R"({"protocol":"1"})"})
    EXPECT_EQ(greeting_from(bad).protocol, 0U) << bad;
}

TEST(dispatch_format, numbers_arrive_to_the_bit) {
  for (const double x : {0.1, -0.0, 5e-324, 1e308, std::numeric_limits<double>::infinity()}) {
    const auto r = report_from(carried(to_json(wire::report{"t", 1, 3, 7, x, -x})));
    ASSERT_TRUE(r);
    EXPECT_EQ(std::bit_cast<std::uint64_t>(r->value), std::bit_cast<std::uint64_t>(x));
    EXPECT_EQ(std::bit_cast<std::uint64_t>(r->standard_error), std::bit_cast<std::uint64_t>(-x));
  }
}

TEST(dispatch_format, an_end_arrives_with_its_cause) {
  task_end e;
  e.task = "t";
  e.attempt = 4;
  e.cause = error{errc::out_of_memory, "too much", "trial t", "give it more"};
  e.seconds = 1.25;
  e.rss_peak_bytes = 77;
  const auto back = end_from(carried(to_json(e)));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->cause.code, errc::out_of_memory);
  EXPECT_EQ(back->cause.to_string(), e.cause.to_string());
  EXPECT_EQ(back->seconds, 1.25);
  e.cause = error{errc::ok, {}};
  EXPECT_EQ(end_from(carried(to_json(e)))->cause.code, errc::ok);
}

TEST(dispatch_format, slots_are_those_of_the_node_that_says_so) {
  const std::vector<slot> slots{{{"", "cpu0"}, slot_kind::cpu, "2 cores", 5, 1}, {{"", "gpu0"}, slot_kind::gpu, "H200", 6, 0}};
  const auto back = slots_from(carried(to_json(slots)), "node1");
  ASSERT_TRUE(back);
  ASSERT_EQ(back->size(), 2U);
  EXPECT_EQ((*back)[0].id.text(), "node1/cpu0");
  EXPECT_EQ((*back)[1].kind, slot_kind::gpu);
  EXPECT_EQ((*back)[1].model, "H200");
  json bad = to_json(slots);
  bad[0]["name"] = "../x";
  EXPECT_EQ(slots_from(bad, "node1").error().code, errc::protocol_violation);
  EXPECT_EQ(slots_from(json::object(), "node1").error().code, errc::protocol_violation);
  EXPECT_EQ(slots_from(json(5000, json::object()), "node1").error().code, errc::protocol_violation);
}

TEST(dispatch_format, what_is_missing_or_of_another_type_is_named) {
  const auto check = [](const char* what, const json& good, auto&& from) {
    ASSERT_TRUE(from(good)) << what;
    for (const auto& [key, value] : good.items()) {
      json missing = good, twisted = good;
      missing.erase(key);
      twisted[key] = json::array({json::object()});
      for (const auto& bad : {missing, twisted}) {
        const auto r = from(bad);
        if (r && (key == "readable" || key == "writable"))
          continue;
        ASSERT_FALSE(r) << what << " without " << key;
        EXPECT_EQ(r.error().code, errc::protocol_violation);
        EXPECT_THAT(r.error().what, HasSubstr(what));
      }
    }
    EXPECT_FALSE(from(json())) << what;
    EXPECT_FALSE(from(json("text"))) << what;
  };
  check("task", to_json(worker_task{}), task_from);
  check("end", to_json(task_end{}), end_from);
  check("report", to_json(wire::report{}), report_from);
  check("welcome", to_json(welcome{}), welcome_from);
  const std::vector<held_task> held{{"t", 3}};
  EXPECT_EQ((*held_from(carried(to_json(held))))[0].lease, 3U);
  EXPECT_FALSE(held_from(json::array({{{"task", 3}}})));
}
