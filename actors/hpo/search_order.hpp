#pragma once
// From what the architect found to what hpo searches, and from finished studies to finalists. Pure.

#include "actors/hpo/study_table.hpp"
#include "actors/protocol/study_order.hpp"
#include "cluster/goal/goal_spec.hpp"

#include <nlohmann/json_fwd.hpp>

namespace flywheel {

/// The study of one request, as a config for study_table. Errors: unknown family, bad space.
result<study_config> config_of(const study_order& order, const study_request& request, const std::string& goal,
                               const std::string& step, std::uint64_t epoch);
/// The order of the search step: one study per family that the architect kept, with its share of what is left of the budget.
/// `inputs`: {"ingest": ..., "explore": ...}. `known` gets, per study, what the exploration has seen.
struct search_plan {
  study_order order;
  std::vector<std::vector<past_trial>> known;  ///< per study
  std::vector<study_summary> looks;            ///< the exploration's
};
result<search_plan> plan_search(const goal_spec& spec, const nlohmann::json& inputs, unsigned cores,
                                const std::filesystem::path& trials_folder);
/// What a study came to, for people and the next step.
study_summary summarise(const study_table& t);
/// Step outputs of search: the best configuration of every family that was tried, the winner first.
nlohmann::json search_outputs(const search_plan& plan, const std::vector<study_summary>& studies);

} // namespace flywheel
