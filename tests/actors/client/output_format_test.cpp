#include "actors/client/output_format.hpp"
#include "cluster/base/json.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <cmath>
#include <sstream>

namespace flywheel {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const std::vector<column_spec> columns{{.title = "name", .key = "name"},
                                       {.title = "state", .key = "state", .status = true},
                                       {.title = "accuracy", .key = "/metric/value", .right = true},
                                       {.title = "note", .key = "note"}};
const json rows = json::parse(R"([
  {"name":"churn","state":"done","metric":{"value":0.9616},"note":"kept"},
  {"name":"東京","state":"failed","metric":{"value":10},"note":null},
  {"name":"x","state":"running"}])");

std::string records(const json& r, print_options o) {
  std::ostringstream out;
  print_records(out, columns, r, o);
  return out.str();
}

TEST(output_format, table_is_aligned_by_what_the_eye_sees) {
  EXPECT_EQ(records(rows, {}), "NAME   STATE    ACCURACY  NOTE\n"
                               "churn  done       0.9616  kept\n"
                               "東京   failed         10  -\n"
                               "x      running         -  -\n");
}

TEST(output_format, table_fits_the_terminal) {
  std::istringstream lines(records(rows, {.width = 20}));
  for (std::string line; std::getline(lines, line);)
    EXPECT_LE(display_width(line), 20u) << line;
}

TEST(output_format, colour_does_not_move_the_columns) {
  const auto plain = records(rows, {});
  auto coloured = records(rows, {.colour = true});
  EXPECT_THAT(coloured, HasSubstr("\x1b[32mdone"));
  EXPECT_THAT(coloured, HasSubstr("\x1b[31mfailed") );
  for (auto at = coloured.find('\x1b'); at != std::string::npos; at = coloured.find('\x1b'))
    coloured.erase(at, coloured.find('m', at) + 1 - at);
  std::istringstream a(plain), b(coloured);
  for (std::string x, y; std::getline(a, x) && std::getline(b, y);)
    EXPECT_EQ(x, y.substr(0, y.find_last_not_of(' ') + 1));
}

TEST(output_format, an_empty_list_says_so_in_a_table_and_is_empty_elsewhere) {
  EXPECT_EQ(records(json::array(), {.empty = "no goals yet"}), "no goals yet\n");
  EXPECT_EQ(records(json::array(), {.style = output_style::json}), "[]\n");
  EXPECT_EQ(records(json::array(), {.style = output_style::yaml}), "[]\n");
  EXPECT_EQ(records(json::array(), {.style = output_style::name}), "");
}

TEST(output_format, json_has_whole_records_and_names_are_one_a_line) {
  EXPECT_EQ(json::parse(records(rows, {.style = output_style::json})), rows);
  EXPECT_EQ(records(rows, {.style = output_style::name}), "churn\n東京\nx\n");
}

TEST(output_format, cells_cannot_drive_the_terminal) {
  const json hostile = json::array({{{"name", "\x1b]0;owned\x07\nnew line"}, {"state", std::string("a\0b", 3)}}});
  const auto text = records(hostile, {});
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find('\0'), std::string::npos);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
}

TEST(output_format, bytes_that_are_no_utf8_do_not_throw) {
  const json hostile = json::array({{{"name", "\xff\xfe"}}});
  EXPECT_NO_THROW({
    records(hostile, {});
    EXPECT_TRUE(json::accept(records(hostile, {.style = output_style::json})));
    records(hostile, {.style = output_style::yaml});
  });
}

json from_yaml(const YAML::Node& node) {
  if (node.IsMap()) {
    json out = json::object();
    for (const auto& pair : node)
      out[pair.first.as<std::string>()] = from_yaml(pair.second);
    return out;
  }
  if (node.IsSequence()) {
    json out = json::array();
    for (const auto& item : node)
      out.push_back(from_yaml(item));
    return out;
  }
  if (node.IsNull())
    return nullptr;
  const auto text = node.Scalar();
  if (node.Tag() == "!") // quoted
    return text;
  if (text == "true" || text == "false")
    return text == "true";
  if (json::accept(text))
    return json::parse(text);
  return text;
}

