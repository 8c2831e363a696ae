#include "models/features.hpp"

#include "cluster/base/limits.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <unordered_map>
#include <unordered_set>

namespace flywheel {

namespace {

result<const column*> need_column(const table& t, const std::string& name) {
  if (const auto* c = t.find(name))
    return c;
  std::vector<std::string> names;
  for (const auto& c : t.columns)
    names.push_back(c.name);
  const auto near = nearest(name, names);
  return error{errc::invalid_argument, "the data has no column \"" + printable(name, 80) + "\"", {},
               near.empty() ? "" : "did you mean \"" + std::string{near} + "\"?"};
}

status check_classes(const learning_task& task) {
  const std::size_t n = task.classes.size();
  const bool right = task.type == task_type::regression ? n == 0 : task.type == task_type::binary ? n == 2 : n >= 2;
  if (!right)
    return error{errc::invalid_argument, std::string{name_of(task.type)} + " with " + std::to_string(n) + " classes",
                 "target " + task.target, "a binary task has two classes, a regression none"};
  if (std::unordered_set<std::string>(task.classes.begin(), task.classes.end()).size() != n)
    return error{errc::invalid_argument, "two classes have one label", "target " + task.target};
  if (!fits(task.metric, task.type))
    return error{errc::invalid_argument,
                 std::string{name_of(task.metric)} + " cannot judge a " + std::string{name_of(task.type)} + " task"};
  return success();
}

/// The table's code of each category -> the model's; -1 where the model does not know it.
std::vector<std::int32_t> translate(const std::vector<std::string>& from, const std::vector<std::string>& to) {
  std::unordered_map<std::string_view, std::int32_t> index;
  for (std::size_t i = 0; i < to.size(); ++i)
    index.emplace(to[i], static_cast<std::int32_t>(i));
  std::vector<std::int32_t> codes;
  for (const auto& name : from) {
    const auto at = index.find(name);
    codes.push_back(at == index.end() ? -1 : at->second);
  }
  return codes;
}

std::string row_name(const table& t, std::size_t i) { return "row " + std::to_string(t.row_ids[i]); }

/// A numeric column as codes of categories that are written as numbers ("0", "1", "2.5").
std::int32_t code_of_number(double x, const std::vector<double>& values) {
  const auto at = std::find(values.begin(), values.end(), x);
  return at == values.end() ? -1 : static_cast<std::int32_t>(at - values.begin());
}

std::vector<double> numbers_of(const std::vector<std::string>& labels) {
  std::vector<double> values;
  for (const auto& label : labels) {
    double x = 0;
    const auto [end, code] = std::from_chars(label.data(), label.data() + label.size(), x);
    values.push_back(code == std::errc{} && end == label.data() + label.size() ? x : std::numeric_limits<double>::quiet_NaN());
  }
  return values;
}

/// Codes of `c` in the model's categories; -1: missing or unknown.
std::vector<std::int32_t> codes_of(const column& c, const std::vector<std::string>& categories) {
  std::vector<std::int32_t> codes(c.rows(), -1);
  if (c.type == column_type::numeric) {
    const auto values = numbers_of(categories);
    std::transform(c.numbers.begin(), c.numbers.end(), codes.begin(), [&](double x) { return code_of_number(x, values); });
    return codes;
  }
  const auto map = translate(c.categories, categories);
  std::transform(c.codes.begin(), c.codes.end(), codes.begin(),
                 [&](std::int32_t code) { return code < 0 ? -1 : map[static_cast<std::size_t>(code)]; });
  return codes;
}

} // namespace

result<model_signature> make_signature(const table& t, const learning_task& task) {
  FLYWHEEL_CHECK(t.check());
  FLYWHEEL_CHECK(check_classes(task));
  if (task.inputs.empty() || task.inputs.size() > limits::data_columns_max)
    return error{errc::invalid_argument, "a model needs 1 to 4096 inputs, got " + std::to_string(task.inputs.size())};
  model_signature s{task.type, task.target, {}, task.classes};
  std::unordered_set<std::string> seen{task.target};
  for (const auto& name : task.inputs) {
    if (!seen.insert(name).second)
      return error{errc::invalid_argument, "column \"" + name + "\" is listed twice, or is the target"};
    FLYWHEEL_TRY(const column* c, need_column(t, name));
    s.inputs.push_back({name, c->type, c->type == column_type::categorical ? c->categories : std::vector<std::string>{}});
  }
  return s;
}

std::vector<std::uint32_t> category_counts(const model_signature& s) {
  std::vector<std::uint32_t> counts;
  for (const auto& input : s.inputs) // a categorical input without any known category still counts as categorical
    counts.push_back(input.type == column_type::categorical
                         ? static_cast<std::uint32_t>(std::max<std::size_t>(input.categories.size(), 1))
                         : 0);
  return counts;
}

result<std::vector<float>> encode_features(const model_signature& s, const table& t) {
  const std::size_t width = s.inputs.size();
  std::vector<float> features(t.rows() * width, std::numeric_limits<float>::quiet_NaN());
  for (std::size_t k = 0; k < width; ++k) {
    const auto& input = s.inputs[k];
    FLYWHEEL_TRY(const column* c, need_column(t, input.name));
    if (input.type == column_type::categorical) {
      const auto codes = codes_of(*c, input.categories);
      for (std::size_t i = 0; i < codes.size(); ++i) {
        if (codes[i] >= 0)
          features[i * width + k] = static_cast<float>(codes[i]);
      }
      continue;
    }
    if (c->type != column_type::numeric)
      return error{errc::invalid_data, "the model expects numbers, the data has categories", "column " + input.name};
    for (std::size_t i = 0; i < c->numbers.size(); ++i) {
      const auto x = static_cast<float>(c->numbers[i]);
      features[i * width + k] = std::isfinite(x) ? x : std::numeric_limits<float>::quiet_NaN();
    }
  }
  return features;
}

result<std::vector<double>> encode_target(const model_signature& s, const table& t) {
  FLYWHEEL_TRY(const column* c, need_column(t, s.target));
  std::vector<double> target(t.rows());
  if (s.type == task_type::regression) {
    if (c->type != column_type::numeric)
      return error{errc::invalid_data, "a regression needs a numeric target", "column " + s.target};
    target = c->numbers;
    for (std::size_t i = 0; i < target.size(); ++i) {
      if (!std::isfinite(target[i]))
        return error{errc::invalid_data, "the target is missing or not finite in " + row_name(t, i), "column " + s.target};
    }
    return target;
  }
  const auto codes = codes_of(*c, s.classes);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    if (codes[i] < 0)
      return error{errc::invalid_data, "the target is missing or not one of " + printable(join(s.classes, ", "), 120) + " in " + row_name(t, i),
                   "column " + s.target};
    target[i] = codes[i];
  }
  return target;
}

} // namespace flywheel
