#include "actors/client/command_line.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <charconv>

namespace flywheel {
namespace {

std::optional<std::uint64_t> whole_number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size() || text.empty())
    return std::nullopt;
  return value;
}

std::string quoted(std::string_view word) { return "'" + printable(word, 80) + "'"; }

std::string did_you_mean(std::string_view word) { return "did you mean '" + std::string(word) + "'?"; }

/// The command that a mistyped first word means: a word people use elsewhere, the start of a name, a typo.
std::string suggest_command(std::string_view word) {
  std::vector<std::string> names;
  for (const auto& c : command_table())
    if (!c.hidden)
      names.push_back(std::string(split(c.path, ' ').front()));
  names.erase(std::unique(names.begin(), names.end()), names.end());

  const std::string small = lower(word);
  for (const auto& c : command_table())
    if (std::find(c.also.begin(), c.also.end(), small) != c.also.end())
      return std::string(c.path);
  if (small.size() >= 2)
    for (const auto& name : names)
      if (name.starts_with(small))
        return name;
  return std::string(nearest(word, names));
}

error usage_error(std::string what, std::string hint) {
  return {errc::invalid_argument, std::move(what), {}, std::move(hint)};
}

} // namespace

class command_line_parser {
public:
  explicit command_line_parser(const std::vector<std::string>& words) : words_(words) {}

  result<command_line> parse() {
    while (next_ < words_.size()) {
      const std::string& word = words_[next_];
      ++next_;
      if (line_.command_ && line_.command_->raw)
        positionals_.push_back(word);
      else if (!options_ended_ && word == "--")
        options_ended_ = true;
      else if (!options_ended_ && word.starts_with("--"))
        FLYWHEEL_CHECK(long_option(std::string_view(word).substr(2)));
      else if (!options_ended_ && word.size() > 1 && word[0] == '-')
        FLYWHEEL_CHECK(short_options(std::string_view(word).substr(1)));
      else if (!line_.command_)
        FLYWHEEL_CHECK(command_word(word));
      else
        positionals_.push_back(word);
    }
    line_.help_ = line_.options_.contains("help");
    line_.version_ = line_.options_.contains("version");
    if (!line_.command_ && !line_.version_ && (first_word_.empty() || line_.help_)) {
      line_.group_ = first_word_;
      line_.help_ = true;
    }
    if (line_.help_ || line_.version_)
      return std::move(line_);
    if (!line_.command_)
      return incomplete_group();
    FLYWHEEL_CHECK(place_arguments());
    for (const auto& o : line_.command_->options)
      if (o.required && !line_.options_.contains(o.name))
        return usage_error("--" + std::string(o.name) + " " + std::string(o.value_name) + " is missing", usage_hint());
    return std::move(line_);
  }

private:
  std::string usage_hint() const {
    return line_.command_ ? "usage: " + usage_of(*line_.command_)
                          : std::string("'flywheel --help' lists the commands and options");
  }

  status command_word(const std::string& word) {
    if (!first_word_.empty()) {
      const std::string path = first_word_ + " " + word;
      line_.command_ = find_command(path);
      if (line_.command_)
        return success();
      std::vector<std::string> seconds;
      for (const auto* c : commands_in_group(first_word_))
        seconds.push_back(std::string(c->path.substr(first_word_.size() + 1)));
      const auto near = nearest(word, seconds);
      return usage_error("unknown command " + quoted(path),
                         near.empty() ? "'flywheel " + first_word_ + "' knows: " + join(seconds, ", ")
                                      : did_you_mean("flywheel " + first_word_ + " " + std::string(near)));
    }
    line_.command_ = find_command(word);
    if (line_.command_)
      return success();
    if (is_command_group(word)) {
      first_word_ = word;
      return success();
    }
    const auto near = suggest_command(word);
    return usage_error("unknown command " + quoted(word),
                       near.empty() ? "'flywheel --help' lists the commands" : did_you_mean("flywheel " + near));
  }

  error incomplete_group() const {
    std::vector<std::string> names;
    for (const auto* c : commands_in_group(first_word_))
      names.push_back("flywheel " + std::string(c->path));
    return usage_error("'flywheel " + first_word_ + "' needs one more word", "one of: " + join(names, ", "));
  }

  const option_spec* find_option(auto&& matches) const {
    for (const auto* options : {line_.command_ ? &line_.command_->options : nullptr, &global_options()})
      if (options)
        for (const auto& o : *options)
          if (matches(o))
            return &o;
    return nullptr;
  }

