#pragma once
// How results and errors are printed: one list of records, four styles. Results go to standard output, all else to
// standard error, so that a pipe sees only results.

#include "actors/client/terminal.hpp"
#include "cluster/base/error.hpp"

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

enum class output_style { table, json, yaml, name };
std::optional<output_style> output_style_from_name(std::string_view name);

/// A column of the table style. The other styles print whole records.
struct column_spec {
  std::string title;         ///< shown in capitals
  std::string key;           ///< of the record; a JSON pointer if it starts with '/'
  bool right = false;        ///< numbers
  bool status = false;       ///< coloured by meaning: see ink_of_status
};

struct print_options {
  output_style style = output_style::table;
  bool colour = false;
  std::size_t width = 0;     ///< lines of a table are cut to it; 0: never (a pipe)
  std::string name_key = "name"; ///< of a record, printed by the name style
  std::string empty = "none";    ///< printed by the table style on an empty list
};
/// Options for standard output as it is now.
print_options print_options_for_stdout(output_style style, bool colour_refused);

/// `rows` is an array of objects. table: aligned columns, a header in capitals; json: an array; yaml: a sequence; name: one
/// name a line. Cells are made safe for a terminal (control bytes as \xNN). Missing and null values are "-".
void print_records(std::ostream& out, const std::vector<column_spec>& columns, const nlohmann::json& rows, const print_options& o);
/// One record: "key: value" lines aligned, nested objects and lists indented; json: an object; yaml: a mapping.
void print_record(std::ostream& out, const nlohmann::json& record, const print_options& o);

/// The text of a value in a table cell: strings as they are, numbers shortest, lists joined by ", ", null "-".
std::string cell_text(const nlohmann::json& value);
/// YAML 1.2 of any JSON value, block style, ending in a newline. Reading it gives the same value.
std::string to_yaml(const nlohmann::json& value);
/// ok, done, ... are green; failed, denied, ... red; waiting, warn, ... yellow; anything else plain.
ink ink_of_status(std::string_view status);

/// On two lines at most: "error: WHERE: SENTENCE: WHAT" and "  hint: HINT". With style json one line:
/// {"error":{"code":...,"what":...,"where":...,"hint":...,"exit_code":...}}. A finished text of several lines (the problems
/// of a goal file) is printed by its maker instead.
void print_error(std::ostream& err, const error& e, bool colour, output_style style = output_style::table);

} // namespace flywheel
