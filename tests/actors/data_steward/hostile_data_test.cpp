// Files that want to break the steward: each is survived in bounded memory, and what was wrong with it is said.

#include "actors/data_steward/steward.hpp"
#include "tests/actors/data_steward/pass_fixture.hpp"
#include "tests/peak_memory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <zstd.h>

using namespace flywheel;
using namespace flywheel::test;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

struct hostile_data : testing::Test {
  temporary_folder folder;
  seal_private_key key = *seal_private_key::generate();

  data_spec two_columns(const std::string& text) {
    data_spec d;
    d.source = folder.write("data.csv", text);
    d.contract.columns = {a_column("a", "integer"), nullable(a_column("b", "text"))};
    return d;
  }
  /// x is a number, left is the target; the rest of the columns are the test's.
  result<snapshot_report> ingest_text(const std::string& text, double bad_rows_max = 0.01) {
    goal_spec g;
    g.name = "hostile";
    g.target = "left";
    g.data.source = folder.write("data.csv", text);
    g.data.contract.bad_rows_max = bad_rows_max;
    return ingest(g, folder.path() / "snapshots", key.public_key(), {}, never);
  }
  error refused(const std::string& text) {
    auto r = run(two_columns(text));
    EXPECT_FALSE(r) << text.substr(0, 60);
    return r ? error{} : r.error();
  }
};

std::string rows_with(const std::string& header, const std::function<std::string(int)>& more, int rows = 300) {
  std::string text = "x,left" + header + "\n";
  for (int i = 0; i < rows; ++i)
    text += std::to_string(i * 37 % 101) + (i % 3 == 0 ? ",yes" : ",no") + more(i) + "\n";
  return text;
}

} // namespace

TEST_F(hostile_data, ragged_rows_and_nul_bytes_and_mixed_encodings_cost_their_own_row_only) {
  using namespace std::string_literals;
  const std::string text = "a,b\n1,x\n2\n3,y,z\n4,a\0b\n\0,q\n5,\xe4\n6,\xc3\xa4\n,\n7,\"\xff\"\n8,ok\n"s;
  const auto found = run(two_columns(text));
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_THAT(found->good, ElementsAre("1: [1] [x]", "7: [6] [\xc3\xa4]", "10: [8] [ok]"));
  EXPECT_THAT(found->bad, ElementsAre("row 2 line 3 : columns", "row 3 line 4 : columns", "row 4 line 5 b: nul", "row 5 line 6 a: nul",
                                      "row 6 line 7 b: encoding", "row 8 line 9 a: null", "row 9 line 10 b: encoding"));
  for (const auto& value : found->values)
    EXPECT_TRUE(is_valid_utf8(value)) << value;
}

TEST_F(hostile_data, an_unterminated_quote_costs_one_row_wherever_it_is) {
  const auto middle = run(two_columns("a,b\n1,x\n2,\"y\n3,z\n4,\"w\"\n5,v\n"));
  ASSERT_TRUE(middle);
  EXPECT_THAT(middle->good, ElementsAre("1: [1] [x]", "3: [3] [z]", "4: [4] [w]", "5: [5] [v]"));
  const auto end = run(two_columns("a,b\n1,x\n2,\"y\n3,z\n4,w"));
  ASSERT_TRUE(end);
  EXPECT_THAT(end->good, ElementsAre("1: [1] [x]", "3: [3] [z]", "4: [4] [w]"));
  EXPECT_THAT(end->bad, ElementsAre("row 2 line 3 : quote"));
}

TEST_F(hostile_data, cells_and_rows_beyond_the_limits_are_named) {
  check_options o;
  o.block_bytes = 64;
  o.cell_bytes_max = 100;
  o.record_bytes_max = 400;
  const auto found = run(two_columns("a,b\n1,x\n2," + std::string(150, 'y') + "\n3,\"" + std::string(5'000, 'z') + "\n4,w\n5," + std::string(100, 'v') + "\n"), o);
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_THAT(found->bad, ElementsAre("row 2 line 3 b: cell-size", "row 3 line 4 : row-size"));
  EXPECT_EQ(found->good.size(), 3u);
  EXPECT_LT(found->values[0].size(), 200u);
}

TEST_F(hostile_data, a_cell_of_one_gigabyte_is_passed_over_in_bounded_memory) {
  // A frame of 16 MiB of one letter, 64 times over: 1 GiB of cell in a few kilobytes of file.
  const auto frame = [](const std::string& text) {
    std::string out(ZSTD_compressBound(text.size()), '\0');
    out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 1));
    return out;
  };
  const std::string big = frame(std::string(16 << 20, 'z'));
  std::string file = frame("a,b\n1,x\n2,\"");
  for (int i = 0; i < 64; ++i)
    file += big;
  file += frame("\"\n3,y\n");
  const flywheel::test::peak_memory memory;
  const auto found = run(two_columns(file));
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_THAT(found->good, ElementsAre("1: [1] [x]", "3: [3] [y]"));
  EXPECT_THAT(found->bad, ElementsAre("row 2 line 3 : row-size"));
  EXPECT_LT(memory.kib(), 64 * 1024);
}

TEST_F(hostile_data, a_schema_change_in_mid_file_is_named_row_by_row_or_refuses_the_file) {
  std::string few = "a,b\n", many = few;
  for (int i = 0; i < 1000; ++i) {
    few += i == 700 ? "a,b\n" : std::to_string(i) + ",x\n";
    many += std::to_string(i) + (i < 500 ? ",x\n" : ",x,new\n");
  }
  const auto repeated = run(two_columns(few));
  ASSERT_TRUE(repeated);
  EXPECT_THAT(repeated->bad, ElementsAre("row 701 line 702 : header"));
  auto data = two_columns(many);
  const auto report = check_file(data, {}, never);
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->acceptable);
  EXPECT_EQ(report->by_rule.at("columns"), 500u);
  EXPECT_EQ(report->examples.front().row, 501u);
  EXPECT_THAT(report->examples.front().value, HasSubstr("3 cells, 2 expected"));
  EXPECT_THAT(report->verdict, HasSubstr("rule 'columns'"));
}

