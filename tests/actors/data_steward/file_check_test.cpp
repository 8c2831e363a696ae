#include "actors/data_steward/file_check.hpp"

#include "actors/data_steward/compiled_contract.hpp"
#include "cluster/base/json.hpp"
#include "tests/actors/data_steward/pass_fixture.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace flywheel;
using namespace flywheel::test;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

namespace {

struct file_check : testing::Test {
  temporary_folder folder;
  data_spec spec(const std::string& text, std::vector<column_rule> columns = {}) {
    data_spec d;
    d.source = folder.write("data.csv", text);
    d.contract.columns = std::move(columns);
    return d;
  }
  const column_rule& column(const contract_draft& d, std::string_view name) {
    for (const auto& c : d.contract.columns)
      if (c.name == name)
        return c;
    throw std::runtime_error("no column " + std::string{name});
  }
};

std::string orders(int rows) {
  std::string text = "id,plan,amount,count,zip,paid,day,note,empty\n";
  for (int i = 1; i <= rows; ++i)
    text += std::to_string(i) + (i % 3 == 0 ? ",gold," : ",\"basic\",") + std::to_string(i) + ".5," + (i % 10 == 0 ? "NA" : std::to_string(i % 7)) +
            ",0" + std::to_string(1000 + i % 90) + (i % 2 == 0 ? ",true," : ",False,") + "2026-01-" + std::to_string(10 + i % 20) + ",some words " +
            std::to_string(i) + ",\n";
  return text;
}

} // namespace

TEST_F(file_check, a_contract_is_drafted_from_what_the_cells_are) {
  const auto draft = infer_contract(spec(orders(200)), {}, never);
  ASSERT_TRUE(draft) << draft.error().to_string();
  EXPECT_EQ(draft->rows, 200u);
  std::vector<std::string> types;
  for (const auto& c : draft->contract.columns)
    types.push_back(c.name + " " + c.type + (c.nullable ? "?" : ""));
  EXPECT_THAT(types, ElementsAre("id integer", "plan category", "amount number", "count integer?", "zip text", "paid boolean", "day timestamp",
                                 "note text", "empty text?"));
  EXPECT_THAT(column(*draft, "plan").values, ElementsAre("basic", "gold"));
  EXPECT_EQ(column(*draft, "amount").min, 0);
  EXPECT_THAT(draft->yaml, HasSubstr("{name: \"count\", type: integer, nullable: true, min: 0}  # 20 of 200 are null; seen 0 to 6"));
  EXPECT_THAT(draft->yaml, HasSubstr("leading zeros"));
  EXPECT_THAT(draft->yaml, HasSubstr("candidate for key"));
  // The draft is itself a contract that the file keeps.
  auto data = spec(orders(200));
  data.contract = draft->contract;
  const auto report = check_file(data, {}, never);
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(report->rows_bad, 0u) << report->render(false);
}

TEST_F(file_check, a_few_odd_cells_do_not_change_a_type_but_are_told) {
  std::string text = "n,k\n";
  for (int i = 0; i < 400; ++i)
    text += (i == 300 ? "unknown" : std::to_string(i)) + ",x\n";
  const auto draft = infer_contract(spec(text), {}, never);
  ASSERT_TRUE(draft);
  EXPECT_EQ(column(*draft, "n").type, "integer");
  EXPECT_THAT(draft->yaml, HasSubstr("1 cells are no integer, first 'unknown' in row 301"));
}

TEST_F(file_check, json_lines_are_drafted_too) {
  const auto draft = infer_contract(spec("{\"a\":1,\"b\":\"x\"}\n{\"a\":2}\n{\"a\":3,\"b\":null,\"c\":true}\n"), {}, never);
  ASSERT_TRUE(draft) << draft.error().to_string();
  EXPECT_EQ(draft->contract.columns.size(), 3u);
  EXPECT_EQ(column(*draft, "a").type, "integer");
  EXPECT_FALSE(column(*draft, "a").nullable);
  EXPECT_TRUE(column(*draft, "b").nullable);
  EXPECT_EQ(column(*draft, "c").type, "boolean");
}

