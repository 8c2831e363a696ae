#pragma once
// From text to a goal, or to the list of everything that is wrong with it.

#include "cluster/content/digest.hpp"
#include "cluster/goal/goal_spec.hpp"

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

/// One problem, placed. Printed as "file:line:col: error: message; did you mean 'x'? [rule]" + source line + caret.
struct goal_problem {
  std::uint32_t line = 0, column = 0;  ///< 1-based; 0: the file as a whole
  bool warning = false;
  std::string path;                    ///< "search.budget.trials"
  std::string message;
  std::string suggestion;              ///< the fix, may be empty
  std::string rule;                    ///< "unknown-key" "duplicate-key" "type" "range" "unit" "conflict" "missing" ...
  std::string file;                    ///< where it stands if not in the goal file: a contract file, "<override 1>"
  std::string source_line;             ///< its line, if `file` is set
};

/// Problems of any file that is read this way, as people read them.
std::string render_problems(const std::vector<goal_problem>& problems, std::string_view file, std::string_view text, bool colour);
/// At most warnings.
bool no_errors(const std::vector<goal_problem>& problems);

/// The families that can be searched and their hyper-parameters, as plain data: this folder does not know the models.
/// known() names what models/families.cpp searches; a test holds the two together.
struct goal_vocabulary {
  std::map<std::string, std::vector<std::string>> families; ///< family -> parameters
  static const goal_vocabulary& known();
};

struct goal_parse {
  goal_spec spec;                      ///< meaningful only if there are no errors
  std::vector<goal_problem> problems;  ///< sorted by place
  bool ok() const noexcept;
  /// All problems as people read them; colour only if asked.
  std::string render(std::string_view file, std::string_view text, bool colour) const;
};

/// Parses YAML or JSON (told by content). `overrides` are "a.b=v" (v is YAML), applied before validation; a bad one is a
/// problem placed in file "<override N>". `folder` makes relative paths absolute. Never throws; bounded time and memory.
goal_parse parse_goal(std::string_view text, const std::filesystem::path& folder,
                      const std::vector<std::string>& overrides = {},
                      const goal_vocabulary& vocabulary = goal_vocabulary::known());
/// Reads the file (at most limits::goal_file_bytes_max) and parses it. not_found etc. if it cannot be read.
result<goal_parse> parse_goal_file(const std::filesystem::path& file, const std::vector<std::string>& overrides = {},
                                   const goal_vocabulary& vocabulary = goal_vocabulary::known());

/// A data contract alone, as `data.contract` writes it (or under one key `contract`): for `flywheel data check`.
struct contract_parse {
  data_contract contract;              ///< meaningful only if there are no errors
  std::vector<goal_problem> problems;
  bool ok() const noexcept;
  std::string render(std::string_view file, std::string_view text, bool colour) const;
};
contract_parse parse_contract(std::string_view text);

/// The canonical form: every field, sorted keys, exact numbers. parse_goal(canonical) gives the same goal.
nlohmann::json to_json(const goal_spec& spec);
/// Inverse of to_json, for specs read back from the journal; trusts nothing.
result<goal_spec> goal_from_json(const nlohmann::json& j);
/// SHA-256 of the canonical form: "model as code" has a name.
digest digest_of(const goal_spec& spec);

nlohmann::json to_json(const data_contract& contract);
/// The contract as a YAML file for people (defaults left out, comments first); parse_contract reads it back equal.
/// `comment`: lines for the top, without '#'.
std::string to_yaml(const data_contract& contract, std::string_view comment = {});

/// JSON Schema (draft 2020-12) of the goal file, generated from the same table as the validator.
nlohmann::json goal_json_schema(const goal_vocabulary& vocabulary = goal_vocabulary::known());
/// Text for `flywheel explain goal.search.budget`: meaning, type, default, bounds, example. not_found with suggestions.
result<std::string> explain_goal(std::string_view path);
/// The reference part of docs/goal.md, from the same table.
std::string goal_reference_markdown();

} // namespace flywheel
