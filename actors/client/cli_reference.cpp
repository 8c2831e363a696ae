#include "actors/client/cli_reference.hpp"

#include "actors/client/command_table.hpp"

#include <algorithm>

namespace flywheel {
namespace {

std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text)
    out += c == '|' ? std::string("\\|") : std::string(1, c);
  return out;
}

std::string option_rows(const std::vector<option_spec>& options) {
  std::string out = "| option | meaning |\n|---|---|\n";
  for (const auto& o : options) {
    std::string name = o.letter ? std::string("`-") + o.letter + "`, " : std::string();
    name += "`--" + std::string(o.name) + (o.kind == value_kind::flag ? "" : " " + std::string(o.value_name)) + "`";
    out += "| " + cell(name) + " | " + cell(o.help) + (o.default_value.empty() ? "" : "; default `" + std::string(o.default_value) + "`") +
           (o.required ? " (required)" : "") + " |\n";
  }
  return out;
}

std::string anchor(std::string_view path) {
  std::string out = "flywheel-" + std::string(path);
  std::replace(out.begin(), out.end(), ' ', '-');
  return out;
}

std::string command_section(const command_spec& c) {
  std::string out = "\n## flywheel " + std::string(c.path) + "\n\n" + std::string(c.summary) + ".\n\n```sh\n";
  for (const auto& e : c.examples)
    out += std::string(e.line) + "    # " + std::string(e.what) + "\n";
  out += "```\n\nUsage: `" + usage_of(c) + "`\n\n" + std::string(c.description) + "\n";
  if (!c.arguments.empty()) {
    out += "\n| argument | meaning |\n|---|---|\n";
    for (const auto& a : c.arguments)
      out += "| `" + std::string(a.name) + (a.repeatable ? "..." : "") + "` | " + cell(a.help) + " |\n";
  }
  if (!c.options.empty())
    out += "\n" + option_rows(c.options);
  out += "\nExit codes:";
  for (const auto& e : exits_of(c))
    out += (e.code == 0 ? " `" : "; `") + std::to_string(e.code) + "` " + std::string(e.meaning);
  return out + ".\n";
}

} // namespace

std::string cli_reference() {
  std::string out = "# The command line\n\n"
                    "This page is made from the program's command table (`actors/client/command_table.cpp`); a test keeps it current.\n"
                    "`flywheel COMMAND --help` shows the same, and `flywheel man COMMAND | man -l -` as a manual page.\n\n"
                    "Results go to standard output, everything else to standard error; progress is shown only on a terminal.\n"
                    "A mistyped command or option is answered with the nearest one, and exit code 2.\n";
  std::string_view section;
  for (const auto& c : command_table()) {
    if (c.hidden)
      continue;
    if (c.section != section)
      out += "\n**" + std::string(section = c.section) + "**\n\n";
    out += "- [`" + std::string(c.path) + "`](#" + anchor(c.path) + "): " + std::string(c.summary) + "\n";
  }
  out += "\n## Options of every command\n\nBefore or after the command's name; `--` ends the options.\n\n" + option_rows(global_options());
  out += "\n## Exit codes\n\n| code | meaning |\n|---|---|\n";
  for (const auto& e : exit_codes())
    out += "| " + std::to_string(e.code) + " | " + cell(e.meaning) + " |\n";
  out += "\n## Environment\n\n| variable | meaning |\n|---|---|\n";
  for (const auto& v : environment_variables())
    out += "| `" + std::string(v.line) + "` | " + cell(v.what) + " |\n";
  for (const auto& c : command_table())
    if (!c.hidden)
      out += command_section(c);
  return out;
}

} // namespace flywheel
