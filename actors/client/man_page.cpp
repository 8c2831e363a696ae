#include "actors/client/man_page.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>
#include <fstream>

namespace flywheel {
namespace {

/// Text for roff: backslashes and hyphens escaped, no line that could be taken for a request.
std::string roff(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if ((out.empty() || out.back() == '\n') && (c == '.' || c == '\''))
      out += "\\&";
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else
      out += c;
  }
  return out;
}

std::string paragraphs(std::string_view text) {
  std::string out;
  for (const auto line : split(text, '\n'))
    out += line.empty() ? ".PP\n" : roff(line) + "\n";
  return out;
}

std::string bold(std::string_view text) { return "\\fB" + roff(text) + "\\fR"; }
std::string italic(std::string_view text) { return "\\fI" + roff(text) + "\\fR"; }

std::string header(const std::string& name, std::string_view summary) {
  std::string upper;
  for (const char c : name)
    upper += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return ".TH " + roff(upper) + " 1 \"\" \"Flywheel\" \"Flywheel manual\"\n.SH NAME\n" + roff(name) + " \\- " + roff(summary) + "\n";
}

std::string tagged(const std::string& tag, std::string_view text) { return ".TP\n" + tag + "\n" + roff(text) + "\n"; }

std::string examples(const std::vector<example_spec>& all) {
  std::string out = ".SH EXAMPLES\n";
  for (const auto& e : all)
    out += tagged(bold(e.line), e.what);
  return out;
}

std::string options(std::string_view title, const std::vector<option_spec>& all) {
  if (all.empty())
    return {};
  std::string out = ".SH " + std::string(title) + "\n";
  for (const auto& o : all) {
    std::string tag = o.letter ? bold(std::string("-") + o.letter) + ", " : std::string();
    tag += bold("--" + std::string(o.name));
    if (o.kind != value_kind::flag)
      tag += " " + italic(o.value_name);
    out += tagged(tag, std::string(o.help) + (o.default_value.empty() ? "" : "; default " + std::string(o.default_value)) +
                           (o.required ? " (required)" : ""));
  }
  return out;
}

std::string exits(const std::vector<exit_spec>& all) {
  std::string out = ".SH EXIT STATUS\n";
  for (const auto& e : all)
    out += tagged(bold(std::to_string(e.code)), e.meaning);
  return out;
}

std::string program_page() {
  std::string out = header("flywheel", "from a goal to a served, watched model");
  out += ".SH SYNOPSIS\n" + bold("flywheel") + " " + italic("COMMAND") + " [options] [arguments]\n";
  out += examples({{"flywheel run examples/churn/goal.yaml", "go from a goal file to a served model, asking before production"},
                   {"flywheel why churn", "say why each decision was taken"}});
  out += ".SH DESCRIPTION\n" + paragraphs("Flywheel turns a goal (data and its contract, a target metric, a budget, who must approve) into a model "
                                         "in production, and keeps it there. Every decision is written down with its reason.");
  std::string_view section;
  out += ".SH COMMANDS\n";
  for (const auto& c : command_table()) {
    if (c.hidden)
      continue;
    if (c.section != section)
      out += ".SS " + roff(section = c.section) + "\n";
    out += tagged(bold(man_page_name(&c)) + "(1)", c.summary);
  }
  out += options("OPTIONS OF EVERY COMMAND", global_options()) + exits(exit_codes()) + ".SH ENVIRONMENT\n";
  for (const auto& v : environment_variables())
    out += tagged(bold(v.line), v.what);
  return out;
}

} // namespace

std::string man_page_name(const command_spec* command) {
  std::string name = command ? "flywheel-" + std::string(command->path) : "flywheel";
  std::replace(name.begin(), name.end(), ' ', '-');
  return name;
}

std::string man_page(const command_spec* command) {
  if (!command)
    return program_page();
  const auto& c = *command;
  std::string out = header(man_page_name(command), c.summary);
  out += ".SH SYNOPSIS\n" + bold("flywheel " + std::string(c.path)) + roff(usage_of(c).substr(9 + c.path.size())) + "\n";
  if (!c.examples.empty())
    out += examples(c.examples);
  out += ".SH DESCRIPTION\n" + paragraphs(c.description);
  if (!c.arguments.empty())
    out += ".SH ARGUMENTS\n";
  for (const auto& a : c.arguments)
    out += tagged(italic(a.name) + (a.repeatable ? "..." : ""), a.help);
  out += options("OPTIONS", c.options) + options("OPTIONS OF EVERY COMMAND", global_options());
  return out + exits(exits_of(c)) + ".SH SEE ALSO\n" + bold("flywheel") + "(1)\n";
}

status write_man_pages(const std::filesystem::path& folder) {
  std::error_code code;
  std::filesystem::create_directories(folder / "man1", code);
  if (code)
    return error_from_errno(code.value(), "create " + (folder / "man1").string());
  std::vector<const command_spec*> pages{nullptr};
  for (const auto& c : command_table())
    if (!c.hidden)
      pages.push_back(&c);
  for (const auto* page : pages) {
    const auto file = folder / "man1" / (man_page_name(page) + ".1");
    std::ofstream out(file, std::ios::trunc);
    out << man_page(page) << std::flush;
    if (!out)
      return error{errc::io_failed, "write " + file.string(), {}, "check the folder's rights and free space"};
  }
  return success();
}

} // namespace flywheel