TEST_F(hostile_data, what_is_no_table_is_refused_with_a_way_out) {
  EXPECT_THAT(refused("").what, HasSubstr("empty"));
  EXPECT_THAT(refused(std::string("\xff\xfe" "a\0,\0b\0\n\0", 10)).hint, HasSubstr("iconv"));
  std::string utf16;
  for (const char c : std::string("a,b\n1,x\n2,y\n3,z\n"))
    utf16 += {c, '\0'};
  EXPECT_THAT(refused(utf16).hint, HasSubstr("iconv"));
  EXPECT_THAT(refused("PAR1....").what, HasSubstr("Parquet"));
  EXPECT_THAT(refused("a,a\n1,2\n").what, HasSubstr("twice"));
  EXPECT_THAT(refused("a,,b\n1,2,3\n").what, HasSubstr("no name"));
  EXPECT_THAT(refused("\n1,2\n").what, HasSubstr("first line is empty"));
  EXPECT_THAT(refused("a,b\r1,x\r2,y\r").what, HasSubstr("CR alone"));
  EXPECT_THAT(refused("b\n1\n").what, HasSubstr("'a'"));
  EXPECT_EQ(refused(std::string(limits::data_columns_max, ',') + "\n").code, errc::too_large);
  EXPECT_EQ(refused("a,\"" + std::string(5 << 20, 'x') + "\n").code, errc::invalid_format); // a header without end
  data_spec d;
  d.contract.columns = {a_column("a", "integer")};
  d.source = folder.path().string();
  EXPECT_FALSE(run(d)); // a folder
}

TEST_F(hostile_data, a_byte_order_mark_and_other_separators_are_no_obstacle) {
  for (const std::string& text : {std::string{"\xef\xbb\xbf" "a,b\n1,x\n"}, std::string{"a;b\n1;x\n"}, std::string{"a\tb\r\n1\tx\r\n"}, std::string{"a|b\n1|x"}}) {
    const auto found = run(two_columns(text));
    ASSERT_TRUE(found) << found.error().to_string();
    EXPECT_THAT(found->good, ElementsAre("1: [1] [x]")) << text;
  }
}

TEST_F(hostile_data, one_class_is_an_error_before_any_training) {
  const auto one = ingest_text("x,left\n1,no\n2,no\n3,no\n4,no\n");
  ASSERT_FALSE(one);
  EXPECT_EQ(one.error().code, errc::invalid_data);
  EXPECT_THAT(one.error().what, HasSubstr("every row has the same class 'no'"));
}

TEST_F(hostile_data, an_all_null_column_a_constant_and_a_copy_of_the_target_are_left_out) {
  const auto report = ingest_text(rows_with(",empty,same,copy", [](int i) { return std::string{",,7,"} + (i % 3 == 0 ? "1" : "0"); }));
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_THAT(report->features, ElementsAre("x"));
  std::map<std::string, std::string> kinds;
  for (const auto& f : report->findings)
    kinds[f.column] = f.kind;
  EXPECT_EQ(kinds["same"], "constant");
  EXPECT_EQ(kinds["copy"], "leak");
  EXPECT_TRUE(kinds["empty"] == "all-null" || kinds["empty"] == "free-text") << kinds["empty"];
}

TEST_F(hostile_data, if_nothing_is_left_to_learn_from_that_is_said) {
  std::string text = "left,copy\n";
  for (int i = 0; i < 100; ++i)
    text += i % 3 == 0 ? "yes,1\n" : "no,0\n";
  const auto r = ingest_text(text);
  ASSERT_FALSE(r);
  EXPECT_THAT(r.error().what, HasSubstr("no column is left"));
  EXPECT_THAT(r.error().hint, HasSubstr("copy"));
}

TEST_F(hostile_data, endless_different_texts_do_not_fill_the_memory) {
  std::string text = rows_with(",note", [](int i) { return ",note number " + std::to_string(i) + " of many"; }, 80'000);
  const auto report = ingest_text(text);
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_THAT(report->features, ElementsAre("x"));
  EXPECT_EQ(load_train(report->folder)->find("note"), nullptr);
}

TEST_F(hostile_data, too_many_bad_rows_refuse_the_file_and_name_the_commonest_rule) {
  const auto r = ingest_text(rows_with("", [](int i) { return i % 20 == 0 ? ",surplus" : ""; }));
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, errc::invalid_data);
  EXPECT_THAT(r.error().what, HasSubstr("15 of 300 rows (5.00 %)"));
  EXPECT_THAT(r.error().what, HasSubstr("'columns'"));
  EXPECT_TRUE(ingest_text(rows_with("", [](int i) { return i % 20 == 0 ? ",surplus" : ""; }), 0.1));
}
