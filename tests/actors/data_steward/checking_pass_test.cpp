#include "tests/actors/data_steward/pass_fixture.hpp"

#include "cluster/base/random.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <zlib.h>
#include <zstd.h>

using namespace flywheel;
using namespace flywheel::test;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

namespace {

struct checking_pass : testing::Test {
  temporary_folder folder;
  data_spec spec(const std::string& text, std::vector<column_rule> columns, const std::string& name = "data.csv") {
    data_spec d;
    d.source = folder.write(name, text);
    d.contract.columns = std::move(columns);
    return d;
  }
};

std::string gzip(std::string_view text) {
  z_stream z{};
  deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(compressBound(text.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

std::string zstd(std::string_view text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

// ---- a second opinion: the rules of docs/data.md, written the slow way over the whole text ---------------------------

struct naive_outcome {
  std::vector<std::string> good, bad;
};

naive_outcome naive_check(std::string text, std::size_t width) {
  if (!text.empty() && text.back() != '\n')
    text += '\n';
  naive_outcome out;
  std::size_t at = 0;
  std::uint64_t row = 0, line = 1;
  std::string header;
  while (at < text.size()) {
    // One record, strictly; `broken` if quotes are not as RFC 4180 has them.
    std::vector<std::string> cells;
    std::string cell;
    std::size_t i = at;
    bool broken = false, done = false;
    while (!done && !broken) {
      cell.clear();
      if (i < text.size() && text[i] == '"') {
        for (++i;; ++i) {
          if (i >= text.size()) {
            broken = true;
            break;
          }
          if (text[i] != '"')
            cell += text[i];
          else if (i + 1 < text.size() && text[i + 1] == '"')
            cell += text[++i];
          else
            break;
        }
        if (broken)
          break;
        ++i;
        if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n')
          ++i;
        if (text[i] != ',' && text[i] != '\n')
          broken = true;
      } else {
        while (text[i] != ',' && text[i] != '\n' && !broken) {
          broken = text[i] == '"';
          cell += text[i++];
        }
        if (!broken && text[i] == '\n' && cell.ends_with('\r'))
          cell.pop_back();
      }
      if (!broken) {
        cells.push_back(cell);
        done = text[i++] == '\n';
      }
    }
    const std::size_t end = broken ? text.find('\n', at) + 1 : i;
    std::string raw = text.substr(at, end - at - 1);
    if (raw.ends_with('\r'))
      raw.pop_back();
    const auto lines = static_cast<std::uint64_t>(std::count(text.begin() + static_cast<std::ptrdiff_t>(at), text.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    at = end;
    const std::uint64_t first_line = std::exchange(line, line + lines);
    if (header.empty()) { // never broken here
      header = raw;
      continue;
    }
    if (!broken && raw.empty() && width > 1)
      continue;
    ++row;
    const auto reject = [&](const std::string& rule) {
      out.bad.push_back("row " + std::to_string(row) + " line " + std::to_string(first_line) + " : " + rule);
    };
    if (broken)
      reject("quote");
    else if (cells.size() != width)
      reject("columns");
    else if (raw == header)
      reject("header");
    else {
      std::string told = std::to_string(row) + ":";
      for (const auto& c : cells)
        told += " [" + (c.empty() || c == "NA" || c == "null" ? "<null>" : c) + "]";
      out.good.push_back(told);
    }
  }
  return out;
}

} // namespace

TEST_F(checking_pass, agrees_with_the_slow_reading_on_any_text_cut_anywhere_by_any_number_of_threads) {
  random_source random(17);
  const std::vector<std::string> pieces{",", ",", ",", "\n", "\n", "a", "bb", "NA", "\"", "\"x\"", "\"y,\nz\"", "\"q\"\"r\"", "\r\n",
                                        "h1,h2,h3\n", "1,2,3\n", "x,\"\",z\n", "a much longer cell than sixteen bytes", "\r"};
  for (int round = 0; round < 150; ++round) {
    std::string text = "h1,h2,h3\n";
    const bool tame = round % 3 == 0; // mostly whole rows, so that the regular path is taken as well
    for (auto n = random.below(60); n > 0; --n)
      text += tame && random.below(10) != 0 ? "v" + std::to_string(n) + ",\"w\",u\n" : pieces[static_cast<std::size_t>(random.below(pieces.size()))];
    const auto expected = naive_check(text, 3);
    const auto data = spec(text, {nullable(a_column("h1", "text")), nullable(a_column("h2", "text")), nullable(a_column("h3", "category"))});
    for (int variant = 0; variant < 4; ++variant) {
      check_options o;
      o.block_bytes = variant == 0 ? o.block_bytes : 1 + random.below(90);
      o.threads = 1 + static_cast<std::uint32_t>(random.below(3));
      o.portable = random.below(2) == 0;
      const auto found = run(data, o);
      ASSERT_TRUE(found) << found.error().to_string() << "\n" << text;
      ASSERT_EQ(found->good, expected.good) << "round " << round << ", blocks of " << o.block_bytes << "\n" << text;
      ASSERT_EQ(found->bad, expected.bad) << "round " << round << ", blocks of " << o.block_bytes << "\n" << text;
      ASSERT_EQ(found->summary.rows_read, expected.good.size() + expected.bad.size());
    }
  }
}

TEST_F(checking_pass, numbers_are_read_exactly_on_the_quick_path_and_on_the_slow_one) {
  random_source random(23);
  std::string text = "i,x\n";
  std::vector<std::string> expected;
  for (int k = 1; k <= 5'000; ++k) {
    const auto digits = random.below(18);
    std::string whole = std::to_string(random.below(std::uint64_t{1} << (3 * (digits + 1))) );
    std::string number = std::to_string(random.below(1000));
    if (random.below(2) == 0)
      number += "." + std::to_string(random.below(std::uint64_t{1} << (1 + random.below(40))));
    if (random.below(6) == 0)
      number += "e-" + std::to_string(random.below(300));
    if (random.below(4) == 0)
      whole.insert(0, "-"), number.insert(0, "-");
    const bool quoted = random.below(5) == 0;
    text += whole + (quoted ? ",\"" + number + "\"" : "," + number) + (random.below(3) == 0 ? "\r\n" : "\n");
    expected.push_back(std::to_string(k) + ": [" + format_number(static_cast<double>(std::strtoll(whole.c_str(), nullptr, 10))) + "] [" +
                       format_number(std::strtod(number.c_str(), nullptr)) + "]");
  }
  const auto found = run(spec(text, {a_column("i", "integer"), a_column("x", "number")}));
  ASSERT_TRUE(found);
  EXPECT_THAT(found->bad, IsEmpty());
  EXPECT_EQ(found->good, expected);
}

TEST_F(checking_pass, every_rule_names_row_line_column_and_value) {
  auto pattern = a_column("code", "text");
  pattern.pattern = "[A-Z]{2}";
  auto data = spec("id,n,x,flag,plan,code,when\n"
                   "1,1,1.5,yes,a,AB,2026-01-01\n"
                   "2,one,1.5,yes,a,AB,2026-01-01\n"
                   "3,11,99,maybe,b,ab,soon\n"
                   "4,,-1,no,a,AB,2026-01-01\n"
                   "\n"
                   "5,1,1.5,TRUE,\"a\nb\",AB,2026-01-02T10:00\n"
                   "6,1,0.5,0,a,AB,2026-01-01\n"
                   "7,1,1.5,1,a,AB,2026-01-01\n"
                   "1,1,1.5,1,a,AB,2026-01-01\n"
                   "id,n,x,flag,plan,code,when\n"
                   "8,1\n",
                   {a_column("id", "integer"), a_column("n", "integer", 0, 10), nullable(a_column("x", "number", 0, 50)),
                    a_column("flag", "boolean"), a_column("plan", "category", {}, {}, {"a", "a\nb"}), pattern, a_column("when", "timestamp")});
  data.contract.key = {"id"};
  data.contract.rules = {{"x above n", "x >= n"}};
  const auto found = run(data);
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_THAT(found->good, ElementsAre("1: [1] [1] [1.5] [true] [a] [AB] [1767225600]", "5: [5] [1] [1.5] [true] [a\nb] [AB] [1767348000]",
                                       "7: [7] [1] [1.5] [true] [a] [AB] [1767225600]"));
  EXPECT_THAT(found->bad, ElementsAre("row 2 line 3 n: type", "row 3 line 4 n: max", "row 3 line 4 x: max", "row 3 line 4 flag: type",
                                      "row 3 line 4 plan: values", "row 3 line 4 code: pattern", "row 3 line 4 when: type",
                                      "row 4 line 5 n: null", "row 4 line 5 x: min", "row 6 line 9 : rule x above n", "row 8 line 11 id: key",
                                      "row 9 line 12 : header", "row 10 line 13 : columns"));
  EXPECT_EQ(found->values[0], "one");
  EXPECT_EQ(found->values[3], "maybe");
  EXPECT_EQ(found->values.back(), "2 cells, 7 expected");
  EXPECT_EQ(found->summary.key_duplicates, 1u);
}

TEST_F(checking_pass, a_bad_row_does_not_claim_its_key_and_null_keys_equal_nothing) {
  auto data = spec("id,mail,n\n1,a,x\n1,b,1\n1,c,2\n2,b,3\n,d,4\n,e,5\n",
                   {nullable(a_column("id", "integer")), unique(a_column("mail", "text")), a_column("n", "integer")});
  data.contract.key = {"id"};
  const auto found = run(data);
  ASSERT_TRUE(found);
  EXPECT_THAT(found->bad, ElementsAre("row 1 line 2 n: type", "row 3 line 4 id: key", "row 4 line 5 mail: unique"));
  EXPECT_EQ(found->good.size(), 3u);
}

TEST_F(checking_pass, keys_of_several_columns_are_compared_as_values) {
  auto data = spec("a,b\n1,x\n01,x\n1,\"x\"\n1,y\n-0,x\n0,x\n", {a_column("a", "integer"), a_column("b", "text")});
  data.contract.key = {"a", "b"};
  const auto found = run(data);
  ASSERT_TRUE(found);
  EXPECT_THAT(found->bad, ElementsAre("row 2 line 3 a: key", "row 3 line 4 a: key", "row 6 line 7 a: key"));
}

TEST_F(checking_pass, spilled_keys_are_withdrawn_at_the_end) {
  std::string text = "k\n";
  for (int i = 0; i < 20'000; ++i)
    text += "key " + std::to_string(i % 15'000) + "\n";
  auto data = spec(text, {a_column("k", "text")});
  data.contract.key = {"k"};
  check_options o;
  o.key_memory_max = 64 << 10;
  o.temporary = folder.path();
  const auto found = run(data, o);
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_EQ(found->summary.key_duplicates, 5'000u);
  EXPECT_EQ(found->summary.rows_bad, 5'000u);
  EXPECT_GT(found->withdrawn.size(), 1'000u);
  for (const auto row : found->withdrawn)
    EXPECT_GT(row, 15'000u);
  EXPECT_TRUE(std::filesystem::directory_iterator(folder.path()) != std::filesystem::directory_iterator{});
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    EXPECT_EQ(entry.path().filename(), "data.csv"); // nothing stays behind
}

TEST_F(checking_pass, json_lines_give_the_same_rows_as_csv) {
  const auto columns = [] { return std::vector{a_column("n", "integer"), nullable(a_column("t", "text")), nullable(a_column("x", "number"))}; };
  const auto csv = run(spec("n,t,x\n1,\"a,\"\"b\"\"\n\",2.5\n2,,\n3,ä,-1e3\n", columns()));
  const auto json = run(spec("{\"n\":1,\"t\":\"a,\\\"b\\\"\\n\",\"x\":2.5}\r\n\n{\"x\":null,\"n\":2}\n{\"t\":\"\\u00e4\",\"x\":-1e3,\"n\":3}", columns(), "d.jsonl"));
  ASSERT_TRUE(csv && json);
  EXPECT_THAT(csv->bad, IsEmpty());
  EXPECT_THAT(json->bad, IsEmpty());
  EXPECT_EQ(json->good, csv->good);
  EXPECT_EQ(json->summary.format, "jsonl");
}

TEST_F(checking_pass, broken_json_lines_are_set_aside_one_by_one) {
  const auto found = run(spec("{\"n\":1}\n{\"n\":[1]}\n{\"n\":1\n[1]\n{\"n\":1,\"m\":2}\n{\"n\":1,\"n\":2}\n{\"n\":01}\n{\"n\":\"\\ud800\"}\n"
                              "{\"n\":{\"a\":1}}\n{}\n{\"n\":\"\\u0000\"}\n{\"n\":\"\xff\"}\n{\"n\":7} \n",
                              {a_column("n", "integer")}, "d.jsonl"));
  ASSERT_TRUE(found);
  EXPECT_THAT(found->good, ElementsAre("1: [1]", "13: [7]"));
  EXPECT_THAT(found->bad, ElementsAre("row 2 line 2 : nested", "row 3 line 3 : json", "row 4 line 4 : json", "row 5 line 5 : columns",
                                      "row 6 line 6 : columns", "row 7 line 7 : json", "row 8 line 8 : json", "row 9 line 9 : nested",
                                      "row 10 line 10 n: null", "row 11 line 11 : nul", "row 12 line 12 : encoding"));
}

TEST_F(checking_pass, gzip_and_zstd_are_told_by_their_bytes_and_may_have_several_members) {
  const std::string one = "n\n1\n2\n", two = "3\n4\n";
  for (const std::string& bytes : {one + two, gzip(one) + gzip(two), zstd(one) + zstd(two)}) {
    const auto found = run(spec(bytes, {a_column("n", "integer")}, "data.bin"));
    ASSERT_TRUE(found) << found.error().to_string();
    EXPECT_EQ(found->good.size(), 4u);
  }
}

TEST_F(checking_pass, damaged_or_cut_compression_is_an_error_never_a_short_table) {
  std::string text = "n\n";
  for (int i = 0; i < 5'000; ++i)
    text += std::to_string(i * 7919) + "\n";
  for (const std::string& whole : {gzip(text), zstd(text)}) {
    for (std::size_t cut = 4; cut < whole.size(); cut += 1 + whole.size() / 40)
      EXPECT_FALSE(run(spec(whole.substr(0, cut), {a_column("n", "integer")}))) << cut;
    const auto garbage = run(spec(whole + "garbage", {a_column("n", "integer")}));
    ASSERT_FALSE(garbage);
    EXPECT_THAT(garbage.error().where, HasSubstr("byte "));
  }
  std::string damaged = gzip(text);
  for (std::size_t i = 20; i < damaged.size(); i += 1 + damaged.size() / 60) {
    std::string d = damaged;
    d[i] = static_cast<char>(d[i] ^ 0x10);
    EXPECT_FALSE(run(spec(d, {a_column("n", "integer")}))) << i; // gzip carries a CRC
  }
}

TEST_F(checking_pass, a_stop_is_heeded) {
  const auto data = spec("n\n1\n", {a_column("n", "integer")});
  const auto contract = compile_contract(data.contract);
  const std::atomic<bool> stop{true};
  const auto r = run_pass(data, *contract, {}, nullptr, nullptr, stop);
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, errc::cancelled);
}
