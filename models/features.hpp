#pragma once
// From a table and a task to what a model is asked and answers.

#include "models/tabular_model.hpp"

namespace flywheel {

/// The signature of a model trained on `t`: inputs in the task's order with their categories as the table knows them.
/// invalid_argument: an input or the target is absent, listed twice, or the classes do not fit the task.
result<model_signature> make_signature(const table& t, const learning_task& task);

/// Categories per input; 0 for a numeric one.
std::vector<std::uint32_t> category_counts(const model_signature& s);

} // namespace flywheel
