#include "actors/data_steward/steward.hpp"

#include "actors/data_steward/cell_parsers.hpp"
#include "cluster/base/text.hpp"
#include "cluster/content/publish.hpp"
#include "tests/actors/data_steward/temporary_folder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <set>

using namespace flywheel;
using testing::HasSubstr;
namespace fs = std::filesystem;

namespace {

const std::atomic<bool> never{false};

/// A customers' file: id, plan, minutes, charge, left. Every third customer leaves.
std::string customers(std::size_t rows) {
  std::string text = "id,plan,minutes,charge,left\n";
  for (std::size_t i = 1; i <= rows; ++i) {
    const double minutes = static_cast<double>(i * 37 % 400) / 10;
    text += std::to_string(i) + (i % 2 == 0 ? ",basic," : ",family,") + format_number(minutes) + "," +
            format_number(std::round(minutes * 17) / 100) + (i % 3 == 0 ? ",yes\n" : ",no\n");
  }
  return text;
}

column_rule a_column(std::string name, std::string type, std::optional<double> min = {}, std::optional<double> max = {},
                     std::vector<std::string> values = {}) {
  column_rule c;
  c.name = std::move(name);
  c.type = std::move(type);
  c.min = min;
  c.max = max;
  c.values = std::move(values);
  return c;
}

goal_spec goal_for(const std::string& source) {
  goal_spec g;
  g.name = "test";
  g.target = "left";
  g.data.source = source;
  g.data.contract.columns = {a_column("id", "integer"), a_column("plan", "category", {}, {}, {"basic", "family"}),
                             a_column("minutes", "number", 0, 1000), a_column("charge", "number", 0),
                             a_column("left", "category", {}, {}, {"no", "yes"})};
  g.data.contract.key = {"id"};
  g.data.contract.bad_rows_max = 0.2;
  return g;
}

std::optional<std::int64_t> to_ns(std::string_view text) { return parse_timestamp(text); }

struct steward : testing::Test {
  temporary_folder folder;
  seal_private_key key = *seal_private_key::generate();
  check_options options;

  goal_spec goal_on(const std::string& text) { return goal_for(folder.write("data.csv", text)); }
  result<snapshot_report> ingest_goal(const goal_spec& g) {
    return ingest(g, folder.path() / "snapshots", key.public_key(), options, never);
  }
  const data_finding* find(const snapshot_report& r, std::string_view kind, std::string_view column) {
    for (const auto& f : r.findings)
      if (f.kind == kind && f.column == column)
        return &f;
    return nullptr;
  }
};

} // namespace

TEST_F(steward, the_churn_customers_become_a_snapshot_and_the_last_1667_rows_are_sealed) {
  goal_spec g;
  g.name = "churn";
  g.target = "churn";
  g.data.source = FLYWHEEL_SOURCE_DIR "/examples/churn/churn.csv";
  g.data.split.strategy = "tail";
  g.data.split.holdout_rows = 1667;
  const auto report = ingest_goal(g);
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(report->rows_read, 5000u);
  EXPECT_EQ(report->rows_quarantined, 0u);
  EXPECT_EQ(report->train_rows, 3333u);
  EXPECT_EQ(report->task, "binary");
  EXPECT_TRUE(report->contract_inferred);
  EXPECT_EQ(report->features.size(), 19u);
  const auto* charge = find(*report, "redundant", "total_day_charge");
  ASSERT_NE(charge, nullptr);
  EXPECT_THAT(charge->text, HasSubstr("0.17 * 'total_day_minutes'"));

  const auto train = load_train(report->folder);
  ASSERT_TRUE(train) << train.error().to_string();
  EXPECT_EQ(train->rows(), 3333u);
  EXPECT_EQ(train->find("total_day_minutes")->numbers[0], 265.1);
  EXPECT_EQ(train->find("churn")->categories, (std::vector<std::string>{"no", "yes"}));
  const auto holdout = open_holdout(report->folder, key);
  ASSERT_TRUE(holdout) << holdout.error().to_string();
  EXPECT_EQ(holdout->row_ids.front(), 3334u);
  EXPECT_EQ(holdout->row_ids.back(), 5000u);
  const auto profile = load_profile(report->folder);
  ASSERT_TRUE(profile) << profile.error().to_string();
  EXPECT_EQ(profile->rows, 3333u);
}

// ---- what a snapshot promises ---------------------------------------------------------------------------------------