  status unknown_option(const std::string& dashed) const {
    std::string_view name = dashed;
    name.remove_prefix(std::min(name.find_first_not_of('-'), name.size()));
    std::vector<std::string> names;
    for (const auto* options : {line_.command_ ? &line_.command_->options : nullptr, &global_options()})
      if (options)
        for (const auto& o : *options)
          names.push_back(std::string(o.name));
    const std::string what = "unknown option " + quoted(dashed);
    if (name.size() > 1) {
      if (const auto near = nearest(name, names); !near.empty())
        return usage_error(what, did_you_mean("--" + std::string(near)));
      for (const auto& c : command_table())
        for (const auto& o : c.options)
          if (o.name == name && &c != line_.command_)
            return usage_error(what, line_.command_ ? "--" + std::string(name) + " belongs to 'flywheel " + std::string(c.path) + "'"
                                                    : "--" + std::string(name) + " goes after its command: flywheel " +
                                                          std::string(c.path) + " --" + std::string(name));
    }
    return usage_error(what, line_.command_ ? "'flywheel " + std::string(line_.command_->path) + " --help' lists the options"
                                            : "'flywheel --help' lists the commands and options");
  }

  status long_option(std::string_view text) {
    const auto equals = text.find('=');
    const std::string_view name = text.substr(0, equals);
    const auto* option = find_option([&](const option_spec& o) { return o.name == name; });
    if (!option && name == "no-colour")
      option = find_option([](const option_spec& o) { return o.name == "no-color"; });
    if (!option)
      return unknown_option("--" + std::string(name));
    if (option->kind == value_kind::flag) {
      if (equals != std::string_view::npos)
        return usage_error("--" + std::string(name) + " takes no value", "write only --" + std::string(name));
      line_.options_[std::string(option->name)] = {"true"};
      return success();
    }
    if (equals != std::string_view::npos)
      return store(*option, std::string(text.substr(equals + 1)));
    return store_next(*option);
  }

  status short_options(std::string_view letters) {
    for (std::size_t i = 0; i < letters.size(); ++i) {
      const char letter = letters[i];
      const auto* option = find_option([&](const option_spec& o) { return o.letter == letter; });
      if (!option)
        return unknown_option(i == 0 ? "-" + std::string(letters) : std::string("-") + letter);
      if (option->kind == value_kind::flag) {
        line_.options_[std::string(option->name)] = {"true"};
        continue;
      }
      std::string_view rest = letters.substr(i + 1);
      if (rest.empty())
        return store_next(*option);
      if (rest.front() == '=')
        rest.remove_prefix(1);
      return store(*option, std::string(rest));
    }
    return success();
  }

  status store_next(const option_spec& option) {
    const std::string name = "--" + std::string(option.name);
    if (next_ == words_.size())
      return usage_error(name + " needs a value: " + name + " " + std::string(option.value_name), usage_hint());
    const std::string& value = words_[next_];
    // "--by --quiet" is a forgotten value, not a person called "--quiet".
    if (value.starts_with("--") && find_option([&](const option_spec& o) { return std::string_view(value).substr(2) == o.name; }))
      return usage_error(name + " needs a value, but " + quoted(value) + " follows",
                         "write " + name + " " + std::string(option.value_name) + ", or " + name + "=" + value + " if that is the value");
    ++next_;
    return store(option, value);
  }

  status store(const option_spec& option, std::string value) {
    const std::string name(option.name);
    FLYWHEEL_CHECK(check("--" + name, option.kind, option.choices, value));
    auto& values = line_.options_[name];
    if (!values.empty() && !option.repeatable)
      return usage_error("--" + name + " is given twice", "leave one of them out");
    values.push_back(std::move(value));
    return success();
  }