TEST(output_format, yaml_reads_back_as_the_same_value) {
  const std::vector<json> values{
      rows, json::object(), json::array(), json::parse(R"({"a":{},"b":[],"c":[[1,2],[],[{"x":1,"y":[3]}]],"d":{"e":{"f":null}}})"),
      json::parse(R"(["yes","no","null","~","true","On","1.0","0x1f","1e5","","-","- a",": b","# c","a: b","a #c","é","\n two\nlines\n",
                      "\t","'q'","\"d\"","*alias","&anchor","!tag","%d","@at","`b","[x","{y","a, b","2026-11-21","12:30:45",".inf",".nan","=","<<","y","n"," lead","trail "])"),
      json::parse(R"({"null":1,"1":2,"":3,"a b":4,"a: b":5,"true":true,"-":-1.5e-9})"), json(-1), json("text"), json(0.1), json(nullptr), json(true),
      json::parse("18446744073709551615")};
  for (const auto& value : values) {
    const auto text = to_yaml(value);
    SCOPED_TRACE(text);
    EXPECT_EQ(from_yaml(YAML::Load(text)), value);
    EXPECT_TRUE(text.ends_with('\n'));
  }
  EXPECT_EQ(to_yaml(json{{"x", std::nan("")}}), "x: .nan\n");
  EXPECT_EQ(to_yaml(json::parse(R"([{"a":1,"b":[2]}])")), "- a: 1\n  b:\n    - 2\n");
}

TEST(output_format, one_record_is_shown_as_fields_with_nesting) {
  const json record = json::parse(R"({"name":"churn","state":"done","folds":[1,2],"best":{"family":"gbt","accuracy":0.96},"steps":[{"name":"clean"},{"name":"train"}]})");
  std::ostringstream out;
  print_record(out, record, {});
  EXPECT_EQ(out.str(), "best:\n"
                       "  accuracy:  0.96\n"
                       "  family:    gbt\n"
                       "folds:  1, 2\n"
                       "name:   churn\n"
                       "state:  done\n"
                       "steps:\n"
                       "  -\n"
                       "    name:  clean\n"
                       "  -\n"
                       "    name:  train\n");
}

TEST(output_format, errors_have_one_line_and_a_hint) {
  std::ostringstream err;
  print_error(err, {errc::invalid_argument, "unknown option '--x'", {}, "did you mean '--y'?"}, false);
  EXPECT_EQ(err.str(), "error: unknown option '--x'\n  hint: did you mean '--y'?\n");
  err.str("");
  print_error(err, {errc::not_found, "no goal named 'x'", "/state"}, false);
  EXPECT_EQ(err.str(), "error: /state: it does not exist: no goal named 'x'\n");
  err.str("");
  print_error(err, {errc::disk_full, "a\x1b[2Jb\nc"}, false);
  EXPECT_EQ(err.str().find('\x1b'), std::string::npos);
  EXPECT_EQ(err.str(), "error: the disk is full: a\\x1b[2Jb\\x0ac\n");
  err.str("");
  print_error(err, {errc::not_found, "w", "there", "h"}, true, output_style::json);
  EXPECT_EQ(json::parse(err.str()),
            json::parse(R"({"error":{"code":"not_found","what":"w","where":"there","hint":"h","exit_code":3}})"));
}

TEST(output_format, style_names) {
  EXPECT_EQ(output_style_from_name("table"), output_style::table);
  EXPECT_EQ(output_style_from_name("json"), output_style::json);
  EXPECT_EQ(output_style_from_name("yaml"), output_style::yaml);
  EXPECT_EQ(output_style_from_name("name"), output_style::name);
  EXPECT_EQ(output_style_from_name("xml"), std::nullopt);
}

} // namespace
} // namespace flywheel
