#include "actors/client/slurm_script.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>

namespace flywheel {
namespace {

constexpr std::string_view plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-";

bool is_plain(std::string_view word) { return !word.empty() && word.find_first_not_of(plain) == std::string_view::npos; }

/// As sbatch reads a word of a #SBATCH line: '#' would start a comment, a blank end it.
std::string sbatch_quoted(std::string_view word) {
  if (is_plain(word))
    return std::string{word};
  std::string out = "\"";
  for (const char ch : word) {
    if (ch == '"' || ch == '\\')
      out.push_back('\\');
    out.push_back(ch);
  }
  return out + "\"";
}

/// A path in --output, where % is a pattern.
std::string without_patterns(std::string_view path) {
  std::string out;
  for (const char ch : path)
    out += ch == '%' ? "%%" : std::string(1, ch);
  return out;
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char ch) { return static_cast<unsigned char>(ch) < 0x20 || ch == 0x7f; });
}

} // namespace

std::string bash_quoted(std::string_view word) {
  if (is_plain(word))
    return std::string{word};
  std::string out = "'";
  for (const char ch : word)
    out += ch == '\'' ? "'\\''" : std::string(1, ch);
  return out + "'";
}

result<std::string> render(const slurm_script& s) {
  std::vector<std::string> words{s.name, s.program, s.goal, s.output};
  words.insert(words.end(), s.boot_options.begin(), s.boot_options.end());
  words.insert(words.end(), s.sbatch_options.begin(), s.sbatch_options.end());
  for (const auto& w : words)
    if (has_control(w))
      return error{errc::invalid_argument, "a batch script cannot hold a control character: " + printable(w, 80)};
  std::string out = "#!/bin/bash\n"
                    "# A Flywheel cluster on what Slurm allocates: the head on the first node, a worker on each other one (docs/slurm.md).\n"
                    "# Exit codes: 0 goal done, 1 failed, 2 bad input, 4 denied, 6 a person must approve, 75 not over: the same job again\n"
                    "# continues it (it requeues itself where it can).\n";
  out += "#SBATCH --job-name=" + sbatch_quoted(s.name) + "\n";
  out += "#SBATCH --nodes=1 --ntasks-per-node=1\n"
         "#SBATCH --requeue --no-kill --open-mode=append\n";
  if (!s.output.empty())
    out += "#SBATCH --output=" + sbatch_quoted(without_patterns(s.output) + "/slurm-%j.out") + "\n";
  out += "#SBATCH --signal=B:USR1@" + std::to_string(s.grace.count()) + "\n";
  if (!s.sbatch_options.empty()) {
    out += "#SBATCH";
    for (const auto& w : s.sbatch_options)
      out += " " + sbatch_quoted(w);
    out += "\n";
  }
  out += "\n# flywheel takes the place of this shell, so that Slurm's signals reach it.\n"
         "exec " + (s.program.empty() ? std::string{"\"${FLYWHEEL:-flywheel}\""} : bash_quoted(s.program)) + " slurm boot";
  for (const auto& w : s.boot_options)
    out += " " + bash_quoted(w);
  if (s.goal.empty())
    return out + " \"$@\"\n";
  return out + " - <<'FLYWHEEL_GOAL'\n" + s.goal + "\nFLYWHEEL_GOAL\n";
}

} // namespace flywheel
