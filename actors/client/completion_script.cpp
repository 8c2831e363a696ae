#include "actors/client/completion_script.hpp"

#include "actors/client/command_table.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <vector>

namespace flywheel {
namespace {

/// In single quotes for any of the shells ('\'' ends, escapes and starts again).
std::string quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text)
    out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::vector<const command_spec*> shown() {
  std::vector<const command_spec*> all;
  for (const auto& c : command_table())
    if (!c.hidden)
      all.push_back(&c);
  return all;
}

struct word_help {
  std::string word, help;
};

std::string second_words_of(std::string_view group) {
  std::vector<std::string> words;
  for (const auto* c : commands_in_group(group))
    words.push_back(std::string(c->path.substr(group.size() + 1)));
  return join(words, ", ");
}

/// First words: commands and groups, each once, in table order.
std::vector<word_help> first_words() {
  std::vector<word_help> words;
  for (const auto* c : shown()) {
    const std::string first(split(c->path, ' ').front());
    if (std::none_of(words.begin(), words.end(), [&](const word_help& w) { return w.word == first; }))
      words.push_back({first, is_command_group(first) ? second_words_of(first) : std::string(c->summary)});
  }
  return words;
}

std::vector<std::string> groups() {
  std::vector<std::string> all;
  for (const auto& w : first_words())
    if (is_command_group(w.word))
      all.push_back(w.word);
  return all;
}

std::vector<word_help> second_words(std::string_view group) {
  std::vector<word_help> words;
  for (const auto* c : commands_in_group(group))
    words.push_back({std::string(c->path.substr(group.size() + 1)), std::string(c->summary)});
  return words;
}

std::string words_of(const std::vector<word_help>& all) {
  std::vector<std::string> words;
  for (const auto& w : all)
    words.push_back(w.word);
  return join(words, " ");
}

std::string words_of(const std::vector<std::string_view>& all) {
  return join({all.begin(), all.end()}, " ");
}

// ---- bash -------------------------------------------------------------------------------------------------------------

/// The bash statement that fills COMPREPLY for a value.
std::string bash_value(value_kind kind, const std::vector<std::string_view>& choices) {
  switch (kind) {
  case value_kind::choice: return "COMPREPLY=($(compgen -W " + quoted(words_of(choices)) + " -- \"$cur\"))";
  case value_kind::file: return "COMPREPLY=($(compgen -f -- \"$cur\")); compopt -o filenames 2>/dev/null";
  case value_kind::folder: return "COMPREPLY=($(compgen -d -- \"$cur\")); compopt -o filenames 2>/dev/null";
  case value_kind::goal_file:
    return "COMPREPLY=($(compgen -d -- \"$cur\") $(compgen -f -X '!*.yaml' -- \"$cur\") $(compgen -f -X '!*.yml' -- \"$cur\") $(compgen -f -X '!*.json' -- \"$cur\")); compopt -o filenames 2>/dev/null";
  case value_kind::goal: return "COMPREPLY=($(compgen -W \"$(flywheel goals -o name 2>/dev/null)\" -- \"$cur\"))";
  case value_kind::model: return "COMPREPLY=($(compgen -W \"$(flywheel models -o name 2>/dev/null)\" -- \"$cur\"))";
  case value_kind::command: return "COMPREPLY=($(compgen -W " + quoted(words_of(first_words())) + " -- \"$cur\"))";
  case value_kind::flag:
  case value_kind::text:
  case value_kind::integer:
  case value_kind::assignment: break;
  }
  return "COMPREPLY=()";
}

std::string option_pattern(const option_spec& o) {
  return (o.letter ? std::string("-") + o.letter + "|" : std::string()) + "--" + std::string(o.name);
}

std::string bash_option_cases(const std::vector<option_spec>& options, std::string_view prefix) {
  std::string out;
  for (const auto& o : options)
    if (o.kind != value_kind::flag) {
      const std::string names = option_pattern(o);
      std::string pattern;
      for (const auto p : split(names, '|'))
        pattern += (pattern.empty() ? "" : "|") + quoted(std::string(prefix) + std::string(p));
      out += "    " + pattern + ") " + bash_value(o.kind, o.choices) + "; return ;;\n";
    }
  return out;
}

std::string bash_script() {
  std::vector<std::string> value_options; // patterns of options that take a value, whatever the command
  const auto add = [&](const std::vector<option_spec>& options) {
    for (const auto& o : options)
      if (const auto pattern = option_pattern(o);
          o.kind != value_kind::flag && std::find(value_options.begin(), value_options.end(), pattern) == value_options.end())
        value_options.push_back(pattern);
  };
  add(global_options());
  for (const auto* c : shown())
    add(c->options);

  std::string out = "# bash completion of flywheel; made by 'flywheel completion bash'\n_flywheel() {\n"
                    "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command='' position=0 i word\n"
                    "  COMPREPLY=()\n"
                    "  # the command, and how many words after it are arguments\n"
                    "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
                    "    word=${COMP_WORDS[i]}\n"
                    "    case $word in\n";
  out += "      " + join(value_options, "|") + ") ((i++)) ;;\n      -*) ;;\n      *)\n"
         "        if [[ -z $command ]]; then command=$word\n";
  for (const auto& g : groups())
    out += "        elif [[ $command == " + g + " ]]; then command=\"" + g + " $word\"\n";
  out += "        else ((position++)); fi ;;\n    esac\n  done\n"
         "  case \"$prev\" in\n" +
         bash_option_cases(global_options(), "") + "  esac\n  case \"$command $prev\" in\n";
  for (const auto* c : shown())
    out += bash_option_cases(c->options, std::string(c->path) + " ");
  out += "  esac\n  if [[ $cur == -* ]]; then\n    case $command in\n";
  std::string everywhere;
  for (const auto& o : global_options())
    everywhere += " --" + std::string(o.name);
  for (const auto* c : shown()) {
    std::string names;
    for (const auto& o : c->options)
      names += "--" + std::string(o.name) + " ";
    out += "      " + quoted(c->path) + ") COMPREPLY=($(compgen -W " + quoted(names + everywhere.substr(1)) + " -- \"$cur\")) ;;\n";
  }
  out += "      *) COMPREPLY=($(compgen -W " + quoted(everywhere.substr(1)) + " -- \"$cur\")) ;;\n    esac\n    return\n  fi\n"
         "  case \"$command:$position\" in\n    ':0') COMPREPLY=($(compgen -W " +
         quoted(words_of(first_words())) + " -- \"$cur\")) ;;\n";
  for (const auto& g : groups())
    out += "    " + quoted(g + ":0") + ") COMPREPLY=($(compgen -W " + quoted(words_of(second_words(g))) + " -- \"$cur\")) ;;\n";
  for (const auto* c : shown())
    for (std::size_t i = 0; i < c->arguments.size(); ++i)
      out += "    " + quoted(std::string(c->path) + ":") + (c->arguments[i].repeatable ? "*" : std::to_string(i)) + ") " +
             bash_value(c->arguments[i].kind, c->arguments[i].choices) + " ;;\n";
  return out + "  esac\n}\ncomplete -F _flywheel flywheel\n";
}

// ---- zsh --------------------------------------------------------------------------------------------------------------

std::string zsh_plain(std::string_view text) {
  std::string out;
  for (const char c : text)
    out += (c == ':' || c == '[' || c == ']' || c == '\\') ? std::string("\\") + c : std::string(1, c);
  return out;
}

std::string zsh_action(value_kind kind, const std::vector<std::string_view>& choices) {
  switch (kind) {
  case value_kind::choice: return "(" + words_of(choices) + ")";
  case value_kind::file: return "_files";
  case value_kind::folder: return "_files -/";
  case value_kind::goal_file: return "_files -g \"*.(yaml|yml|json)\"";
  case value_kind::goal: return "_flywheel_goals";
  case value_kind::model: return "_flywheel_models";
  case value_kind::command: return "(" + words_of(first_words()) + ")";
  case value_kind::flag:
  case value_kind::text:
  case value_kind::integer:
  case value_kind::assignment: break;
  }
  return " ";
}

std::string zsh_options(const std::vector<option_spec>& options) {
  std::string out;
  for (const auto& o : options) {
    const std::string tail = "[" + zsh_plain(o.help) + "]" +
                             (o.kind == value_kind::flag ? "" : ":" + zsh_plain(o.value_name) + ":" + zsh_action(o.kind, o.choices));
    const std::string many = o.repeatable ? "*" : "";
    if (o.letter)
      out += " \\\n      " + quoted(many + "-" + o.letter + tail);
    out += " \\\n      " + quoted(many + "--" + std::string(o.name) + tail);
  }
  return out;
}

std::string zsh_list(const std::vector<word_help>& words) {
  std::string out;
  for (const auto& w : words)
    out += "      " + quoted(zsh_plain(w.word) + ":" + zsh_plain(w.help)) + "\n";
  return out;
}

std::string zsh_script() {
  std::string out = "#compdef flywheel\n# zsh completion of flywheel; made by 'flywheel completion zsh'\n"
                    "_flywheel_goals() { compadd -- ${(f)\"$(flywheel goals -o name 2>/dev/null)\"} }\n"
                    "_flywheel_models() { compadd -- ${(f)\"$(flywheel models -o name 2>/dev/null)\"} }\n"
                    "_flywheel() {\n  local -a words_of_command\n  local command=''\n  local -i i=2 shift_by=0\n"
                    "  for ((i = 2; i < CURRENT; i++)); do\n    case ${words[i]} in\n      -s|-o|--state|--output) ((i++)) ;;\n      -*) ;;\n"
                    "      *) if [[ -z $command ]]; then command=${words[i]}; shift_by=$((i - 1))\n";
  for (const auto& g : groups())
    out += "         elif [[ $command == " + g + " ]]; then command=\"" + g + " ${words[i]}\"; shift_by=$((i - 1)); break\n";
  out += "         fi\n         case $command in (" ;
  std::string group_words;
  for (const auto& g : groups())
    group_words += (group_words.empty() ? "" : "|") + g;
  out += group_words + ") ;; (*) break ;; esac ;;\n    esac\n  done\n  if ((shift_by)); then shift $shift_by words; ((CURRENT -= shift_by)); fi\n"
         "  case $command in\n    '')\n      words_of_command=(\n" +
         zsh_list(first_words()) + "      )\n      _describe -t commands command words_of_command\n      _arguments" +
         zsh_options(global_options()) + " ;;\n";
  for (const auto& g : groups())
    out += "    " + g + ")\n      words_of_command=(\n" + zsh_list(second_words(g)) + "      )\n      _describe -t commands command words_of_command ;;\n";
  for (const auto* c : shown()) {
    out += "    " + quoted(c->path) + ") _arguments" + zsh_options(c->options) + zsh_options(global_options());
    for (const auto& a : c->arguments)
      out += " \\\n      " + quoted((a.repeatable ? "*" : "") + std::string(a.required || a.repeatable ? ":" : "::") + zsh_plain(a.name) + ":" +
                                    zsh_action(a.kind, a.choices));
    out += " ;;\n";
  }
  return out + "  esac\n}\nif [[ $funcstack[1] == _flywheel ]]; then _flywheel \"$@\"; else compdef _flywheel flywheel; fi\n";
}

// ---- fish -------------------------------------------------------------------------------------------------------------

std::string fish_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text)
    out += (c == '\'' || c == '\\') ? std::string("\\") + c : std::string(1, c);
  return out + "'";
}

