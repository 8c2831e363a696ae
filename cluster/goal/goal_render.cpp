// Problems as people read them: place, message, source line, caret.
#include "cluster/base/text.hpp"
#include "cluster/goal/goal_parser.hpp"

#include <algorithm>

namespace flywheel {
namespace {

constexpr std::size_t window = 120; ///< characters of a source line that are shown around the problem

std::size_t character_bytes(unsigned char lead) { return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4; }

/// Bytes of the character at `i`; a byte that starts none counts as one.
std::size_t character_at(std::string_view line, std::size_t i) {
  const std::size_t n = std::min(character_bytes(static_cast<unsigned char>(line[i])), line.size() - i);
  return is_valid_utf8(line.substr(i, n)) ? n : 1;
}

/// The line with everything a terminal might act on replaced, cut to the window, and where the caret goes in it.
std::string shown_line(std::string_view line, std::uint32_t column, std::size_t& caret) {
  if (line.ends_with('\r'))
    line.remove_suffix(1);
  const std::size_t skipped = column - 1 > window / 2 && line.size() > window ? column - 1 - window / 2 : 0;
  std::size_t i = 0;
  std::size_t characters = 0;
  for (; characters < skipped && i < line.size(); ++characters)
    i += character_at(line, i);
  std::string out = skipped > 0 ? "..." : "";
  caret = out.size();
  for (std::size_t shown = 0; i < line.size() && shown < window; ++shown, ++characters) {
    const std::size_t n = character_at(line, i);
    const std::string_view piece = line.substr(i, n);
    const auto c = static_cast<unsigned char>(piece[0]);
    const bool control = c < 0x20 || c == 0x7f || (n == 1 && c >= 0x80) || (c == 0xc2 && static_cast<unsigned char>(piece[1]) < 0xa0);
    if (c == '\t')
      out += ' ';
    else if (control)
      out += '?';
    else
      out += piece;
    if (characters < column - 1)
      ++caret;
    i += n;
  }
  return i < line.size() ? out + "..." : out;
}

std::string plural(std::size_t n, const char* word) { return std::to_string(n) + " " + word + (n == 1 ? "" : "s"); }

} // namespace

std::string render_problems(const std::vector<goal_problem>& problems, std::string_view file, std::string_view text, bool colour) {
  if (text.starts_with("\xef\xbb\xbf"))
    text.remove_prefix(3);
  std::vector<std::string_view> lines;
  for (std::size_t start = 0; start <= text.size();) {
    const auto end = std::min(text.find('\n', start), text.size());
    lines.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  const auto paint = [colour](const char* code, const std::string& s) { return colour ? std::string{"\x1b["} + code + "m" + s + "\x1b[0m" : s; };
  std::string out;
  std::size_t errors = 0, warnings = 0;
  for (const goal_problem& p : problems) {
    ++(p.warning ? warnings : errors);
    const std::string name = p.file.empty() ? printable(file, 300) : printable(p.file, 300);
    out += paint("1", name + ":" + std::to_string(p.line) + ":" + std::to_string(p.column) + ":") + " " +
           (p.warning ? paint("1;35", "warning:") : paint("1;31", "error:")) + " " + p.message;
    if (!p.suggestion.empty())
      out += "; did you mean '" + printable(p.suggestion, 100) + "'?";
    out += " [" + p.rule + "]\n";
    const std::string_view line = !p.file.empty() ? std::string_view{p.source_line}
                                  : p.line >= 1 && p.line <= lines.size() ? lines[p.line - 1] : std::string_view{};
    if (trim(line).empty() || p.column == 0)
      continue;
    std::size_t caret = 0;
    const std::string shown = shown_line(line, p.column, caret);
    const std::string number = std::to_string(p.line);
    const std::string margin = std::string(number.size() < 5 ? 5 - number.size() : 0, ' ');
    out += margin + number + " | " + shown + "\n" + std::string(margin.size() + number.size(), ' ') + " | " +
           std::string(caret, ' ') + paint("1;32", "^") + "\n";
  }
  if (!problems.empty())
    out += printable(file, 300) + ": " + plural(errors, "error") + (warnings > 0 ? ", " + plural(warnings, "warning") : "") + "\n";
  return out;
}

bool no_errors(const std::vector<goal_problem>& problems) {
  return std::all_of(problems.begin(), problems.end(), [](const goal_problem& p) { return p.warning; });
}

bool goal_parse::ok() const noexcept { return no_errors(problems); }
bool contract_parse::ok() const noexcept { return no_errors(problems); }

std::string goal_parse::render(std::string_view file, std::string_view text, bool colour) const {
  return render_problems(problems, file, text, colour);
}
std::string contract_parse::render(std::string_view file, std::string_view text, bool colour) const {
  return render_problems(problems, file, text, colour);
}

} // namespace flywheel
