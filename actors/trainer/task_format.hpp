#pragma once
// What the trainer asks of a worker, as the JSON body of a wire::task. Kinds "trial" (cross-validated evaluation) and
// "fit" (final model). Paths are absolute; the worker's sandbox lets it read `table` and write under `folder` only.

#include "models/task_json.hpp"

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <string>

namespace flywheel {

struct worker_job {
  std::string kind = "trial";
  std::filesystem::path table;      ///< train.fwt of the snapshot
  std::filesystem::path folder;     ///< of the goal's trials; checkpoints go to folder/<trial>
  learning_task task;
  trial_spec spec;
  std::uint32_t resource = 0;       ///< fit: units to train
};

nlohmann::json to_json(const worker_job& j);
result<worker_job> job_from_json(const nlohmann::json& j);
/// Where the checkpoints of a trial live, and where a fit leaves its model.
std::filesystem::path checkpoint_folder(const worker_job& j);
std::filesystem::path model_folder(const worker_job& j);

} // namespace flywheel
