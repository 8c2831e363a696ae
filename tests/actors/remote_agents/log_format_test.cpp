#include "actors/remote_agents/log_format.hpp"

#include "cluster/base/json.hpp"

#include <gtest/gtest.h>

using namespace flywheel;
using nlohmann::json;

namespace {

event example() {
  event e;
  e.kind = event_kind::decision;
  e.goal = "g-1";
  e.step = "search";
  e.subject = "t";
  e.key = "k";
  e.actor = "hpo";
  e.text = "tune \xc3\xa4 \xff";
  e.body = R"({"choice":"x"})";
  e.epoch = 7;
  e.seq = ~0ULL;
  e.time.ns = -5;
  e.hash = digest_of("x");
  return e;
}

} // namespace

TEST(log_format, entries_and_questions_come_back_as_they_were) {
  const auto e = example();
  const auto events = log_format::events_from(json::array({log_format::to_json(e)}));
  ASSERT_TRUE(events) << events.error().to_string();
  const auto& got = events->at(0);
  EXPECT_EQ(got.kind, e.kind);
  EXPECT_EQ(std::tie(got.goal, got.step, got.subject, got.key, got.actor, got.text, got.body, got.epoch), std::tie(e.goal, e.step, e.subject, e.key, e.actor, e.text, e.body, e.epoch));
  EXPECT_EQ(std::tie(got.seq, got.time.ns, got.hash), std::tie(e.seq, e.time.ns, e.hash));

  const auto drafts = log_format::drafts_from(log_format::to_json(std::vector<event_draft>{e, {}}));
  ASSERT_TRUE(drafts);
  EXPECT_EQ(drafts->at(0).body, e.body);
  EXPECT_EQ(drafts->at(1).kind, event_kind::note);

  journal_filter f;
  f.goal = "g";
  f.step = "s";
  f.subject = "u";
  f.key = "k";
  f.kinds = {event_kind::effect_done, event_kind::note};
  f.after_seq = 9;
  f.limit = 3;
  f.newest_first = true;
  const auto filter = log_format::filter_from(log_format::to_json(f));
  ASSERT_TRUE(filter);
  EXPECT_EQ(std::tie(filter->goal, filter->step, filter->subject, filter->key, filter->kinds, filter->after_seq, filter->limit, filter->newest_first),
            std::tie(f.goal, f.step, f.subject, f.key, f.kinds, f.after_seq, f.limit, f.newest_first));
}

TEST(log_format, every_field_must_be_there_and_of_its_type) {
  const auto good = log_format::to_json(example());
  for (const auto& [key, value] : good.items()) {
    auto bad = good;
    bad[key] = json::array();
    EXPECT_FALSE(log_format::events_from(json::array({bad}))) << key;
    bad.erase(key);
    EXPECT_FALSE(log_format::events_from(json::array({bad}))) << key;
  }
  auto unknown = good;
  unknown["kind"] = "no_such_kind";
  EXPECT_FALSE(log_format::events_from(json::array({unknown})));
  const auto question = log_format::to_json(journal_filter{});
  for (const auto& [key, value] : question.items()) {
    auto bad = question;
    bad[key] = json::object();
    EXPECT_FALSE(log_format::filter_from(bad)) << key;
  }
  EXPECT_FALSE(log_format::events_from(json::object()));
  EXPECT_FALSE(log_format::drafts_from(json{}));
}
