#include "actors/client/front_door.hpp"

#include "actors/client/completion_script.hpp"
#include "actors/client/help_text.hpp"
#include "actors/client/man_page.hpp"
#include "cluster/base/text.hpp"

namespace flywheel {
namespace {

/// The command that the words after `help` or `man` name; nullptr for none.
result<const command_spec*> named_command(const command_line& line) {
  const std::string path = join(line.arguments("COMMAND"), " ");
  if (path.empty())
    return nullptr;
  if (const auto* c = find_command(path))
    return c;
  std::vector<std::string> paths;
  for (const auto& c : command_table())
    if (!c.hidden)
      paths.push_back(std::string(c.path));
  const auto near = nearest(path, paths);
  return error{errc::not_found, "no command '" + printable(path, 80) + "'", {},
               near.empty() ? "'flywheel --help' lists the commands" : "did you mean '" + std::string(near) + "'?"};
}

result<int> help(const command_line& line, std::ostream& out, bool colour) {
  if (const auto words = line.arguments("COMMAND"); words.size() == 1 && is_command_group(words[0])) {
    out << group_help(words[0], colour);
    return 0;
  }
  FLYWHEEL_TRY(const auto* command, named_command(line));
  out << (command ? command_help(*command, colour) : program_help(colour));
  return 0;
}

result<int> man(const command_line& line, std::ostream& out) {
  if (line.given("write")) {
    FLYWHEEL_CHECK(write_man_pages(line.text("write")));
    return 0;
  }
  FLYWHEEL_TRY(const auto* command, named_command(line));
  out << man_page(command);
  return 0;
}

result<int> completion(const command_line& line, std::ostream& out) {
  FLYWHEEL_TRY(const auto script, completion_script(line.argument("SHELL")));
  out << script;
  return 0;
}

} // namespace

std::optional<result<int>> answer_from_table(const command_line& line, std::ostream& out, bool colour) {
  if (line.help_wanted()) {
    out << (line.command() ? command_help(*line.command(), colour)
            : line.help_group().empty() ? program_help(colour)
                                        : group_help(line.help_group(), colour));
    return result<int>(0);
  }
  if (line.path() == "help")
    return help(line, out, colour);
  if (line.path() == "man")
    return man(line, out);
  if (line.path() == "completion")
    return completion(line, out);
  return std::nullopt;
}

} // namespace flywheel
