#pragma once
// What the other end of a file descriptor can show. The only place of the client that asks for terminals and colours.

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace flywheel {

/// What decides about colour, as values. `lookup` is getenv in the program.
struct colour_question {
  bool is_terminal = false;
  bool refused = false; ///< --no-color
  std::function<std::optional<std::string>(std::string_view)> lookup;
};
/// In this order: --no-color or NO_COLOR (not empty): no; CLICOLOR_FORCE (not "0"): yes; TERM=dumb, or no terminal: no.
bool wants_colour(const colour_question& q);

struct terminal {
  bool is_terminal = false;
  bool colour = false;
  std::size_t columns = 80; ///< width; at least 20
};
/// Asks about an open file descriptor (1 or 2) and the environment.
terminal terminal_of(int fd, bool colour_refused);
/// getenv as a value; nothing if it is not set.
std::optional<std::string> environment(std::string_view name);

enum class ink { plain, bold, dim, red, green, yellow };
/// `text` in that ink, or unchanged if `colour` is false.
std::string painted(std::string_view text, ink colour_of_text, bool colour);

/// Columns that a terminal uses for UTF-8 text: combining marks 0, East Asian wide and emoji 2, everything else 1. Escape
/// sequences made by painted() count 0. Independent of the locale. Bytes that are not UTF-8 count 1 each.
std::size_t display_width(std::string_view text);
/// `text` cut to at most `columns`, its last column being an ellipsis if something was cut. Text without escape sequences.
std::string cut_to_width(std::string_view text, std::size_t columns);

} // namespace flywheel
