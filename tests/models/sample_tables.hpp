#pragma once
// Tables for the tests of this folder: one made from a seed, one read from examples/churn.

#include "cluster/base/random.hpp"
#include "cluster/dataset/table.hpp"
#include "models/task.hpp"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>
#include <stdlib.h>
#include <string>

namespace flywheel::test {

/// A folder of its own, removed with everything in it.
class temporary_folder {
public:
  temporary_folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "flywheel-models-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;
  std::filesystem::path path() const { return path_; }

private:
  std::filesystem::path path_;
};

inline std::string category_name(std::size_t i) { return std::string("c") += std::to_string(i); }

/// Rows with numbers (some missing), a small and a large categorical column (some missing), and a target of the given
/// kind that depends on all of them, with noise.
inline table make_table(std::size_t rows, std::uint64_t seed, task_type type, std::size_t categories = 90) {
  random_source random{seed};
  constexpr double missing = std::numeric_limits<double>::quiet_NaN();
  table t;
  column a, b, c, small, large, target;
  a.name = "a", b.name = "b", c.name = "c", small.name = "small", large.name = "large", target.name = "y";
  small.type = large.type = column_type::categorical;
  small.categories = {"red", "green", "blue"};
  for (std::size_t i = 0; i < categories; ++i)
    large.categories.push_back(category_name(i));
  if (type != task_type::regression) {
    target.type = column_type::categorical;
    target.categories = type == task_type::binary ? std::vector<std::string>{"no", "yes"}
                                                  : std::vector<std::string>{"low", "middle", "high"};
  }
  for (std::size_t i = 0; i < rows; ++i) {
    const double x = random.normal(), y = random.uniform(0, 10), z = random.normal();
    const auto colour = static_cast<std::int32_t>(random.below(3)), place = static_cast<std::int32_t>(random.below(categories));
    const double value = x + (y > 6 ? 1.5 : -0.5) + (colour == 1 ? 1 : 0) + (place % 7 == 0 ? 1 : 0) + 0.3 * random.normal();
    a.numbers.push_back(random.uniform() < 0.1 ? missing : x);
    b.numbers.push_back(random.uniform() < 0.1 ? missing : y);
    c.numbers.push_back(z);
    small.codes.push_back(random.uniform() < 0.1 ? -1 : colour);
    large.codes.push_back(random.uniform() < 0.1 ? -1 : place);
    if (type == task_type::regression)
      target.numbers.push_back(value);
    else if (type == task_type::binary)
      target.codes.push_back(value > 1);
    else
      target.codes.push_back(value < 0 ? 0 : value < 1.5 ? 1 : 2);
    t.row_ids.push_back(i + 1);
  }
  t.columns = {a, b, c, small, large, target};
  return t;
}

inline learning_task task_for(const table& t, task_type type, metric_name metric) {
  learning_task task{type, "y", {}, {"a", "b", "c", "small", "large"}, metric};
  if (type != task_type::regression)
    task.classes = t.find("y")->categories;
  return task;
}

/// Rows [first, last) of examples/churn/churn.csv; the categories are those of the first 3,333 rows.
inline table read_churn(std::size_t first, std::size_t last) {
  std::ifstream file(std::filesystem::path{FLYWHEEL_SOURCE_DIR} / "examples/churn/churn.csv");
  const auto cells = [](const std::string& line) {
    std::vector<std::string> parts(1);
    for (const char c : line) {
      if (c == ',')
        parts.emplace_back();
      else if (c != '"' && c != '\r')
        parts.back() += c;
    }
    return parts;
  };
  table t;
  std::string line;
  std::getline(file, line);
  for (const auto& name : cells(line)) {
    column c;
    c.name = name;
    if (name == "state" || name == "area_code" || name == "international_plan" || name == "voice_mail_plan" || name == "churn")
      c.type = column_type::categorical;
    t.columns.push_back(std::move(c));
  }
  for (std::size_t row = 0; std::getline(file, line) && row < last; ++row) {
    const auto parts = cells(line);
    for (std::size_t k = 0; k < parts.size(); ++k) {
      auto& c = t.columns[k];
      if (c.type == column_type::numeric) {
        if (row >= first)
          c.numbers.push_back(std::stod(parts[k]));
        continue;
      }
      if (c.code_of(parts[k]) < 0 && row < 3333)
        c.categories.push_back(parts[k]);
      if (row >= first)
        c.codes.push_back(c.code_of(parts[k]));
    }
    if (row >= first)
      t.row_ids.push_back(row + 1);
  }
  return t;
}

inline learning_task churn_task(const table& t) {
  learning_task task{task_type::binary, "churn", {"no", "yes"}, {}, metric_name::accuracy};
  for (const auto& c : t.columns) {
    if (c.name != "churn")
      task.inputs.push_back(c.name);
  }
  return task;
}

} // namespace flywheel::test