TEST_F(steward, the_same_content_is_the_same_snapshot_and_it_is_used_again) {
  const auto first = ingest_goal(goal_on(customers(300)));
  ASSERT_TRUE(first) << first.error().to_string();
  EXPECT_FALSE(first->reused);
  auto moved = goal_for(folder.write("elsewhere.csv", customers(300)));
  options.now = {1};
  options.threads = 2;
  options.block_bytes = 512;
  const auto again = ingest_goal(moved);
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_TRUE(again->reused);
  EXPECT_EQ(again->snapshot, first->snapshot);
  const auto other = ingest_goal(goal_on(customers(301)));
  ASSERT_TRUE(other);
  EXPECT_NE(other->snapshot, first->snapshot);
}

TEST_F(steward, a_damaged_snapshot_is_reported_and_not_used_again) {
  const auto first = ingest_goal(goal_on(customers(300)));
  ASSERT_TRUE(first);
  const fs::path file = fs::path{first->folder} / "train.fwt";
  std::string bytes = *read_file(file, 1 << 20);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  ASSERT_TRUE(publish_file(file, bytes));
  EXPECT_EQ(ingest_goal(goal_on(customers(300))).error().code, errc::checksum_mismatch);
}

TEST_F(steward, a_snapshot_sealed_for_another_evaluator_is_a_conflict) {
  ASSERT_TRUE(ingest_goal(goal_on(customers(300))));
  key = *seal_private_key::generate();
  EXPECT_EQ(ingest_goal(goal_on(customers(300))).error().code, errc::already_exists);
}

TEST_F(steward, held_out_rows_leave_no_trace_in_what_training_sees) {
  // The last 100 rows hold a category and numbers that occur nowhere else.
  auto plain = customers(300), strange = customers(200);
  for (int i = 201; i <= 300; ++i)
    strange += std::to_string(i) + ",zebra,7777," + std::to_string(i) + (i % 2 == 0 ? ",yes\n" : ",no\n");
  auto g = goal_on(strange);
  g.data.contract.columns[1].values = {"basic", "family", "zebra"};
  g.data.contract.columns[2].max = 1e6;
  g.data.split.strategy = "tail";
  g.data.split.holdout_rows = 100;
  const auto report = ingest_goal(g);
  ASSERT_TRUE(report) << report.error().to_string();
  const auto train = *load_train(report->folder);
  EXPECT_EQ(train.find("plan")->categories, (std::vector<std::string>{"family", "basic"}));
  const auto profile = *load_profile(report->folder);
  EXPECT_EQ(profile.rows, 200u);
  EXPECT_LT(profile.find("minutes")->edges.back(), 41);
  for (const auto* file : {"train.fwt", "profile.json", "quarantine.jsonl", "report.json", "snapshot.json"}) {
    const auto bytes = *read_file(fs::path{report->folder} / file, 1 << 24);
    EXPECT_EQ(bytes.find("zebra"), std::string::npos) << file;
    EXPECT_EQ(bytes.find("7777,"), std::string::npos) << file;
  }
  const auto sealed = *read_file(fs::path{report->folder} / "holdout.sealed", 1 << 24);
  EXPECT_EQ(sealed.find("zebra"), std::string::npos);
  const auto holdout = open_holdout(report->folder, key);
  ASSERT_TRUE(holdout);
  // The training part's codes mean the same here; what is new comes after them.
  EXPECT_EQ(holdout->find("plan")->categories, (std::vector<std::string>{"family", "basic", "zebra"}));
  EXPECT_EQ(holdout->find("plan")->codes[0], 2);
}

TEST_F(steward, bad_rows_go_to_the_quarantine_with_row_column_rule_and_value) {
  auto text = customers(300);
  text += "301,basic,long,1,no\n302,gold,5,1,no\n300,basic,5,1,no\n303,basic,\x1b[2J,1,no\n";
  const auto report = ingest_goal(goal_on(text));
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(report->rows_quarantined, 4u);
  EXPECT_EQ(report->key_duplicates, 1u);
  EXPECT_EQ(report->quarantined_by_rule, (std::map<std::string, std::uint64_t>{{"type", 2}, {"values", 1}, {"key", 1}}));
  const auto lines = *read_file(fs::path{report->folder} / "quarantine.jsonl", 1 << 20);
  EXPECT_THAT(lines, HasSubstr(R"({"column":"minutes","line":302,"row":301,"rule":"type","value":"long"})"));
  EXPECT_THAT(lines, HasSubstr(R"("column":"plan","line":303,"row":302,"rule":"values","value":"gold")"));
  EXPECT_EQ(lines.find('\x1b'), std::string::npos);
  for (const auto& entry : fs::directory_iterator(folder.path() / "snapshots"))
    EXPECT_EQ(entry.path().filename().string().find("tmp"), std::string::npos) << entry.path();
}

