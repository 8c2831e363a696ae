#include "actors/client/help_text.hpp"

#include "actors/client/terminal.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>

namespace flywheel {
namespace {

std::string heading(std::string_view text, bool colour) { return painted(text, ink::bold, colour) + "\n"; }

/// "  NAME   meaning", the meaning wrapped beside the names.
std::string two_columns(const std::vector<std::pair<std::string, std::string>>& rows) {
  std::size_t widest = 0;
  for (const auto& [name, meaning] : rows)
    widest = std::max(widest, display_width(name));
  const std::size_t beside = widest + 4;
  std::string out;
  for (const auto& [name, meaning] : rows) {
    const std::string block = wrapped(meaning, beside);
    out += "  " + name + std::string(widest - display_width(name), ' ') + "  " + block.substr(beside);
  }
  return out;
}

std::string option_help(const option_spec& o) {
  std::string help(o.help);
  if (!o.default_value.empty())
    help += "; default " + std::string(o.default_value);
  if (o.required)
    help += " (required)";
  return help;
}

std::string options_block(const std::vector<option_spec>& options) {
  std::vector<std::pair<std::string, std::string>> rows;
  for (const auto& o : options)
    rows.emplace_back(option_signature(o), option_help(o));
  return two_columns(rows);
}

std::string examples_block(const std::vector<example_spec>& examples, bool colour) {
  std::string out;
  for (const auto& e : examples)
    out += "  " + std::string(e.line) + "\n      " + painted(e.what, ink::dim, colour) + "\n";
  return out;
}

std::string exits_block(const std::vector<exit_spec>& exits) {
  std::vector<std::pair<std::string, std::string>> rows;
  for (const auto& e : exits)
    rows.emplace_back(std::to_string(e.code), std::string(e.meaning));
  return two_columns(rows);
}

} // namespace

std::string wrapped(std::string_view text, std::size_t indent, std::size_t width) {
  const std::string blanks(indent, ' ');
  std::string out, line;
  const auto flush = [&] {
    if (!line.empty())
      out += blanks + line + "\n";
    line.clear();
  };
  for (const auto paragraph : split(text, '\n')) {
    flush();
    if (paragraph.empty())
      out += "\n";
    for (const auto word : split(paragraph, ' ')) {
      if (!line.empty() && indent + display_width(line) + 1 + display_width(word) > width)
        flush();
      line += (line.empty() ? "" : " ") + std::string(word);
    }
  }
  flush();
  return out;
}

std::string program_help(bool colour) {
  std::string out = "Flywheel turns a goal into a model in production, and keeps it there.\n\n";
  out += heading("Examples", colour);
  out += examples_block({{"flywheel run examples/churn/goal.yaml", "go from a goal file to a served model, asking before production"},
                         {"flywheel why churn", "say why each decision was taken"}},
                        colour);
  std::string_view section;
  std::vector<std::pair<std::string, std::string>> rows;
  const auto flush = [&] {
    if (!rows.empty())
      out += "\n" + heading(section, colour) + two_columns(rows);
    rows.clear();
  };
  for (const auto& c : command_table()) {
    if (c.hidden)
      continue;
    if (c.section != section) {
      flush();
      section = c.section;
    }
    rows.emplace_back(std::string(c.path), std::string(c.summary));
  }
  flush();
  out += "\n" + heading("Options of every command", colour) + options_block(global_options());
  out += "\n" + heading("Exit codes", colour) + exits_block(exit_codes());
  out += "\n'flywheel COMMAND --help' tells more about a command.\n";
  return out;
}

std::string command_help(const command_spec& c, bool colour) {
  std::string out = std::string(c.summary) + ".\n\n";
  if (!c.examples.empty())
    out += heading("Examples", colour) + examples_block(c.examples, colour) + "\n";
  out += heading("Usage", colour) + "  " + usage_of(c) + "\n";
  if (!c.arguments.empty()) {
    std::vector<std::pair<std::string, std::string>> rows;
    for (const auto& a : c.arguments)
      rows.emplace_back(std::string(a.name) + (a.repeatable ? "..." : ""), std::string(a.help));
    out += "\n" + heading("Arguments", colour) + two_columns(rows);
  }
  if (!c.options.empty())
    out += "\n" + heading("Options", colour) + options_block(c.options);
  out += "\n" + heading("Options of every command", colour) + options_block(global_options());
  out += "\n" + heading("What it does", colour) + wrapped(c.description, 2);
  const auto exits = exits_of(c);
  out += "\n" + heading("Exit codes", colour) + exits_block(exits);
  return out;
}

std::string group_help(std::string_view group, bool colour) {
  std::vector<std::pair<std::string, std::string>> rows;
  for (const auto* c : commands_in_group(group))
    rows.emplace_back("flywheel " + std::string(c->path), std::string(c->summary));
  return heading("Commands", colour) + two_columns(rows) + "\n'flywheel " + std::string(group) + " COMMAND --help' tells more about one.\n";
}

} // namespace flywheel
