#pragma once
// What is to be learnt, as the families see it: values only.

#include "cluster/base/error.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

enum class task_type : std::uint8_t { binary, multiclass, regression };
std::string_view name_of(task_type t) noexcept;
std::optional<task_type> task_type_from_name(std::string_view name) noexcept;

enum class metric_name : std::uint8_t { accuracy, balanced_accuracy, f1, auc, log_loss, rmse, mae, r2 };
std::string_view name_of(metric_name m) noexcept;
std::optional<metric_name> metric_from_name(std::string_view name) noexcept;
/// True for accuracy, f1, auc, r2; false for losses and errors.
bool higher_is_better(metric_name m) noexcept;
bool fits(metric_name m, task_type t) noexcept;

struct learning_task {
  task_type type = task_type::binary;
  std::string target;               ///< column name
  std::vector<std::string> classes; ///< class labels by index; for binary, [1] is the positive one. Empty for regression.
  std::vector<std::string> inputs;  ///< feature columns, in order
  metric_name metric = metric_name::accuracy;
};

/// The metric from true values and predictions. Classification: `truth` are class indices, `predicted` is rows x classes
/// probabilities, row-major. Regression: predicted is rows x 1. Formulas in docs/metrics.md.
double score(metric_name m, task_type t, std::size_t classes, const std::vector<double>& truth,
             const std::vector<float>& predicted);

} // namespace flywheel
