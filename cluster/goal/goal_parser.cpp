#include "cluster/goal/goal_parser.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/limits.hpp"
#include "cluster/base/text.hpp"
#include "cluster/goal/goal_reader.hpp"
#include "cluster/goal/goal_rules.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

namespace flywheel {
namespace {

namespace fs = std::filesystem;

/// The bytes of a regular file, at most one more than a goal may have (so that too many are seen as such).
result<std::string> read_small_file(const fs::path& file) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return error_from_errno(errno, "open " + file.string());
  struct closer {
    int fd;
    ~closer() { ::close(fd); }
  } const close_it{fd};
  struct stat st {};
  if (::fstat(fd, &st) != 0)
    return error_from_errno(errno, "stat " + file.string());
  if (!S_ISREG(st.st_mode))
    return error{errc::invalid_argument, (S_ISDIR(st.st_mode) ? "it is a folder" : "it is not a plain file"), file.string(),
                 "name a goal file"};
  std::string text;
  text.resize(limits::goal_file_bytes_max + 4);
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t n = ::read(fd, text.data() + size, text.size() - size);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return error_from_errno(errno, "read " + file.string());
    if (n == 0)
      break;
    size += static_cast<std::size_t>(n);
  }
  text.resize(size);
  return text;
}

goal_node scalar_node(std::string text, goal_place place) {
  goal_node n;
  n.type = goal_node::kind::scalar;
  n.text = std::move(text);
  n.place = place;
  return n;
}

/// Reads one goal; holds what the parts of the reading share.
class goal_reading {
public:
  goal_reading(std::string_view text, fs::path folder, fs::path file, const goal_vocabulary& vocabulary)
      : folder_(std::move(folder)), file_(std::move(file)), vocabulary_(vocabulary) {
    problems_.add_source("", text);
  }

  goal_parse run(const std::vector<std::string>& overrides) {
    goal_parse out;
    goal_node root = read_document(0, problems_);
    if (!problems_.any_error() && root.type == goal_node::kind::null && overrides.empty())
      problems_.error({}, "", "missing", "the goal is empty; see `flywheel explain goal`, and examples/churn/goal.yaml for one to start from");
    const bool readable = !problems_.any_error() || root.type == goal_node::kind::map;
    if (readable && root.type != goal_node::kind::map && root.type != goal_node::kind::null)
      problems_.error(root.place, "", "type", "a goal is a mapping (key: value), not " + noun_of(root));
    else if (readable && (root.type == goal_node::kind::map || !overrides.empty())) {
      root.type = goal_node::kind::map;
      expand_metric(root);
      expand_contract(root);
      apply(overrides, root);
      read(root, out.spec);
    }
    out.problems = problems_.take();
    return out;
  }

  /// A contract on its own.
  contract_parse run_contract() {
    contract_parse out;
    goal_node root = unwrapped(read_document(0, problems_));
    if (!problems_.any_error() && root.type == goal_node::kind::null)
      problems_.error({}, "", "missing", "the contract is empty; `flywheel data infer FILE` drafts one");
    if (root.type != goal_node::kind::null) {
      goal_reader{problems_, places_, vocabulary_}.read(root, contract_record(), &out.contract, "", root.place);
      name_rules(out.contract);
      check_contract(out.contract, "", problems_, places_);
    }
    out.problems = problems_.take();
    return out;
  }

  /// A spec that comes from the journal: no files are looked at, no shorthands are possible.
  result<goal_spec> run_json(const nlohmann::json& j) {
    goal_node root;
    if (!node_from_json(j, root))
      return error{errc::too_large, "the goal has too many values, is nested too deeply or is not UTF-8"};
    goal_spec spec;
    goal_reader{problems_, places_, vocabulary_}.read(root, goal_record(), &spec, "", {});
    finish(spec);
    check_goal(spec, problems_, places_, vocabulary_);
    if (!problems_.any_error())
      return spec;
    const auto all = problems_.take();
    const auto first = std::find_if(all.begin(), all.end(), [](const goal_problem& p) { return !p.warning; });
    return error{errc::invalid_goal, first->message + " [" + first->rule + "]", first->path};
  }

private:
  static void name_rules(data_contract& c) {
    for (row_rule& r : c.rules)
      if (r.name.empty())
        r.name = r.check;
  }
  void finish(goal_spec& spec) const {
    name_rules(spec.data.contract);
    for (slice_spec& s : spec.slices)
      if (s.name.empty())
        s.name = s.where;
    if (spec.serve.model.empty())
      spec.serve.model = spec.name;
  }

  void read(const goal_node& root, goal_spec& spec) {
    goal_reader{problems_, places_, vocabulary_}.read(root, goal_record(), &spec, "", root.place);
    finish(spec);
    if (const auto colon = spec.data.source.find("://"); colon != std::string::npos && colon < 10) {
      problems_.error(places_.of("data.source"), "data.source", "unsupported", "only files are read; download it first and name the file");
    } else if (!spec.data.source.empty()) {
      spec.data.source = absolute(spec.data.source).string();
      check_files(spec, problems_, places_);
    }
    check_goal(spec, problems_, places_, vocabulary_);
  }

