#include "actors/monitor/monitor_actor.hpp"

#include "actors/monitor/drift_detector.hpp"
#include "actors/protocol/agent_directory.hpp"
#include "actors/protocol/blocking_job.hpp"
#include "actors/protocol/packed_floats.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/dataset/snapshot.hpp"
#include "cluster/goal/goal_parser.hpp"
#include "models/tabular_model.hpp"

#include <algorithm>
#include <deque>

namespace flywheel {
namespace {

using nlohmann::json;

/// A model that is being watched.
struct watched {
  watch_model order;
  drift_detector detector;
  std::vector<std::string> classes;
  std::size_t inputs = 0, outputs = 1;
  /// Predictions whose label has not come, oldest first; bounded, because most labels never come.
  std::deque<std::pair<std::string, std::size_t>> unlabelled;
  std::map<std::string, std::size_t> predicted;
  std::string user;
};
constexpr std::size_t unlabelled_max = 100'000;
/// Batches that came before the order to watch (the rollout's own traffic), per goal.
constexpr std::size_t early_batches_max = 256;

struct monitor_state {
  static inline const char* name = "monitor";
  const agent_context* context = nullptr;
  std::optional<scribe> log;
  std::map<std::string, watched> models;                     ///< by goal
  std::map<std::string, std::vector<served_batch>> early;    ///< by goal
};
using self_pointer = monitor_agent::stateful_pointer<monitor_state>;

drift_options options_of(const watch_spec& w) {
  drift_options o;
  o.window = w.window;
  o.confirm = w.confirm;
  o.p_value_min = w.p_value_min;
  o.psi_max = w.psi_max;
  o.accuracy_drop_max = w.accuracy_drop_max;
  return o;
}

void note(self_pointer self, const watched& w, const drift_verdict& v) {
  auto& st = self->state;
  const auto& goal = w.order.goal;
  json evidence = to_json(v);
  std::vector<event_draft> drafts;
  drafts.push_back(st.log->draft(event_kind::observation, goal, "watch", w.order.model,
                                 w.order.model + ": window " + std::to_string(v.window) + " is " +
                                     std::string{name_of(v.level)} + ": " + v.reason,
                                 evidence));
  // Named by its time: windows are counted anew when the monitor starts again, and an old name would count as answered.
  const auto incident = "drift-" + w.order.model.substr(w.order.model.find('/') + 1) + "-" +
                        std::to_string(st.context->time->wall().ns / 1'000'000'000);
  if (v.newly_confirmed) { // with what the learner needs to find it here if it is not told
    evidence["incident"] = incident;
    evidence["model"] = w.order.model;
    drafts.push_back(st.log->decision(goal, "watch", "confirm a shift of the traffic of " + w.order.model, v.reason,
                                      evidence, json::array()));
  }
  if (auto seq = st.log->write(std::move(drafts)); !seq)
    return; // seen again in the next window
  if (v.newly_confirmed) {
    incident_found m;
    m.goal = goal;
    m.incident = incident;
    m.model = w.order.model;
    m.reason = v.reason;
    m.evidence_json = evidence.dump();
    m.spec_json = w.order.spec_json;
    m.user = w.user;
    if (const auto learner = st.context->agents->now().learner) // one that starts later finds it in the journal
      cafx::send(self, learner, m);
  }
}

std::size_t best_class(const float* outputs, std::size_t n) {
  return static_cast<std::size_t>(std::max_element(outputs, outputs + n) - outputs);
}

void observe(self_pointer self, watched& w, const served_batch& b) {
  const auto features = unpack_floats(b.features), outputs = unpack_floats(b.outputs);
  if (features.size() != b.rows * w.inputs || outputs.size() != b.rows * w.outputs)
    return; // of another version, with another signature
  const auto ids = json::parse(b.ids, nullptr, false);
  for (std::size_t r = 0; r < b.rows; ++r) {
    const float* out = outputs.data() + r * w.outputs;
    if (ids.is_array() && r < ids.size() && !w.classes.empty()) {
      const auto id = ids[r].get<std::string>();
      if (w.predicted.emplace(id, best_class(out, w.outputs)).second)
        w.unlabelled.emplace_back(id, 0);
      if (w.unlabelled.size() > unlabelled_max) {
        w.predicted.erase(w.unlabelled.front().first);
        w.unlabelled.pop_front();
      }
    }
    if (const auto v = w.detector.observe({features.data() + r * w.inputs, w.inputs}, {out, w.outputs}))
      note(self, w, *v);
  }
  for (const auto& label : json::parse(b.labels_json, nullptr, false)) {
    if (!label.is_object())
      continue;
    const auto i = w.predicted.find(label.value("id", ""));
    if (i == w.predicted.end())
      continue;
    const bool right = i->second < w.classes.size() && w.classes[i->second] == label.value("label", "");
    w.predicted.erase(i);
    if (const auto v = w.detector.observe_label(right))
      note(self, w, *v);
  }
}

result<watched> begin(const watch_model& m) {
  FLYWHEEL_TRY(const auto spec, goal_from_json(json::parse(m.spec_json, nullptr, false)));
  FLYWHEEL_TRY(auto profile, load_profile(m.snapshot_folder));
  FLYWHEEL_TRY(const auto model, load_model(m.model_folder));
  const auto& signature = model->signature();
  std::vector<drift_input> inputs;
  for (const auto& i : signature.inputs)
    inputs.push_back({i.name, i.type, i.categories});
  const auto evaluation = json::parse(m.evaluation_json, nullptr, false);
  std::optional<double> accuracy;
  if (evaluation.is_object() && evaluation.contains("accuracy") && evaluation["accuracy"].is_number())
    accuracy = evaluation["accuracy"].get<double>();
  if (evaluation.is_object() && evaluation.contains("prediction_profile")) {
    json with = to_json(profile);
    with["prediction"] = evaluation["prediction_profile"];
    if (auto filled = profile_from_json(with))
      profile = std::move(*filled);
  }
  FLYWHEEL_TRY(auto detector, drift_detector::make(std::move(profile), std::move(inputs),
                                                   options_of(spec.policy.watch), accuracy));
  watched w{m, std::move(detector), signature.classes, signature.inputs.size(), signature.outputs(), {}, {}, {}};
  return w;
}

/// Begins to watch, with what was served before the order came.
result<std::uint64_t> watch(self_pointer self, const watch_model& m, const std::string& user) {
  auto& st = self->state;
  FLYWHEEL_TRY(auto w, begin(m));
  w.user = user;
  auto& held = st.models.insert_or_assign(m.goal, std::move(w)).first->second;
  std::uint64_t rows = 0;
  if (const auto i = st.early.find(m.goal); i != st.early.end()) {
    for (const auto& b : i->second) {
      if (b.model == m.model)
        rows += b.rows;
      observe(self, held, b);
    }
    st.early.erase(i);
  }
  return rows;
}

step_outcome start_watching(self_pointer self, const run_step& m) {
  step_outcome out;
  const auto inputs = json::parse(m.inputs_json, nullptr, false);
  const auto rollout = inputs.value("rollout", json::object());
  watch_model order;
  order.goal = m.goal;
  order.spec_json = m.spec_json;
  order.model = rollout.value("version", "");
  order.snapshot_folder = rollout.value("snapshot_folder", "");
  order.model_folder = rollout.value("model_folder", "");
  order.evaluation_json = rollout.value("evaluation", json::object()).dump();
  const auto rows = watch(self, order, m.user);
  if (!rows) {
    out.problem = rows.error();
    return out;
  }
  const auto& w = self->state.models.at(m.goal);
  out.outputs_json = json{{"model", order.model}, {"features", w.inputs}, {"rows_seen", *rows}}.dump();
  out.summary = "watching " + std::to_string(w.inputs) + " features, the predictions and the accuracy of " + order.model +
                " in windows of " + std::to_string(w.detector.options().window) + "; " + std::to_string(*rows) +
                " requests of the rollout are the first";
  return out;
}

monitor_agent::behavior_type monitor(self_pointer self, const agent_context* context) {
  self->state.context = context;
  self->state.log.emplace(*context, "monitor");
  return {
      [=](const run_step& m) { return start_watching(self, m); },
      [=](const watch_model& m) {
        if (auto ok = watch(self, m, "flywheel"); !ok)
          (void)self->state.log->write(self->state.log->draft(event_kind::note, m.goal, "watch", m.model,
                                                              "cannot watch " + m.model + ": " + ok.error().to_string(), {}));
      },
      [=](const served_batch& b) {
        auto& st = self->state;
        if (const auto i = st.models.find(b.goal); i != st.models.end()) {
          if (i->second.order.model == b.model)
            observe(self, i->second, b);
        } else if (auto& early = st.early[b.goal]; early.size() < early_batches_max) {
          early.push_back(b);
        }
      },
      [=](const stop_step& m) {
        self->state.models.erase(m.goal);
        self->state.early.erase(m.goal);
      },
  };
}

} // namespace

monitor_agent spawn_monitor(caf::actor_system& system, const agent_context& context) {
  return spawn_on_own_thread(system, monitor, &context);
}

} // namespace flywheel