TEST_F(steward, a_regression_and_numbers_as_classes_are_told_apart) {
  auto g = goal_on(customers(300));
  g.target = "minutes";
  const auto numbers = ingest_goal(g);
  ASSERT_TRUE(numbers) << numbers.error().to_string();
  EXPECT_EQ(numbers->task, "regression");
  ASSERT_NE(find(*numbers, "leak", "charge"), nullptr);
  EXPECT_TRUE(find(*numbers, "leak", "charge")->left_out);

  std::string text = "x,y\n";
  for (int i = 0; i < 100; ++i)
    text += std::to_string(i * 37 % 83) + (i % 3 == 0 ? ",1\n" : ",0\n");
  auto zero_one = goal_for(folder.write("zo.csv", text));
  zero_one.target = "y";
  zero_one.data.contract = {};
  const auto classes = ingest_goal(zero_one);
  ASSERT_TRUE(classes) << classes.error().to_string();
  EXPECT_EQ(classes->task, "binary");
  EXPECT_EQ(load_train(classes->folder)->find("y")->type, column_type::categorical);
}

TEST_F(steward, twins_across_the_split_are_counted) {
  std::string text = "x,left\n";
  for (int i = 0; i < 200; ++i)
    text += std::to_string(i % 50) + (i % 50 % 3 == 0 ? ",yes\n" : ",no\n");
  auto g = goal_for(folder.write("t.csv", text));
  g.data.contract = {};
  const auto report = ingest_goal(g);
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(report->exact_duplicates, 150u);
  EXPECT_GT(report->twins_across_split, 30u);
  EXPECT_NE(find(*report, "twins", ""), nullptr);
}

TEST_F(steward, wishes_that_do_not_fit_the_data_are_refused_with_the_fix) {
  auto g = goal_on(customers(300));
  g.target = "lfet";
  auto e = ingest_goal(g).error();
  EXPECT_EQ(e.code, errc::invalid_goal);
  EXPECT_THAT(e.hint, HasSubstr("'left'"));
  g = goal_on(customers(300));
  g.data.contract.columns[2].name = "minute";
  e = ingest_goal(g).error();
  EXPECT_EQ(e.code, errc::invalid_data);
  EXPECT_THAT(e.to_string(), HasSubstr("'minutes'"));
  g = goal_on(customers(300));
  g.task = "regression";
  EXPECT_EQ(ingest_goal(g).error().code, errc::invalid_goal);
  g = goal_on(customers(300));
  g.data.contract.columns[1].pattern = "(";
  EXPECT_EQ(ingest_goal(g).error().code, errc::invalid_contract);
  g = goal_on(customers(300));
  g.data.source += ".gone";
  EXPECT_EQ(ingest_goal(g).error().code, errc::not_found);
  g = goal_on(customers(300));
  g.data.contract.rows_min = 301;
  EXPECT_THAT(ingest_goal(g).error().what, HasSubstr("at least 301"));
  g.data.contract.rows_min = 1;
  g.data.contract.rows_max = 299;
  EXPECT_THAT(ingest_goal(g).error().what, HasSubstr("at most 299"));
}

TEST_F(steward, stale_data_is_refused) {
  std::string text = "when,x,left\n";
  for (int i = 0; i < 100; ++i)
    text += "2026-11-" + std::to_string(10 + i % 10) + "," + std::to_string(i * 7 % 31) + (i % 3 == 0 ? ",yes\n" : ",no\n");
  auto g = goal_for(folder.write("t.csv", text));
  g.data.contract = {};
  g.data.contract.columns = {a_column("when", "timestamp"), a_column("x", "integer"), a_column("left", "category")};
  g.data.contract.time_column = "when";
  g.data.contract.fresh_within = std::chrono::hours{48};
  options.now = {(*to_ns("2026-11-20"))};
  EXPECT_TRUE(ingest_goal(g));
  options.now = {(*to_ns("2026-11-22"))};
  const auto stale = ingest_goal(g);
  ASSERT_FALSE(stale);
  EXPECT_THAT(stale.error().what, HasSubstr("2026-11-19"));
}