  fs::path absolute(const std::string& path) const {
    const fs::path p{path};
    std::error_code ec;
    const fs::path base = folder_.empty() ? fs::current_path(ec) : fs::absolute(folder_, ec);
    return (p.is_absolute() ? p : base / p).lexically_normal();
  }

  /// `metric: accuracy >= 0.95` becomes {name: accuracy, threshold: 0.95}, each with its place.
  void expand_metric(goal_node& root) {
    goal_entry* e = root.find("metric");
    if (e == nullptr || e->value.type != goal_node::kind::scalar)
      return;
    const std::string text = e->value.text;
    goal_place start = e->value.place;
    if (e->value.quoted)
      ++start.column;
    const auto placed = [&](std::size_t offset) {
      goal_place p = start;
      p.column += static_cast<std::uint32_t>(offset);
      return p;
    };
    goal_node map;
    map.type = goal_node::kind::map;
    map.place = e->value.place;
    const auto sign = text.find_first_of("<>=");
    const std::string name{trim(std::string_view{text}.substr(0, sign))};
    map.entries.push_back({"name", start, scalar_node(name, start)});
    if (sign != std::string::npos) {
      const auto after = std::min(text.find_first_not_of("<>=", sign), text.size());
      const std::string symbol = text.substr(sign, after - sign);
      const auto number = std::min(text.find_first_not_of(" \t", after), text.size());
      const bool less = symbol == "<=" || symbol == "<", more = symbol == ">=" || symbol == ">";
      if (!less && !more)
        problems_.error(placed(sign), "metric", "metric", "write the metric, >= or <=, and the threshold", name + " >= 0.95");
      else if (lower_is_better(name) ? more : less)
        problems_.error(placed(sign), "metric", "conflict",
                        "for " + printable(name, 40) + (lower_is_better(name) ? " less is better; write <=" : " more is better; write >="),
                        lower_is_better(name) ? "<=" : ">=");
      map.entries.push_back({"threshold", placed(number), scalar_node(std::string{trim(std::string_view{text}.substr(number))}, placed(number))});
    }
    e->value = std::move(map);
  }

  /// `contract: file.yaml` becomes what that file says, with places in that file.
  void expand_contract(goal_node& root) {
    goal_entry* data = root.find("data");
    goal_entry* e = data == nullptr ? nullptr : data->value.find("contract");
    if (e == nullptr || e->value.type != goal_node::kind::scalar)
      return;
    const fs::path file = absolute(e->value.text);
    const goal_place place = e->value.place;
    e->value = {};
    e->value.type = goal_node::kind::map;
    e->value.place = place;
    std::error_code ec;
    if (!file_.empty() && fs::equivalent(file, file_, ec)) {
      problems_.error(place, "data.contract", "cycle", "the contract file is the goal file itself");
      return;
    }
    auto text = read_small_file(file);
    if (!text) {
      std::string suggestion;
      const std::string near = text.error().code == errc::not_found ? files_near(file, suggestion) : "";
      problems_.error(place, "data.contract", "not-found",
                      text.error().code == errc::not_found ? "there is no contract file '" + printable(file.string(), 200) + "'" + near
                                                           : "the contract file cannot be read: " + text.error().to_string(),
                      suggestion);
      return;
    }
    const std::uint32_t source = problems_.add_source(file.string(), *text);
    const std::size_t errors = problems_.errors();
    goal_node contract = unwrapped(read_document(source, problems_));
    if (contract.type == goal_node::kind::map)
      e->value = std::move(contract);
    else if (problems_.errors() == errors)
      problems_.error({source, 1, 1}, "data.contract", "type", "a contract is a mapping (key: value), not " + noun_of(contract));
  }

  /// A contract file may hold everything under one key `contract`.
  static goal_node unwrapped(goal_node root) {
    if (root.type == goal_node::kind::map && root.entries.size() == 1 && root.entries[0].key == "contract") {
      goal_node inner = std::move(root.entries[0].value);
      return inner;
    }
    return root;
  }

  void apply(const std::vector<std::string>& overrides, goal_node& root) {
    for (std::size_t i = 0; i < overrides.size() && !problems_.full(); ++i) {
      const std::string& text = overrides[i];
      const std::uint32_t source = problems_.add_source("<override " + std::to_string(i + 1) + ">", text);
      const auto equals = text.find('=');
      if (equals == std::string::npos || equals == 0) {
        problems_.error({source, 1, 1}, "", "override", "an override is key=value, for example search.budget.trials=10");
        continue;
      }
      const std::size_t errors = problems_.errors();
      const goal_node value = read_document(source, problems_, equals + 1);
      if (problems_.errors() == errors)
        set(root, source, text.substr(0, equals), value);
    }
  }

