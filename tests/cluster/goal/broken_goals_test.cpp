// Every broken goal in broken/ is refused at the right place, with the right rule and, mostly, the fix. The hostile ones
// (too big to keep as files) are built here. None may take a second or 100 MB.
#include "cluster/base/json.hpp"
#include "cluster/base/random.hpp"
#include "cluster/base/text.hpp"
#include "cluster/goal/goal_parser.hpp"
#include "tests/peak_memory.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <sstream>

namespace flywheel {
namespace {

namespace fs = std::filesystem;

const fs::path folder = fs::path{FLYWHEEL_SOURCE_DIR} / "tests/cluster/goal/broken";

std::string contents(const fs::path& file) {
  std::ifstream in{file, std::ios::binary};
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

struct expectation {
  std::string file, place, rule, says;
};

void PrintTo(const expectation& e, std::ostream* out) { *out << e.file; }

std::vector<expectation> expectations() {
  std::vector<expectation> out;
  const std::string all = contents(folder / "expected.txt");
  for (const std::string_view line : split(all, '\n')) {
    if (line.empty() || line.front() == '#')
      continue;
    const auto parts = split(line, '|');
    if (parts.size() == 4)
      out.push_back({std::string{trim(parts[0])}, std::string{trim(parts[1])}, std::string{trim(parts[2])}, std::string{trim(parts[3])}});
  }
  return out;
}

/// Of this process's CPU time: the machine may be busy with other things.
double seconds_since(std::clock_t start) { return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC; }
class broken_goal : public testing::TestWithParam<expectation> {};

TEST_P(broken_goal, is_refused_at_its_place) {
  const auto& [file, place, rule, says] = GetParam();
  const auto start = std::clock();
  const auto parsed = parse_goal_file(folder / file);
  EXPECT_LT(seconds_since(start), 1);
  ASSERT_TRUE(parsed) << parsed.error().to_string();
  EXPECT_FALSE(parsed->ok());
  const std::string shown = parsed->render(file, contents(folder / file), false);
  ASSERT_FALSE(parsed->problems.empty());
  const auto found = std::find_if(parsed->problems.begin(), parsed->problems.end(), [](const goal_problem& p) { return !p.warning; });
  ASSERT_NE(found, parsed->problems.end());
  const goal_problem& first = *found;
  EXPECT_EQ(std::to_string(first.line) + ":" + std::to_string(first.column), place) << shown;
  EXPECT_EQ(first.rule, rule) << shown;
  EXPECT_NE((first.message + "; did you mean '" + first.suggestion + "'?").find(says), std::string::npos) << shown;
  for (const goal_problem& p : parsed->problems) {
    EXPECT_GE(p.line, 1U);
    EXPECT_GE(p.column, 1U);
    EXPECT_FALSE(p.message.empty());
    EXPECT_FALSE(p.rule.empty());
  }
}

INSTANTIATE_TEST_SUITE_P(files, broken_goal, testing::ValuesIn(expectations()), [](const auto& given) {
  std::string name = given.param.file;
  for (char& c : name)
    if (c == '.')
      c = '_';
  return name;
});

TEST(broken_goals, every_file_is_expected_and_there_are_forty_or_more) {
  std::size_t files = 0;
  const auto all = expectations();
  for (const auto& entry : fs::directory_iterator{folder}) {
    const std::string name = entry.path().filename();
    if (name == "expected.txt" || name == "data.csv" || name == "contract.yaml" || name == "broken_contract.txt")
      continue;
    ++files;
    EXPECT_TRUE(std::any_of(all.begin(), all.end(), [&](const expectation& e) { return e.file == name; })) << name;
  }
  EXPECT_EQ(files, all.size());
  EXPECT_GE(files, 40U);
}

TEST(broken_goals, most_name_the_fix) {
  std::size_t with_fix = 0;
  const auto all = expectations();
  for (const expectation& e : all) {
    const auto parsed = parse_goal_file(folder / e.file);
    ASSERT_TRUE(parsed);
    const goal_problem& p = parsed->problems.front();
    with_fix += !p.suggestion.empty() || p.message.find(';') != std::string::npos ? 1 : 0;
  }
  EXPECT_GT(with_fix * 10, all.size() * 6) << with_fix << " of " << all.size();
}

// --- hostile input ---

std::string repeated(std::string_view piece, std::size_t times) {
  std::string out;
  out.reserve(piece.size() * times);
  for (std::size_t i = 0; i < times; ++i)
    out += piece;
  return out;
}

struct hostile {
  const char* name;
  std::string (*make)();
};
void PrintTo(const hostile& h, std::ostream* out) { *out << h.name; }
class hostile_goal : public testing::TestWithParam<hostile> {};

TEST_P(hostile_goal, is_refused_quickly_in_little_memory) {
  const std::string text = GetParam().make();
  const flywheel::test::peak_memory memory;
  const auto start = std::clock();
  const goal_parse parsed = parse_goal(text, folder);
  const std::string shown = parsed.render("x.yaml", text, false);
  EXPECT_LT(seconds_since(start), 1);
  EXPECT_LT(memory.kib(), 100 * 1024);
  EXPECT_FALSE(parsed.ok());
  ASSERT_FALSE(parsed.problems.empty());
  EXPECT_GE(parsed.problems.front().line, 1U);
  EXPECT_GE(parsed.problems.front().column, 1U);
  EXPECT_LT(shown.size(), 200'000U);
}

constexpr std::size_t mib = 1 << 20;
INSTANTIATE_TEST_SUITE_P(
    generated, hostile_goal,
    testing::Values(hostile{"alias_bomb",
                            [] {
                              std::string s = "a: &a [x,x,x,x,x,x,x,x,x]\n";
                              for (char c = 'b'; c <= 'z'; ++c)
                                s += std::string{c} + ": &" + c + " [" + repeated(std::string{"*"} + static_cast<char>(c - 1) + ",", 9) + "]\n";
                              return s;
                            }},
                    hostile{"huge_file", [] { return repeated("# nothing\n", 200'000); }},
                    hostile{"deep_brackets", [] { return repeated("[", mib); }},
                    hostile{"deep_braces", [] { return repeated("{", mib); }},
                    hostile{"deep_keys", [] { return repeated("{a: ", mib / 4); }},
                    hostile{"deep_dashes", [] { return repeated("- ", mib / 2); }},
                    hostile{"deep_questions", [] { return repeated("? ", mib / 2); }},
                    hostile{"deep_indentation",
                            [] {
                              std::string s;
                              for (std::size_t i = 0; i < 1000; ++i)
                                s += std::string(i, ' ') + "a:\n";
                              return s;
                            }},
                    hostile{"many_keys",
                            [] {
                              std::string s;
                              for (int i = 0; i < 80'000; ++i)
                                s += "k" + std::to_string(i) + ": 1\n";
                              return s;
                            }},
                    hostile{"many_same_keys", [] { return repeated("a: 1\n", 200'000); }},
                    hostile{"many_items", [] { return "slices: [" + repeated("1,", mib / 2 - 10) + "]"; }},
                    hostile{"many_long_keys",
                            [] {
                              std::string s;
                              for (int i = 0; i < 10'000; ++i)
                                s += repeated("k", 80) + std::to_string(i) + ": 1\n";
                              return s;
                            }},
                    hostile{"one_long_line", [] { return "name: " + repeated("x", mib - 10); }},
                    hostile{"one_long_key", [] { return repeated("x", mib - 10) + ": 1"; }},
                    hostile{"colons", [] { return repeated(":", mib); }},
                    hostile{"quotes", [] { return repeated("\"", mib); }},
                    hostile{"percent_directives", [] { return repeated("%x y\n", 200'000); }},
                    hostile{"commas_in_flow", [] { return "[" + repeated(",", mib - 10); }},
                    hostile{"colons_in_flow", [] { return "{" + repeated("a:", mib / 2 - 10); }},
                    hostile{"many_documents", [] { return repeated("---\n", 200'000); }},
                    hostile{"many_conditions",
                            [] {
                              std::string s = "slices:\n";
                              for (int i = 0; i < 20'000; ++i)
                                s += "- " + std::to_string(i) + " > x" + std::to_string(i) + "\n";
                              return s;
                            }},
                    hostile{"many_bad_patterns",
                            [] {
                              std::string s = "data:\n  contract:\n    columns:\n";
                              for (int i = 0; i < 8'000; ++i)
                                s += "    - {name: c" + std::to_string(i) + ", type: text, pattern: '((a{1,100}){1,100}){1,100}'}\n";
                              return s;
                            }},
                    hostile{"many_columns",
                            [] {
                              std::string s = "name: a\ntarget: t\ndata:\n  contract:\n    columns:\n";
                              for (int i = 0; i < 12'000; ++i)
                                s += "    - {name: c" + std::to_string(i) + ", type: text}\n";
                              s += "    rules:\n";
                              for (int i = 0; i < 6'000; ++i)
                                s += "    - c" + std::to_string(11'999 - i) + " > 1\n";
                              return s;
                            }},
                    hostile{"carets_and_escapes", [] { return "\"\\x1b[31m\": \"" + repeated("\\u001b", 1000) + "\"\n"; }}),
    [](const auto& given) { return std::string{given.param.name}; });

TEST(hostile_goal, a_terminal_never_sees_control_characters) {
  const std::string text = "\"\\x1b[31mred\": 1\nname: \"\\x07\"\ndata: {source: \"\\x1b]0;x\\x07.csv\"}\n";
  const goal_parse parsed = parse_goal(text, folder);
  EXPECT_FALSE(parsed.ok());
  for (const char c : parsed.render("evil\x1b.yaml", text, false))
    EXPECT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20) << static_cast<int>(c);
}

TEST(hostile_goal, mutated_bytes_never_crash_and_bad_ones_are_placed) {
  const std::string good = contents(fs::path{FLYWHEEL_SOURCE_DIR} / "examples/churn/goal.yaml");
  const fs::path beside = fs::path{FLYWHEEL_SOURCE_DIR} / "examples/churn";
  ASSERT_TRUE(parse_goal(good, beside).ok());
  constexpr std::string_view spice = "{}[]:,-?&*!|>'\"%@`#\t\n \r\\0159eE.~<=\x00\xff\xc3";
  random_source random{20261121};
  std::size_t refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = good;
    for (std::uint64_t edits = 1 + random.below(8); edits > 0; --edits) {
      const auto at = static_cast<std::size_t>(random.below(text.size()));
      const auto length = static_cast<std::size_t>(random.below(20));
      switch (random.below(5)) {
        case 0: text[at] = static_cast<char>(random.below(256)); break;
        case 1: text[at] = spice[random.below(spice.size())]; break;
        case 2: text.erase(at, length); break;
        case 3: text.insert(at, text.substr(random.below(text.size()), length)); break;
        default: text.insert(at, 1, spice[random.below(spice.size())]); break;
      }
      if (text.empty())
        text = "x";
    }
    const goal_parse parsed = parse_goal(text, beside);
    if (parsed.ok()) {
      // What is accepted has a canonical form that is accepted too, and means the same.
      const auto canonical = goal_from_json(nlohmann::json::parse(to_json(parsed.spec).dump()));
      ASSERT_TRUE(canonical) << canonical.error().to_string() << "\n" << text;
      ASSERT_EQ(digest_of(*canonical), digest_of(parsed.spec));
      continue;
    }
    ++refused;
    EXPECT_GE(parsed.problems.front().line, 1U);
    EXPECT_FALSE(parsed.render("x", text, true).empty());
  }
  EXPECT_GT(refused, 1000U);
}

} // namespace
} // namespace flywheel
