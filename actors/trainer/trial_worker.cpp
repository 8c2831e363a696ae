#include "actors/trainer/trial_worker.hpp"

#include "actors/trainer/task_format.hpp"
#include "cluster/base/json.hpp"
#include "cluster/content/publish.hpp"
#include "cluster/dataset/table_format.hpp"

namespace flywheel {
namespace {

using nlohmann::json;

result<std::string> run_cross_validation(const worker_job& job, const table& train, const worker_context& context) {
  error refused{errc::ok, {}};
  const auto report = [&](const trial_report& r) {
    context.step(r.resource);
    auto go_on = context.report(r.rung, r.resource, r.value, r.standard_error);
    if (!go_on) {
      refused = go_on.error();
      return false;
    }
    return *go_on;
  };
  FLYWHEEL_TRY(const auto result, run_trial(train, job.task, job.spec, checkpoint_folder(job), report, *context.stop));
  if (refused.code != errc::ok)
    return refused;
  return to_json(result).dump();
}

result<std::string> fit_and_save(const worker_job& job, const table& train, const worker_context& context) {
  const auto out = model_folder(job);
  if (auto existing = load_model(out)) // a fit that was interrupted after publishing is done
    return json{{"model", out.string()}}.dump();
  std::error_code ignored;
  std::filesystem::remove_all(out, ignored); // damaged or foreign: fitted again
  FLYWHEEL_TRY(const auto model,
               fit_model(train, job.task, job.spec, job.resource, checkpoint_folder(job),
                         [&](std::uint32_t done, std::uint32_t) { context.step(done); }, *context.stop));
  FLYWHEEL_CHECK(publish_folder(out, [&](const std::filesystem::path& folder) { return model->save(folder); }));
  return json{{"model", out.string()}}.dump();
}

} // namespace

result<std::string> run_worker_task(const wire::task& task, const worker_context& context) {
  FLYWHEEL_TRY(const auto job, job_from_json(json::parse(task.body, nullptr, false)));
  FLYWHEEL_TRY(const auto train, read_table(job.table));
  if (task.kind == "trial")
    return run_cross_validation(job, train, context);
  if (task.kind == "fit")
    return fit_and_save(job, train, context);
  return error{errc::unsupported, "this worker knows no task of kind '" + task.kind + "'"};
}

} // namespace flywheel
