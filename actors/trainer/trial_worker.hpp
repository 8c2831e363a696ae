#pragma once
// What Flywheel's own worker does with a task: read the training table, run the trial or the fit, answer. Runs in the
// worker process, inside its sandbox; knows nothing of agents.

#include "cluster/worker/worker_pool.hpp"

namespace flywheel {

/// The worker_function of `flywheel _worker`.
result<std::string> run_worker_task(const wire::task& task, const worker_context& context);

} // namespace flywheel