  /// A step of an override's path: a key, or an index ("slices[0]" and "slices.0" are the same two steps).
  struct path_step {
    std::string key;
    std::optional<std::size_t> index;
    bool bracketed = false;
    goal_place place;
  };

  /// Nothing, and a problem, if the path is not one.
  std::optional<std::vector<path_step>> steps_of(const std::string& path, std::uint32_t source) {
    std::vector<path_step> steps;
    for (std::size_t start = 0; start <= path.size();) {
      const auto end = std::min(path.find_first_of(".[", start), path.size());
      path_step step;
      step.place = {source, 1, static_cast<std::uint32_t>(start + 1)};
      step.key = path.substr(start, end - start);
      step.bracketed = step.key.ends_with(']');
      const std::string digits = step.bracketed ? step.key.substr(0, step.key.size() - 1) : step.key;
      std::size_t index = 0;
      const auto [stop, code] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
      if (code == std::errc{} && stop == digits.data() + digits.size())
        step.index = index;
      if (step.key.empty() || (step.bracketed && !step.index) || steps.size() >= limits::yaml_depth_max) {
        problems_.error(step.place, path, "override",
                        step.key.empty()   ? "a key is missing in the path"
                        : step.bracketed ? "a number is missing in the brackets"
                                         : "the path is too long");
        return std::nullopt;
      }
      steps.push_back(std::move(step));
      start = end + 1;
    }
    return steps;
  }

  /// Puts `value` at `path`, making mappings on the way; unknown keys are found by the reader, at their place here.
  void set(goal_node& root, std::uint32_t source, const std::string& path, const goal_node& value) {
    const auto steps = steps_of(path, source);
    if (!steps)
      return;
    goal_node* node = &root;
    goal_entry* entry = nullptr;
    for (std::size_t i = 0; i < steps->size(); ++i) {
      const path_step& step = (*steps)[i];
      if (node->type == goal_node::kind::list) {
        if (!step.index || *step.index >= node->items.size()) {
          problems_.error(step.place, path, "override",
                          "this list has " + std::to_string(node->items.size()) + " items, counted from 0; name one of them, or set the whole list");
          return;
        }
        node = &node->items[*step.index];
        entry = nullptr;
        continue;
      }
      const goal_entry* there = node->find(step.key);
      const bool indexed = i + 1 < steps->size() && (*steps)[i + 1].bracketed;
      if (step.bracketed || (indexed && (there == nullptr || there->value.type != goal_node::kind::list))) {
        problems_.error(step.place, path, "override", "there is no list here; set the whole list");
        return;
      }
      if (node->type != goal_node::kind::map) {
        *node = {};
        node->type = goal_node::kind::map;
        node->place = step.place;
      }
      entry = node->find(step.key);
      if (entry == nullptr) {
        node->entries.push_back({step.key, step.place, {}});
        entry = &node->entries.back();
        entry->value.place = step.place;
      }
      node = &entry->value;
    }
    *node = value;
    if (entry != nullptr)
      entry->place = steps->back().place;
    expand_metric(root);
    expand_contract(root);
  }

  fs::path folder_, file_;
  const goal_vocabulary& vocabulary_;
  goal_problems problems_;
  goal_places places_;
};

} // namespace

goal_parse parse_goal(std::string_view text, const std::filesystem::path& folder, const std::vector<std::string>& overrides,
                      const goal_vocabulary& vocabulary) {
  return goal_reading{text, folder, {}, vocabulary}.run(overrides);
}

result<goal_parse> parse_goal_file(const std::filesystem::path& file, const std::vector<std::string>& overrides,
                                   const goal_vocabulary& vocabulary) {
  auto text = read_small_file(file);
  if (!text) {
    error e = std::move(text).error();
    if (e.code == errc::not_found) {
      std::string suggestion;
      std::error_code ec;
      const std::string near = files_near(fs::absolute(file, ec), suggestion);
      e.hint = suggestion.empty() ? "check the path" + near : "did you mean '" + suggestion + "'?";
    }
    return e;
  }
  std::error_code ec;
  const fs::path whole = fs::absolute(file, ec);
  return goal_reading{*text, whole.parent_path(), whole, vocabulary}.run(overrides);
}

contract_parse parse_contract(std::string_view text) {
  return goal_reading{text, {}, {}, goal_vocabulary::known()}.run_contract();
}

nlohmann::json to_json(const goal_spec& spec) { return record_json(goal_record(), &spec); }
nlohmann::json to_json(const data_contract& contract) { return record_json(contract_record(), &contract); }

result<goal_spec> goal_from_json(const nlohmann::json& j) {
  return goal_reading{"", {}, {}, goal_vocabulary::known()}.run_json(j);
}

digest digest_of(const goal_spec& spec) { return digest_of(to_json(spec).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)); }

} // namespace flywheel