TEST_F(file_check, hostile_texts_in_a_draft_stay_inside_their_quotes) {
  const auto draft = infer_contract(spec("\"a\"\" #}\n\",b\n\"x\"\"]\n- y: \",1\n\"x\"\"]\n- y: \",2\n\x1b[2J,3\n"), {}, never);
  ASSERT_TRUE(draft) << draft.error().to_string();
  EXPECT_THAT(draft->yaml, HasSubstr("\\x0a"));
  EXPECT_EQ(draft->yaml.find('\x1b'), std::string::npos);
  EXPECT_EQ(std::count(draft->yaml.begin(), draft->yaml.end(), '{'), 2);
}

TEST_F(file_check, the_report_counts_names_and_judges) {
  auto data = spec("id,plan,amount\n1,basic,5\n2,Basic,7\n2,basic,1\n3,gold,900\n4,basic,x\n",
                   {a_column("id", "integer"), a_column("plan", "category"), a_column("amount", "number", 0, 100)});
  data.contract.key = {"id"};
  const auto report = check_file(data, {}, never);
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->acceptable);
  EXPECT_THAT(report->verdict, HasSubstr("3 of 5 rows (60.00 %) break the contract; it allows 1.00 %"));
  EXPECT_EQ(report->by_rule, (std::map<std::string, std::uint64_t>{{"key", 1}, {"max", 1}, {"type", 1}}));
  const std::string text = report->render(false);
  EXPECT_THAT(text, HasSubstr("data.csv:5: row 4, column 'amount': max: 900"));
  EXPECT_THAT(text, HasSubstr("'Basic' (1), 'basic' (1)"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(report->render(true), HasSubstr("\x1b[31m"));
  const auto j = to_json(*report);
  EXPECT_EQ(j.at("examples").size(), 3u);
  EXPECT_EQ(j.at("columns")[2].at("max"), 7.0);
  data.contract.bad_rows_max = 0.6;
  EXPECT_TRUE(check_file(data, {}, never)->acceptable);
}

TEST_F(file_check, every_mistake_in_a_contract_is_named) {
  const auto broken = [&](auto&& change) {
    data_contract c;
    c.columns = {a_column("n", "integer"), a_column("t", "text")};
    change(c);
    const auto compiled = compile_contract(c);
    return compiled ? std::string{"accepted"} : compiled.error().to_string();
  };
  EXPECT_THAT(broken([](auto& c) { c.columns[0].type = "float"; }), HasSubstr("'float' is no type"));
  EXPECT_THAT(broken([](auto& c) { c.columns[0].min = 3, c.columns[0].max = 2; }), HasSubstr("min 3 is above max 2"));
  EXPECT_THAT(broken([](auto& c) { c.columns[1].min = 3; }), HasSubstr("no min or max"));
  EXPECT_THAT(broken([](auto& c) { c.columns[0].values = {"1"}; }), HasSubstr("use min and max"));
  EXPECT_THAT(broken([](auto& c) { c.columns[1].pattern = "a("; }), HasSubstr("RE2"));
  EXPECT_THAT(broken([](auto& c) { c.columns[1].name = "n"; }), HasSubstr("twice"));
  EXPECT_THAT(broken([](auto& c) { c.key = {"m"}; }), HasSubstr("did you mean 'n'"));
  EXPECT_THAT(broken([](auto& c) { c.rules = {{"r", "n >"}}; }), HasSubstr("contract.rules.r"));
  EXPECT_THAT(broken([](auto& c) { c.rules = {{"r", "q > 1"}}; }), HasSubstr("q"));
  EXPECT_THAT(broken([](auto& c) { c.time_column = "t"; }), HasSubstr("timestamp"));
  EXPECT_THAT(broken([](auto& c) { c.fresh_within = std::chrono::hours{1}; }), HasSubstr("time_column"));
  EXPECT_EQ(broken([](auto&) {}), "accepted");
  // Every field is part of the digest.
  data_contract a;
  a.columns = {a_column("n", "integer")};
  auto b = a;
  EXPECT_EQ(contract_digest(a), contract_digest(b));
  b.columns[0].max = 5;
  EXPECT_NE(contract_digest(a), contract_digest(b));
}
