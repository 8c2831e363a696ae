#pragma once
// From argv to a command with checked values, or to an error that says what was probably meant.

#include "actors/client/command_table.hpp"
#include "actors/client/output_format.hpp"
#include "cluster/base/error.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

/// What a person typed, checked against the command table. Asking for a name that the table does not have for this command
/// is a programmer's mistake and asserts.
class command_line {
public:
  /// The entry; nullptr if no command was given (then `help_wanted` or `version_wanted` holds).
  const command_spec* command() const noexcept { return command_; }
  /// "run", "data check"; empty if no command was given.
  std::string_view path() const noexcept { return command_ ? command_->path : std::string_view{}; }
  /// --help was given, or nothing at all. `help_group` is set for `flywheel data --help`.
  bool help_wanted() const noexcept { return help_; }
  std::string_view help_group() const noexcept { return group_; }
  bool version_wanted() const noexcept { return version_; }

  bool flag(std::string_view option) const;
  /// True if the option was typed, whatever its default.
  bool given(std::string_view option) const;
  /// The value, or the table's default ("" if it has none).
  std::string text(std::string_view option) const;
  /// Of a value_kind::integer option; the parser has checked it. The default must be a number.
  std::uint64_t integer(std::string_view option) const;
  /// All values of a repeatable option, in order.
  std::vector<std::string> list(std::string_view option) const;

  /// The value of an argument; "" if it is optional and was left out. For a repeatable one: the first.
  std::string argument(std::string_view name) const;
  /// All values of a repeatable argument.
  std::vector<std::string> arguments(std::string_view name) const;

  /// NAME=VALUE after the goal file (where the command takes them there) and all --set, in the order of typing within each.
  std::vector<std::string> overrides() const;
  output_style style() const;
  bool quiet() const { return flag("quiet"); }
  bool verbose() const { return flag("verbose"); }

private:
  friend class command_line_parser;
  const option_spec& spec_of(std::string_view option) const;
  const command_spec* command_ = nullptr;
  std::string group_;
  bool help_ = false, version_ = false;
  std::map<std::string, std::vector<std::string>, std::less<>> options_;
  std::map<std::string, std::vector<std::string>, std::less<>> arguments_;
};

/// `words` are argv without argv[0]. Errors are invalid_argument (exit code 2) with a hint: the nearest command or option,
/// or where to read on. With --help or --version anywhere missing arguments are no error.
result<command_line> parse_command_line(const std::vector<std::string>& words);

} // namespace flywheel
