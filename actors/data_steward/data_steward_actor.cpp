#include "actors/data_steward/data_steward_actor.hpp"

#include "actors/data_steward/steward.hpp"
#include "actors/protocol/agent_directory.hpp"
#include "actors/protocol/blocking_job.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/goal/goal_parser.hpp"
#include "models/task_json.hpp"

#include <algorithm>

namespace flywheel {
namespace {

using nlohmann::json;

struct data_steward_state {
  static inline const char* name = "data_steward";
  const agent_context* context = nullptr;
  step_jobs jobs;
  std::map<std::string, std::shared_ptr<std::atomic<bool>>> stops; ///< by goal

  /// A job must not go on for an agent that has died.
  ~data_steward_state() {
    for (const auto& [goal, stop] : stops)
      *stop = true;
  }
};
/// The evaluator writes one small file before it answers.
constexpr std::chrono::seconds key_time_max{60};
using self_pointer = data_steward_agent::stateful_pointer<data_steward_state>;

/// The labels with the positive one last for two classes: the goal's word, else the rarer one.
result<std::vector<std::string>> order_classes(const goal_spec& spec, const snapshot_report& report,
                                               const snapshot_info& info) {
  auto classes = info.classes;
  if (report.task != "binary" || classes.size() != 2)
    return classes;
  std::string positive = spec.positive;
  if (positive.empty()) {
    const auto rarer = std::min_element(report.classes.begin(), report.classes.end(),
                                        [](const auto& a, const auto& b) { return a.rows < b.rows; });
    positive = rarer->label;
  }
  if (classes[1] != positive)
    std::swap(classes[0], classes[1]);
  if (classes[1] != positive)
    return error{errc::invalid_goal, "positive: '" + printable(positive, 60) + "' is not a value of " + spec.target,
                 {}, "the values are " + classes[1] + " and " + classes[0]};
  return classes;
}

result<learning_task> task_of(const goal_spec& spec, const snapshot_report& report, const snapshot_info& info) {
  learning_task t;
  const auto type = task_type_from_name(report.task);
  const auto metric = metric_from_name(spec.metric.name);
  if (!type || !metric)
    return error{errc::internal, "no task '" + report.task + "' with metric '" + spec.metric.name + "'"};
  if (!fits(*metric, *type))
    return error{errc::invalid_goal, "metric " + spec.metric.name + " does not fit a " + report.task + " target"};
  t.type = *type;
  t.metric = *metric;
  t.target = spec.target;
  t.inputs = info.features;
  if (t.type != task_type::regression) {
    FLYWHEEL_TRY(t.classes, order_classes(spec, report, info));
  }
  return t;
}

std::vector<event_draft> decisions_on(const scribe& log, const run_step& m, const snapshot_report& r) {
  std::vector<event_draft> drafts;
  if (r.rows_quarantined > 0)
    drafts.push_back(log.decision(m.goal, m.step, "quarantine " + std::to_string(r.rows_quarantined) + " rows",
                                  "they break the contract; training on them would teach what is not true",
                                  {{"by_rule", r.quarantined_by_rule}, {"file", r.folder + "/quarantine.jsonl"}},
                                  json::array()));
  for (const auto& f : r.findings) {
    const json evidence{{"kind", f.kind}, {"column", f.column}, {"level", std::string{name_of(f.level)}}};
    if (f.left_out)
      drafts.push_back(log.decision(m.goal, m.step, "leave out column " + f.column, f.text, evidence, json::array()));
    else if (f.level != severity::note)
      drafts.push_back(log.decision(m.goal, m.step, "keep " + (f.column.empty() ? "the data" : "column " + f.column) +
                                                        " as it is",
                                    f.text + (f.advice.empty() ? "" : " " + f.advice), evidence, json::array()));
    else
      drafts.push_back(log.draft(event_kind::observation, m.goal, m.step, f.column, f.text, evidence));
  }
  return drafts;
}

result<step_outcome> ingest_step(const agent_context& context, const run_step& m, const sealing_key& evaluator,
                                 const std::atomic<bool>& stop) {
  const scribe log{context, "data_steward"};
  FLYWHEEL_TRY(const auto spec, goal_from_json(json::parse(m.spec_json, nullptr, false)));
  if (evaluator.problem)
    return evaluator.problem.to_error().in("asking the evaluator for its key");
  FLYWHEEL_TRY(const auto key, seal_public_key::from_hex(evaluator.public_key));
  check_options options;
  options.threads = context.cores;
  options.now = context.time->wall();
  FLYWHEEL_TRY(const auto report, ingest(spec, context.layout.data(), key, options, stop));
  FLYWHEEL_TRY(const auto info, load_snapshot_info(report.folder));
  FLYWHEEL_TRY(const auto task, task_of(spec, report, info));

  auto drafts = decisions_on(log, m, report);
  drafts.push_back(log.draft(event_kind::observation, m.goal, m.step, report.snapshot,
                             "snapshot " + report.snapshot.substr(0, 12) + (report.reused ? " is used again" : " is published"),
                             {{"folder", report.folder}, {"source", info.source}, {"source_sha256", info.source_sha256}}));
  FLYWHEEL_TRY([[maybe_unused]] const auto seq, log.write(std::move(drafts)));

  json findings = json::array();
  for (const auto& f : report.findings)
    findings.push_back({{"kind", f.kind}, {"column", f.column}, {"text", f.text}, {"left_out", f.left_out},
                        {"level", std::string{name_of(f.level)}}});
  step_outcome out;
  out.outputs_json = json{{"snapshot", report.snapshot},
                          {"folder", report.folder},
                          {"table", report.folder + "/train.fwt"},
                          {"source_sha256", info.source_sha256},
                          {"task", to_json(task)},
                          {"train_rows", report.train_rows},
                          {"holdout_rows", report.holdout_rows},
                          {"rows_quarantined", report.rows_quarantined},
                          {"findings", findings}}
                         .dump();
  out.summary = std::to_string(report.rows_kept) + " rows kept, " + std::to_string(report.rows_quarantined) +
                " quarantined; " + std::to_string(report.train_rows) + " to train on, " +
                std::to_string(report.holdout_rows) + " sealed for the evaluator";
  return out;
}

void start_ingest(self_pointer self, const run_step& m) {
  const auto* context = self->state.context;
  auto stop = std::make_shared<std::atomic<bool>>(false);
  self->state.stops[m.goal] = stop;
  const auto finish = [=](const step_outcome& out) { self->state.jobs.finish(m, out); };
  // Asked each time, never read from a file: the evaluator may still be making its key, or live on another node.
  cafx::request(self, context->agents->now().evaluator, key_time_max, seal_key_atom_v)
      .then([=](const sealing_key& key) { run_job(self, m, [=] { return outcome_of(ingest_step(*context, m, key, *stop)); }, finish); },
            [=](const caf::error& e) {
              step_outcome out;
              out.problem = error{errc::interrupted, "the evaluator did not give its key: " + cafx::render(e)};
              finish(out);
            });
}

data_steward_agent::behavior_type data_steward(self_pointer self, const agent_context* context) {
  self->state.context = context;
  return {
      [=](const run_step& m) -> caf::result<step_outcome> {
        auto promise = self->make_response_promise<step_outcome>();
        self->state.jobs.run(m, promise, [=] { start_ingest(self, m); });
        return promise;
      },
      [=](const stop_step& m) {
        if (const auto i = self->state.stops.find(m.goal); i != self->state.stops.end())
          *i->second = true;
      },
  };
}

} // namespace

data_steward_agent spawn_data_steward(caf::actor_system& system, const agent_context& context) {
  return spawn_on_own_thread(system, data_steward, &context);
}

} // namespace flywheel