  static status check(const std::string& name, value_kind kind, const std::vector<std::string_view>& choices, const std::string& value) {
    if (value.find('\0') != std::string::npos || !is_valid_utf8(value))
      return usage_error(name + " is not valid UTF-8 text", "check the encoding of the command line");
    switch (kind) {
    case value_kind::integer:
      if (!whole_number(value))
        return usage_error(name + ": " + quoted(value) + " is not a whole number", "write digits only, e.g. " + name + " 10");
      return success();
    case value_kind::choice: {
      if (std::find(choices.begin(), choices.end(), value) != choices.end())
        return success();
      std::vector<std::string> all;
      for (const auto c : choices)
        all.push_back(std::string(c));
      const auto near = nearest(value, all);
      return usage_error(name + ": " + quoted(value) + " is not possible",
                         (near.empty() ? std::string() : did_you_mean(near) + " ") + "possible: " + join(all, ", "));
    }
    case value_kind::assignment:
      if (value.find('=') == std::string::npos || value.front() == '=')
        return usage_error(name + ": " + quoted(value) + " is not of the form NAME=VALUE", "write e.g. search.budget.trials=10");
      return success();
    case value_kind::file:
    case value_kind::folder:
    case value_kind::goal_file:
    case value_kind::goal:
    case value_kind::model:
      if (value.empty())
        return usage_error(name + " is empty", "a shell variable may be unset");
      return success();
    case value_kind::flag:
    case value_kind::text:
    case value_kind::command: return success();
    }
    return success();
  }

  status place_arguments() {
    const auto& specs = line_.command_->arguments;
    std::size_t taken = 0;
    for (const auto& spec : specs) {
      const std::string name(spec.name);
      if (taken == positionals_.size()) {
        if (spec.required)
          return usage_error(name + " is missing: " + std::string(spec.help), usage_hint());
        continue;
      }
      const std::size_t end = spec.repeatable ? positionals_.size() : taken + 1;
      for (; taken < end; ++taken) {
        if (!line_.command_->raw)
          FLYWHEEL_CHECK(check(name, spec.kind, spec.choices, positionals_[taken]));
        line_.arguments_[name].push_back(std::move(positionals_[taken]));
      }
    }
    if (taken < positionals_.size())
      return usage_error("unexpected " + quoted(positionals_[taken]), usage_hint());
    return success();
  }

  const std::vector<std::string>& words_;
  std::size_t next_ = 0;
  bool options_ended_ = false;
  std::string first_word_; // of a two-word command
  std::vector<std::string> positionals_;
  command_line line_;
};

result<command_line> parse_command_line(const std::vector<std::string>& words) {
  return command_line_parser(words).parse();
}

const option_spec& command_line::spec_of(std::string_view option) const {
  const option_spec* found = nullptr;
  for (const auto* options : {command_ ? &command_->options : nullptr, &global_options()})
    if (options)
      for (const auto& o : *options)
        if (o.name == option && !found)
          found = &o;
  FLYWHEEL_ASSERT(found, "the command table has no such option for this command");
  return *found;
}

bool command_line::given(std::string_view option) const {
  return options_.find(spec_of(option).name) != options_.end();
}

bool command_line::flag(std::string_view option) const {
  FLYWHEEL_ASSERT(spec_of(option).kind == value_kind::flag, "the option is not a flag");
  return given(option);
}

std::string command_line::text(std::string_view option) const {
  const auto& spec = spec_of(option);
  const auto i = options_.find(option);
  return i == options_.end() ? std::string(spec.default_value) : i->second.front();
}

std::uint64_t command_line::integer(std::string_view option) const {
  const auto value = whole_number(text(option));
  FLYWHEEL_ASSERT(value, "the option is no integer, or has no default");
  return *value;
}

std::vector<std::string> command_line::list(std::string_view option) const {
  (void)spec_of(option);
  const auto i = options_.find(option);
  return i == options_.end() ? std::vector<std::string>{} : i->second;
}

std::vector<std::string> command_line::arguments(std::string_view name) const {
  const bool known = command_ && std::any_of(command_->arguments.begin(), command_->arguments.end(),
                                             [&](const argument_spec& a) { return a.name == name; });
  FLYWHEEL_ASSERT(known, "the command table has no such argument for this command");
  const auto i = arguments_.find(name);
  return i == arguments_.end() ? std::vector<std::string>{} : i->second;
}

std::string command_line::argument(std::string_view name) const {
  auto all = arguments(name);
  return all.empty() ? std::string{} : std::move(all.front());
}

std::vector<std::string> command_line::overrides() const {
  const bool after_the_file = command_ && std::any_of(command_->arguments.begin(), command_->arguments.end(), [](const auto& a) { return a.name == "NAME=VALUE"; });
  auto all = after_the_file ? arguments("NAME=VALUE") : std::vector<std::string>{};
  for (auto& more : list("set"))
    all.push_back(std::move(more));
  return all;
}

output_style command_line::style() const {
  const auto style = output_style_from_name(text("output"));
  FLYWHEEL_ASSERT(style, "the parser lets only known formats through");
  return *style;
}

} // namespace flywheel
