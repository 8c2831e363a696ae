#pragma once
// Every command of `flywheel` in one table. The parser, --help, the man pages, shell completion and docs/cli.md all read
// it; nothing about a command is written down twice. A new command is one entry here and one handler in commands*.cpp.

#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

/// What a value is: checked by the parser, and completed accordingly by the shell.
enum class value_kind {
  flag,       ///< no value; options only
  text,
  integer,    ///< a whole number >= 0
  choice,     ///< one of `choices`
  file,       ///< a path; '-' is standard input where the help says so
  folder,
  goal_file,  ///< a path ending in .yaml, .yml or .json
  assignment, ///< NAME=VALUE, not split further here
  goal,       ///< a goal's id or name
  model,      ///< "churn" or "churn/v3"
  command,    ///< a command of this table
};

struct option_spec {
  std::string_view name = {};               ///< long name without the dashes
  char letter = 0;                     ///< short name, 0: none
  value_kind kind = value_kind::flag;
  std::string_view value_name = {};         ///< "DIR", as shown in help
  std::string_view default_value = {};      ///< what the getter returns if the option is not given
  std::string_view help = {};               ///< one sentence, no full stop
  bool repeatable = false;
  bool required = false;
  std::vector<std::string_view> choices = {};
};

struct argument_spec {
  std::string_view name = {};               ///< "GOAL", as shown and as asked for by command_line::argument
  value_kind kind = value_kind::text;
  bool required = true;
  bool repeatable = false;             ///< takes all the rest; only the last argument of a command
  std::string_view help = {};
  std::vector<std::string_view> choices = {};
};

struct example_spec {
  std::string_view line = {};               ///< what to type, without the prompt
  std::string_view what = {};               ///< what it does
};

struct exit_spec {
  int code;
  std::string_view meaning = {};
};

struct command_spec {
  std::string_view path = {};               ///< "run" or "data check"
  std::string_view section = {};            ///< heading in `flywheel --help`
  std::string_view summary = {};            ///< one line, no full stop
  std::string_view description = {};        ///< paragraphs, separated by an empty line
  std::vector<example_spec> examples = {};  ///< shown first
  std::vector<argument_spec> arguments = {};
  std::vector<option_spec> options = {};
  std::vector<exit_spec> exits = {};        ///< besides 0 and 2, which every command has
  std::vector<std::string_view> also = {};  ///< words people type instead; used for suggestions only
  bool hidden = false;                 ///< works, but is shown nowhere
  bool raw = false;                    ///< everything after the name goes unread into the last argument
};

/// In the order of `flywheel --help`. Lives as long as the program; any thread.
const std::vector<command_spec>& command_table();
/// Options that every command takes, before or after its name.
const std::vector<option_spec>& global_options();
/// The meaning of exit codes, for all commands.
const std::vector<exit_spec>& exit_codes();
/// Environment variables that the program reads: name and meaning.
const std::vector<example_spec>& environment_variables();

/// The entry of a path such as "run" or "data check"; nullptr if there is none.
const command_spec* find_command(std::string_view path);
/// True for the first word of two-word commands ("data", "journal").
bool is_command_group(std::string_view word);
/// The commands of a group, in table order; empty if it is none.
std::vector<const command_spec*> commands_in_group(std::string_view word);

/// "flywheel run [options] GOAL [NAME=VALUE...]"
std::string usage_of(const command_spec& command);
/// Every exit code of a command, with 0 and 2, ascending.
std::vector<exit_spec> exits_of(const command_spec& command);
/// "-o, --output FORMAT" (as help shows it).
std::string option_signature(const option_spec& option);

} // namespace flywheel
