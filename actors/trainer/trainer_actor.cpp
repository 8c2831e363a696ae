#include "actors/trainer/trainer_actor.hpp"

#include "actors/protocol/agent_directory.hpp"
#include "actors/protocol/own_thread.hpp"
#include "actors/trainer/task_format.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/goal/goal_parser.hpp"
#include "cluster/worker/worker_pool.hpp"

#include <mutex>

namespace flywheel {
namespace {

using nlohmann::json;

/// Verdicts owed to waiting workers; filled by the pool's thread, settled by the agent.
class owed_verdicts {
public:
  void put(const std::string& task, std::function<void(bool)> answer) {
    const std::lock_guard lock{mutex_};
    answers_[task] = std::move(answer);
  }
  void settle(const std::string& task, bool go_on) {
    std::function<void(bool)> answer;
    {
      const std::lock_guard lock{mutex_};
      const auto i = answers_.find(task);
      if (i == answers_.end())
        return;
      answer = std::move(i->second);
      answers_.erase(i);
    }
    answer(go_on);
  }

private:
  std::mutex mutex_;
  std::map<std::string, std::function<void(bool)>> answers_;
};

struct running_task {
  order_trial request;
  caf::typed_response_promise<trial_ended> promise; ///< of an agent that asked; not pending for our own fits
  bool own = false;
  bool again = false; ///< its worker was lost once already
};

/// A train step in progress: fits of every finalist.
struct training {
  run_step step;
  caf::typed_response_promise<step_outcome> promise;
  json finalists;                    ///< from search, by index
  std::map<std::string, std::size_t> open; ///< task -> finalist
  json models = json::array();
  fault problem;
};

struct trainer_state {
  static inline const char* name = "trainer";
  const agent_context* context = nullptr;
  std::optional<scribe> log;
  std::shared_ptr<owed_verdicts> verdicts = std::make_shared<owed_verdicts>();
  std::unique_ptr<task_runner> pool;
  error pool_error{errc::ok, {}};
  std::map<std::string, running_task> tasks; ///< by pool task id
  std::map<std::string, training> trainings; ///< by goal
};
using self_pointer = trainer_agent::stateful_pointer<trainer_state>;

/// Unique in the pool: two goals may have trials of the same name.
std::string task_id(const std::string& goal, const std::string& trial, std::uint32_t attempt) {
  return goal + "/" + trial + "#" + std::to_string(attempt);
}
std::string task_id(const order_trial& m) { return task_id(m.goal, m.trial, m.attempt); }

worker_pool_events events_for(self_pointer self, const std::shared_ptr<owed_verdicts>& verdicts) {
  const trainer_agent me{self};
  worker_pool_events events;
  events.started = [](const std::string&, int) {};
  events.logged = [](const wire::log&) {};
  events.reported = [me, verdicts](const wire::report& r, std::function<void(bool)> answer) {
    verdicts->put(r.task, std::move(answer));
    trial_progress p;
    p.trial = r.task;
    p.attempt = r.attempt;
    p.rung = r.rung;
    p.resource = r.resource;
    p.value = format_number(r.value);
    p.standard_error = format_number(r.standard_error);
    cafx::anon_send(me, p);
  };
  events.ended = [me](const task_end& e) {
    trial_ended out;
    out.trial = e.task;
    out.attempt = e.attempt;
    out.result_json = e.body;
    if (e.cause.code != errc::ok)
      out.problem = e.cause;
    out.milliseconds = static_cast<std::uint64_t>(e.seconds * 1e3);
    out.rss_peak_bytes = e.rss_peak_bytes;
    cafx::anon_send(me, out);
  };
  return events;
}

/// Submits a task to the pool; false with `problem` set if its description is unusable.
bool submit_task(self_pointer self, const order_trial& m, fault& problem) {
  auto& st = self->state;
  if (!st.pool) {
    problem = st.pool_error;
    return false;
  }
  auto job = job_from_json(json::parse(m.task_json, nullptr, false));
  if (!job) {
    problem = job.error();
    return false;
  }
  std::error_code failed;
  std::filesystem::create_directories(job->folder, failed);
  if (failed) {
    problem = error_from_errno(failed.value(), "creating " + job->folder.string());
    return false;
  }
  worker_task t;
  t.task.id = task_id(m);
  t.task.attempt = m.attempt;
  t.task.kind = m.kind;
  t.task.body = m.task_json;
  t.memory_max = m.memory_max;
  t.time_max = std::chrono::milliseconds{m.time_max_ms};
  t.sandbox.readable = {job->table};
  t.sandbox.writable = {job->folder};
  t.files = {{job->table}, job->folder, {checkpoint_folder(*job).filename().string()}, {model_folder(*job).filename().string()}, {"/table", "/folder"}, {"/model"}};
  st.pool->submit(std::move(t));
  return true;
}

// ---- trials of architect and hpo --------------------------------------------------------------------------------------

caf::result<trial_ended> start_trial(self_pointer self, const order_trial& m) {
  auto& st = self->state;
  trial_ended refused;
  refused.trial = m.trial;
  refused.attempt = m.attempt;
  // One writer per trial: whoever orders a newer attempt has forgotten the older one (I6).
  for (const auto& [task, running] : st.tasks)
    if (st.pool && running.request.goal == m.goal && running.request.trial == m.trial && running.request.attempt < m.attempt)
      st.pool->cancel(task, "a newer attempt was ordered");
  if (!submit_task(self, m, refused.problem))
    return refused;
  auto promise = self->make_response_promise<trial_ended>();
  st.tasks[task_id(m)] = {m, promise, false, false};
  return promise;
}

/// A worker waits at a rung: ask whoever ordered the trial. If nobody answers, the trial goes on: pruning saves time, it
/// is not a safety matter.
void ask_for_verdict(self_pointer self, trial_progress p) {
  auto& st = self->state;
  const auto task = p.trial;
  const auto i = st.tasks.find(task);
  if (i == st.tasks.end() || i->second.own)
    return st.verdicts->settle(task, i != st.tasks.end());
  p.trial = i->second.request.trial;
  p.goal = i->second.request.goal;
  const auto verdicts = st.verdicts;
  const auto settle = [verdicts, task](const trial_verdict& v) { verdicts->settle(task, v.go_on); };
  const auto nobody = [verdicts, task](const caf::error&) { verdicts->settle(task, true); };
  const auto parts = st.context->agents->now();
  cafx::request(self, parts.hpo, std::chrono::seconds{10}, p).then(settle, nobody);
}

// ---- the train step: final fits -----------------------------------------------------------------------------------------

void finish_training(self_pointer self, training& t) {
  step_outcome out;
  out.problem = t.problem;
  if (!t.problem) {
    const json winner = t.models.at(0);
    out.outputs_json = json{{"models", t.models}, {"winner", winner}}.dump();
    out.summary = "fitted " + std::to_string(t.models.size()) + " model(s); the winner of the search is " +
                  winner.value("family", "");
  }
  const auto goal = t.step.goal;
  t.promise.deliver(std::move(out));
  self->state.trainings.erase(goal);
}

/// Inputs: {"ingest": {...}, "search": {"finalists": [...]}}; the first finalist is the winner.
caf::result<step_outcome> train(self_pointer self, const run_step& m) {
  auto& st = self->state;
  step_outcome refused;
  const auto inputs = json::parse(m.inputs_json, nullptr, false);
  const auto spec = goal_from_json(json::parse(m.spec_json, nullptr, false));
  if (!spec || !inputs.is_object() || !inputs.contains("search")) {
    refused.problem = error{errc::internal, "the train step was given no search result"};
    return refused;
  }
  training t;
  t.step = m;
  t.finalists = inputs["search"].value("finalists", json::array());
  t.models = json::array();
  for (std::size_t i = 0; i < t.finalists.size(); ++i) {
    auto& f = t.finalists[i];
    order_trial fit;
    fit.goal = m.goal;
    fit.step = m.step;
    fit.trial = "fit-" + f.value("family", std::string{"model"});
    fit.kind = "fit";
    fit.attempt = m.attempt;
    fit.memory_max = spec->resources.worker_memory;
    json job = f.at("job");
    job["kind"] = "fit";
    job["spec"]["trial"] = fit.trial;
    job["resource"] = f.value("resource", 0u);
    fit.task_json = job.dump();
    if (!submit_task(self, fit, refused.problem))
      return refused;
    t.models.push_back(json::object());
    t.open[task_id(fit)] = i;
    st.tasks[task_id(fit)] = {fit, {}, true, false};
  }
  if (t.finalists.empty()) {
    refused.problem = error{errc::gate_failed, "the search left no configuration to train"};
    return refused;
  }
  t.promise = self->make_response_promise<step_outcome>();
  auto promise = t.promise;
  st.trainings[m.goal] = std::move(t);
  return promise;
}

void fit_ended(self_pointer self, const order_trial& request, const std::string& task, const trial_ended& e) {
  auto& st = self->state;
  const auto i = st.trainings.find(request.goal);
  if (i == st.trainings.end())
    return;
  auto& t = i->second;
  const auto open = t.open.find(task);
  if (open == t.open.end())
    return;
  const auto index = open->second;
  t.open.erase(open);
  auto& f = t.finalists[index];
  if (e.problem) {
    // The winner must be fitted; a rival that cannot be is only missing from the report.
    if (index == 0)
      t.problem = e.problem;
    auto d = st.log->decision(request.goal, request.step, "do not use " + f.value("family", std::string{}),
                              "its final fit failed: " + e.problem.to_error().to_string(), json::object(),
                              json::array());
    (void)st.log->write(std::move(d));
  } else {
    json model = f;
    model.erase("job");
    model["folder"] = json::parse(e.result_json, nullptr, false).value("model", "");
    model["fit_seconds"] = static_cast<double>(e.milliseconds) / 1e3;
    t.models[index] = std::move(model);
  }
  if (t.open.empty()) {
    json fitted = json::array();
    for (auto& model : t.models)
      if (!model.empty())
        fitted.push_back(std::move(model));
    t.models = std::move(fitted);
    finish_training(self, t);
  }
}

/// A worker that was killed or fell silent says nothing about its task: a second one continues from the checkpoint. What
/// ends two workers is taken to be the task's own fault.
bool worth_another_worker(self_pointer self, running_task& t, const trial_ended& e) {
  const auto code = e.problem.to_error().code;
  if (t.again || (code != errc::worker_lost && code != errc::worker_silent))
    return false;
  t.again = true;
  const auto& m = t.request;
  auto d = self->state.log->decision(m.goal, m.step, "continue " + m.trial + " in another worker",
                                     "its worker was lost for no fault of the task that is known: " + e.problem.what,
                                     {{"trial", m.trial}, {"attempt", m.attempt}}, json::array());
  (void)self->state.log->write(std::move(d));
  fault refused;
  return submit_task(self, m, refused);
}

void task_ended(self_pointer self, trial_ended e) {
  auto& st = self->state;
  const auto task = e.trial;
  st.verdicts->settle(task, false); // a worker that died while it waited
  const auto i = st.tasks.find(task);
  if (i == st.tasks.end())
    return;
  if (worth_another_worker(self, i->second, e))
    return;
  auto running = std::move(i->second);
  st.tasks.erase(i);
  e.trial = running.request.trial;
  if (running.own)
    fit_ended(self, running.request, task, e);
  else
    running.promise.deliver(std::move(e));
}

void stop_one(self_pointer self, const stop_trial& m) {
  auto& st = self->state;
  const auto task = task_id(m.goal, m.trial, m.attempt);
  const auto i = st.tasks.find(task);
  if (st.pool && i != st.tasks.end())
    st.pool->cancel(task, m.reason);
}

void stop_goal(self_pointer self, const stop_step& m) {
  auto& st = self->state;
  if (!st.pool)
    return;
  for (const auto& [task, running] : st.tasks)
    if (running.request.goal == m.goal)
      st.pool->cancel(task, m.reason);
}

result<std::unique_ptr<task_runner>> own_pool(self_pointer self, const trainer_options& options) {
  auto& st = self->state;
  worker_pool_options pool;
  pool.socket = st.context->layout.run() / "workers.sock";
  pool.command = options.worker_command;
  pool.slots = options.slots;
  FLYWHEEL_TRY(auto started, worker_pool::start(std::move(pool), events_for(self, st.verdicts), *st.context->time));
  return std::unique_ptr<task_runner>{std::move(started)};
}

trainer_agent::behavior_type trainer(self_pointer self, const agent_context* context, const trainer_options& options) {
  auto& st = self->state;
  st.context = context;
  st.log.emplace(*context, "trainer");
  auto runner = options.runner ? options.runner(events_for(self, st.verdicts)) : own_pool(self, options);
  if (runner)
    st.pool = std::move(*runner);
  else
    st.pool_error = runner.error();
  return {
      [=](const run_step& m) { return train(self, m); },
      [=](const order_trial& m) { return start_trial(self, m); },
      [=](const stop_trial& m) { stop_one(self, m); },
      [=](const trial_progress& p) { ask_for_verdict(self, p); },
      [=](const trial_ended& e) { task_ended(self, e); },
      [=](const stop_step& m) { stop_goal(self, m); },
  };
}

} // namespace

trainer_agent spawn_trainer(caf::actor_system& system, const agent_context& context, trainer_options options) {
  return spawn_on_own_thread(system, trainer, &context, std::move(options));
}

} // namespace flywheel
