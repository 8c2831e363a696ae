#include "actors/evaluator/evaluator_actor.hpp"

#include "actors/evaluator/evaluation_report.hpp"
#include "actors/protocol/blocking_job.hpp"
#include "checkpoints/registry.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/dataset/snapshot.hpp"
#include "cluster/goal/goal_parser.hpp"
#include "cluster/goal/row_expression.hpp"
#include "models/task_json.hpp"

#include <algorithm>
#include <cmath>

namespace flywheel {
namespace {

using nlohmann::json;

/// Held-out rows that were opened once, while a rollout asks for them again and again.
struct opened_rows {
  std::string folder;
  std::shared_ptr<const table> rows;
};

struct evaluator_state {
  static inline const char* name = "evaluator";
  const agent_context* context = nullptr;
  traffic_sender send;
  step_jobs jobs;
  std::shared_ptr<const seal_private_key> key; ///< in this agent and nowhere else
  error key_error{errc::ok, {}};
  std::map<std::string, opened_rows> opened;   ///< by goal
};
using self_pointer = evaluator_agent::stateful_pointer<evaluator_state>;

/// What one evaluation step works with.
struct bench_mark {
  goal_spec spec;
  learning_task task;
  std::shared_ptr<const table> held_out;
  json inputs;
};

result<std::vector<float>> predict_all(const tabular_model& model, const table& rows) {
  FLYWHEEL_TRY(const auto features, encode_features(model.signature(), rows));
  std::vector<float> out(rows.rows() * model.signature().outputs());
  model.predict(features, rows.rows(), out);
  return out;
}

row_cell cell_at(const column& c, std::size_t row) {
  if (c.type == column_type::numeric)
    return std::isnan(c.numbers[row]) ? row_cell::null() : row_cell::of(c.numbers[row]);
  const auto code = c.codes[row];
  return code < 0 ? row_cell::null() : row_cell::of(std::string_view{c.categories[static_cast<std::size_t>(code)]});
}

result<std::vector<evaluation_slice>> slices_of(const goal_spec& spec, const table& rows) {
  std::vector<std::string> names;
  for (const auto& c : rows.columns)
    names.push_back(c.name);
  std::vector<evaluation_slice> out;
  for (const auto& wanted : spec.slices) {
    FLYWHEEL_TRY(const auto condition, row_expression::parse(wanted.where));
    FLYWHEEL_TRY(const auto bound, condition.bind(names));
    evaluation_slice s{wanted.name, wanted.where, {}, wanted.threshold};
    for (std::size_t r = 0; r < rows.rows(); ++r)
      s.member.push_back(belongs(bound.evaluate_with([&](std::size_t i) { return cell_at(rows.columns[i], r); })) ? 1 : 0);
    out.push_back(std::move(s));
  }
  return out;
}

result<evaluation_report> evaluate_model(const bench_mark& b, const std::string& name, const tabular_model& model,
                                         const std::optional<std::vector<float>>& champion, const std::string& champion_name) {
  evaluation_request q;
  q.model = name;
  q.task = b.task;
  q.threshold = b.spec.metric.threshold;
  q.confidence = b.spec.metric.confidence;
  q.seed = b.spec.search.seed;
  FLYWHEEL_TRY(q.rows.predicted, predict_all(model, *b.held_out));
  FLYWHEEL_TRY(q.rows.truth, encode_target(model.signature(), *b.held_out));
  q.rows.type = b.task.type;
  q.rows.classes = b.task.classes.size();
  FLYWHEEL_TRY(q.slices, slices_of(b.spec, *b.held_out));
  q.champion = champion;
  q.champion_name = champion_name;
  return evaluate(q);
}

/// The version that serves `model` now, and what it predicts for the held-out rows; nothing if there is none that fits.
struct champion_view {
  std::string id;
  std::vector<float> predicted;
};
result<std::optional<champion_view>> champion_of(const agent_context& context, const bench_mark& b, std::string& why_not) {
  const auto name = b.spec.serve.model.empty() ? b.spec.name : b.spec.serve.model;
  FLYWHEEL_TRY(const auto registry, model_registry::open(context.layout.models()));
  const auto number = registry.alias(name, "champion");
  if (!number) {
    why_not = "no version of " + name + " is in production";
    return std::optional<champion_view>{};
  }
  FLYWHEEL_TRY(const auto version, registry.find(name + "/v" + std::to_string(*number)));
  FLYWHEEL_CHECK(registry.verify(version));
  FLYWHEEL_TRY(const auto model, load_model(version.folder));
  if (model->signature().classes != b.task.classes) {
    why_not = version.id() + " predicts other classes";
    return std::optional<champion_view>{};
  }
  auto predicted = predict_all(*model, *b.held_out);
  if (!predicted) {
    why_not = version.id() + " needs columns that this data lacks: " + predicted.error().what;
    return std::optional<champion_view>{};
  }
  return std::optional<champion_view>{champion_view{version.id(), std::move(*predicted)}};
}

json brief(const evaluation_report& r) {
  return {{"value", r.estimate.value}, {"low", r.estimate.range.low}, {"high", r.estimate.range.high}, {"rows", r.rows}};
}

// ---- step: baseline ---------------------------------------------------------------------------------------------------

result<step_outcome> baseline_step(const agent_context& context, const run_step& m, const bench_mark& b) {
  const scribe log{context, "evaluator"};
  std::string why_not;
  FLYWHEEL_TRY(const auto champion, champion_of(context, b, why_not));
  step_outcome out;
  if (!champion) {
    FLYWHEEL_TRY([[maybe_unused]] const auto seq,
                 log.write(log.decision(m.goal, m.step, "compare with no champion", why_not, json::object(), json::array())));
    out.outputs_json = json{{"champion", nullptr}, {"reason", why_not}}.dump();
    out.summary = "nothing to compare with: " + why_not;
    return out;
  }
  FLYWHEEL_TRY(const auto truth, encode_target({b.task.type, b.task.target, {}, b.task.classes}, *b.held_out));
  const double value = score(b.task.metric, b.task.type, b.task.classes.size(), truth, champion->predicted);
  out.outputs_json = json{{"champion", champion->id}, {"value", value}}.dump();
  out.summary = champion->id + " reaches " + format_number(value) + " on the new held-out rows";
  return out;
}

// ---- step: evaluate ---------------------------------------------------------------------------------------------------

result<step_outcome> evaluate_step(const agent_context& context, const run_step& m, const bench_mark& b) {
  const scribe log{context, "evaluator"};
  std::string why_not;
  FLYWHEEL_TRY(const auto champion, champion_of(context, b, why_not));
  json models = json::array();
  std::optional<evaluation_report> winner;
  json winner_info, prediction_profile;
  for (const auto& trained : b.inputs.at("train").at("models")) {
    const auto family = trained.at("family").get<std::string>();
    const bool is_winner = !winner;
    FLYWHEEL_TRY(const auto model, load_model(trained.at("folder").get<std::string>()));
    FLYWHEEL_TRY(auto report, evaluate_model(b, family, *model, champion && is_winner ? std::optional{champion->predicted} : std::nullopt,
                                             champion ? champion->id : std::string{}));
    auto row = brief(report);
    row["family"] = family;
    row["winner"] = is_winner;
    models.push_back(std::move(row));
    if (!is_winner)
      continue;
    winner_info = trained;
    FLYWHEEL_TRY(const auto predicted, predict_all(*model, *b.held_out));
    std::vector<double> positive;
    const auto outputs = model->signature().outputs();
    for (std::size_t r = 0; r < b.held_out->rows(); ++r)
      positive.push_back(static_cast<double>(predicted[r * outputs + (outputs == 2 ? 1 : 0)]));
    reference_profile carrier;
    carrier.prediction = build_feature_profile("prediction", positive);
    prediction_profile = outputs <= 2 ? to_json(carrier)["prediction"] : json();
    winner = std::move(report);
  }
  if (!winner)
    return error{errc::internal, "the train step left no model"};

  const auto& g = winner->gate;
  json evidence = brief(*winner);
  evidence["threshold"] = b.spec.metric.threshold;
  evidence["gate"] = std::string{name_of(g.result)};
  const auto choice = g.result == gate_result::pass ? "let " + winner->model + " pass" : "hold " + winner->model + " back";
  json rejected = json::array();
  if (winner->champion)
    evidence["champion"] = winner->champion->reason;
  for (const auto& row : models)
    if (!row.value("winner", false))
      rejected.push_back({{"what", "release " + row.value("family", "")},
                          {"why", "the search preferred " + winner->model + " in cross-validation, before any held-out row was seen; here it reaches " +
                                      format_number(std::round(row.value("value", 0.0) * 1e4) / 1e4)}});
  FLYWHEEL_TRY([[maybe_unused]] const auto seq, log.write(log.decision(m.goal, m.step, choice, g.reason, evidence, rejected)));
  if (winner->champion && winner->champion->result == comparison_result::worse) {
    FLYWHEEL_TRY([[maybe_unused]] const auto noted,
                 log.write(log.decision(m.goal, m.step, "keep " + champion->id + " in production", winner->champion->reason, evidence, json::array())));
    return error{errc::gate_failed, winner->model + " is worse than the champion " + champion->id + ": " + winner->champion->reason};
  }
  if (g.result == gate_result::fail)
    return error{errc::gate_failed, g.reason, {}, "see flywheel why evaluate; more trials, more data or a lower threshold"};
  if (g.result == gate_result::inconclusive)
    return error{errc::gate_inconclusive, g.reason, {}, "hold out more rows (data.split)"};

  json slices = json::array();
  for (const auto& s : winner->slices)
    slices.push_back({{"name", s.name}, {"where", s.where}, {"value", s.estimate.value}, {"low", s.estimate.range.low},
                      {"high", s.estimate.range.high}, {"rows", s.estimate.rows}});
  auto outputs = brief(*winner);
  outputs["gate"] = std::string{name_of(g.result)};
  outputs["winner"] = winner_info;
  outputs["models"] = models;
  outputs["slices"] = slices;
  outputs["lines"] = render(*winner);
  outputs["report"] = to_json(*winner);
  outputs["prediction_profile"] = prediction_profile;
  for (const auto& e : winner->others)
    if (e.metric == metric_name::accuracy)
      outputs["accuracy"] = e.value;
  if (b.task.metric == metric_name::accuracy)
    outputs["accuracy"] = winner->estimate.value;
  step_outcome out;
  out.outputs_json = outputs.dump();
  out.summary = g.reason;
  return out;
}

// ---- the actor --------------------------------------------------------------------------------------------------------

result<std::shared_ptr<const table>> open_rows(const std::string& folder, const seal_private_key& key) {
  FLYWHEEL_TRY(auto rows, open_holdout(folder, key));
  return std::make_shared<const table>(std::move(rows));
}

result<step_outcome> run(const agent_context& context, const run_step& m, const seal_private_key& key) {
  try {
    bench_mark b;
    b.inputs = json::parse(m.inputs_json, nullptr, false);
    FLYWHEEL_TRY(b.spec, goal_from_json(json::parse(m.spec_json, nullptr, false)));
    const scribe log{context, "evaluator"};
    FLYWHEEL_TRY(const auto steps, steps_done(log, m.goal));
    const auto& ingest = steps.at("ingest");
    FLYWHEEL_TRY(b.task, task_from_json(ingest.at("task")));
    FLYWHEEL_TRY(b.held_out, open_rows(ingest.at("folder").get<std::string>(), key));
    return m.step == "baseline" ? baseline_step(context, m, b) : evaluate_step(context, m, b);
  } catch (const json::exception& e) {
    return error{errc::internal, std::string{"the inputs of "} + m.step + ": " + e.what()};
  }
}

replay_report replay(self_pointer self, const replay_traffic& m) {
  auto& st = self->state;
  replay_report out;
  if (!st.key) {
    out.problem = st.key_error;
    return out;
  }
  auto& opened = st.opened[m.goal];
  if (opened.folder != m.snapshot) {
    auto rows = open_rows(m.snapshot, *st.key);
    if (!rows) {
      out.problem = rows.error();
      return out;
    }
    opened = {m.snapshot, *rows};
  }
  const scribe log{*st.context, "evaluator"};
  auto steps = steps_done(log, m.goal);
  auto task = steps ? task_from_json(steps->value("ingest", json::object()).value("task", json::object()))
                    : result<learning_task>{steps.error()};
  if (!task) {
    out.problem = task.error();
    return out;
  }
  out.rows = opened.rows->rows();
  const auto counts = st.send(*opened.rows, *task, m.url, m.offset, m.count);
  if (!counts) {
    out.problem = counts.error();
    return out;
  }
  out.sent = counts->sent;
  out.failed = counts->failed;
  return out;
}

evaluator_agent::behavior_type evaluator(self_pointer self, const agent_context* context, const evaluator_options& options) {
  auto& st = self->state;
  st.send = options.send;
  st.context = context;
  if (auto key = seal_private_key::load_or_create(context->layout.sealed() / "held-out.key"); key) {
    st.key = std::make_shared<const seal_private_key>(std::move(*key));
  } else {
    st.key_error = key.error();
  }
  return {
      [=](const run_step& m) -> caf::result<step_outcome> {
        if (!self->state.key) {
          step_outcome out;
          out.problem = self->state.key_error;
          return out;
        }
        return self->state.jobs.run_blocking(self, m, [context, m, key = self->state.key] { return outcome_of(run(*context, m, *key)); });
      },
      [=](seal_key_atom) -> sealing_key {
        const auto& state = self->state;
        return state.key ? sealing_key{{}, state.key->public_key().hex()} : sealing_key{state.key_error, {}};
      },
      [=](const replay_traffic& m) { return replay(self, m); },
      [=](const stop_step& m) { self->state.opened.erase(m.goal); },
  };
}

} // namespace

evaluator_agent spawn_evaluator(caf::actor_system& system, const agent_context& context, evaluator_options options) {
  return spawn_on_own_thread(system, evaluator, &context, std::move(options));
}

} // namespace flywheel