std::string fish_value(value_kind kind, const std::vector<std::string_view>& choices) {
  switch (kind) {
  case value_kind::choice: return " -x -a " + fish_quoted(words_of(choices));
  case value_kind::file:
  case value_kind::goal_file: return " -r -F";
  case value_kind::folder: return " -x -a '(__fish_complete_directories)'";
  case value_kind::goal: return " -x -a '(flywheel goals -o name 2>/dev/null)'";
  case value_kind::model: return " -x -a '(flywheel models -o name 2>/dev/null)'";
  case value_kind::command: return " -x -a " + fish_quoted(words_of(first_words()));
  case value_kind::flag: return "";
  case value_kind::text:
  case value_kind::integer:
  case value_kind::assignment: break;
  }
  return " -x";
}

std::string fish_options(const std::vector<option_spec>& options, const std::string& condition) {
  std::string out;
  for (const auto& o : options)
    out += "complete -c flywheel" + condition + (o.letter ? std::string(" -s ") + o.letter : std::string()) + " -l " + std::string(o.name) +
           fish_value(o.kind, o.choices) + " -d " + fish_quoted(o.help) + "\n";
  return out;
}

std::string fish_script() {
  std::string out = "# fish completion of flywheel; made by 'flywheel completion fish'\ncomplete -c flywheel -f\n" + fish_options(global_options(), "");
  for (const auto& w : first_words())
    out += "complete -c flywheel -n __fish_use_subcommand -a " + w.word + " -d " + fish_quoted(w.help) + "\n";
  for (const auto& g : groups())
    for (const auto& w : second_words(g))
      out += "complete -c flywheel -n '__fish_seen_subcommand_from " + g + "; and not __fish_seen_subcommand_from " + words_of(second_words(g)) +
             "' -a " + w.word + " -d " + fish_quoted(w.help) + "\n";
  for (const auto* c : shown()) {
    const auto words = split(c->path, ' ');
    std::string condition = " -n '__fish_seen_subcommand_from " + std::string(words[0]);
    if (words.size() > 1)
      condition += "; and __fish_seen_subcommand_from " + std::string(words[1]);
    condition += "'";
    out += fish_options(c->options, condition);
    for (const auto& a : c->arguments)
      if (a.kind != value_kind::text && a.kind != value_kind::assignment && a.kind != value_kind::integer)
        out += "complete -c flywheel" + condition + (a.kind == value_kind::file || a.kind == value_kind::goal_file ? " -F" : fish_value(a.kind, a.choices)) + "\n";
  }
  return out;
}

} // namespace

result<std::string> completion_script(std::string_view shell) {
  if (shell == "bash")
    return bash_script();
  if (shell == "zsh")
    return zsh_script();
  if (shell == "fish")
    return fish_script();
  return error{errc::unsupported, "no completion for '" + printable(shell, 40) + "'", {}, "possible: bash, zsh, fish"};
}

} // namespace flywheel
