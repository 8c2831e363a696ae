#include "actors/protocol/log_format.hpp"

#include "cluster/base/json.hpp"
#include "cluster/journal/journal.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

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

TEST(log_format, pages_put_together_are_the_journal) {
  char name[] = "/tmp/fw-page-XXXXXX";
  const std::filesystem::path folder = ::mkdtemp(name);
  {
    auto log = journal::open(folder, system_clock());
    ASSERT_TRUE(log);
    for (int i = 0; i < 50; ++i) {
      event_draft d;
      d.goal = i % 2 == 0 ? "even" : "odd";
      d.text = std::string(static_cast<std::size_t>(i) * 100, 'x'); // some larger than a page
      ASSERT_TRUE((*log)->append(std::move(d)));
    }
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{2000}, std::size_t{10'000}, std::size_t{1} << 20}) {
      journal_filter f;
      f.goal = "odd";
      std::uint64_t seen = 0;
      for (bool more = true; more;) {
        const auto page = log_format::page(**log, f, bytes);
        ASSERT_TRUE(page) << page.error().to_string();
        const auto events = log_format::events_from(page->at("events"));
        ASSERT_TRUE(events);
        ASSERT_FALSE(events->empty());
        for (const auto& e : *events)
          EXPECT_EQ(e.seq, (seen += 2));
        more = page->at("more").get<bool>();
        f.after_seq = events->back().seq;
        EXPECT_EQ(page->at("last"), 50);
      }
      EXPECT_EQ(seen, 50U) << bytes;
    }
    journal_filter newest;
    newest.newest_first = true;
    EXPECT_EQ(log_format::page(**log, newest, 2000).error().code, errc::too_large);
    newest.limit = 1;
    journal_filter some;
    some.limit = 7;
    const auto limited = log_format::page(**log, some, 1 << 20);
    EXPECT_EQ(limited->at("events").size(), 7U);
    EXPECT_EQ(limited->at("more"), false) << "no more was asked for";
    EXPECT_EQ(log_format::page(**log, newest, 2000)->at("events").at(0)["seq"], 50);
  }
  std::filesystem::remove_all(folder);
}
