#include "actors/trainer/task_format.hpp"

#include "cluster/base/json.hpp"

namespace flywheel {

using nlohmann::json;

json to_json(const worker_job& j) {
  return {{"kind", j.kind},          {"table", j.table.string()}, {"folder", j.folder.string()},
          {"task", to_json(j.task)}, {"spec", to_json(j.spec)},   {"resource", j.resource}};
}

result<worker_job> job_from_json(const json& j) {
  try {
    worker_job out;
    j.at("kind").get_to(out.kind);
    out.table = j.at("table").get<std::string>();
    out.folder = j.at("folder").get<std::string>();
    FLYWHEEL_TRY(out.task, task_from_json(j.at("task")));
    FLYWHEEL_TRY(out.spec, trial_spec_from_json(j.at("spec")));
    j.at("resource").get_to(out.resource);
    return out;
  } catch (const json::exception& e) {
    return error{errc::invalid_format, std::string{"worker task: "} + e.what()};
  }
}

std::filesystem::path checkpoint_folder(const worker_job& j) { return j.folder / j.spec.trial; }
std::filesystem::path model_folder(const worker_job& j) { return j.folder / (j.spec.trial + ".model"); }

} // namespace flywheel
