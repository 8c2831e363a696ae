#pragma once
// Tasks, trials and their results as JSON: in the journal, in worker tasks and in step outputs. Reading trusts nothing.

#include "models/trial.hpp"

#include <nlohmann/json_fwd.hpp>

namespace flywheel {

/// Each reader gives back what its writer was given; invalid_format names the key that is missing or mistyped.
nlohmann::json to_json(const learning_task& t);
result<learning_task> task_from_json(const nlohmann::json& j);
nlohmann::json to_json(const trial_spec& s);
result<trial_spec> trial_spec_from_json(const nlohmann::json& j);
nlohmann::json to_json(const trial_result& r);
result<trial_result> trial_result_from_json(const nlohmann::json& j);
std::string_view name_of(trial_result::end how) noexcept;

} // namespace flywheel
