#include "actors/deployer/release_step.hpp"

#include "actors/deployer/rehearsal_policy.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/content/publish.hpp"
#include "cluster/goal/goal_parser.hpp"

namespace flywheel {

using nlohmann::json;

namespace {

lineage lineage_of(const agent_context& context, const run_step& m, const goal_spec& spec, const json& steps) {
  const auto ingest = steps.value("ingest", json::object()), evaluated = steps.value("evaluate", json::object());
  const auto winner = evaluated.value("winner", json::object());
  lineage l;
  l.goal = m.goal;
  l.goal_digest = digest_of(spec).hex();
  l.snapshot = ingest.value("snapshot", "");
  l.source_digest = ingest.value("source_sha256", "");
  l.code = context.code;
  l.family = winner.value("family", "");
  l.trial = winner.value("trial", "");
  l.params = winner.value("params", json::object()).dump();
  l.seed = spec.search.seed;
  l.metrics[spec.metric.name] = evaluated.value("value", 0.0);
  return l;
}

status copy_model(const std::filesystem::path& from, const std::filesystem::path& to, const json& evaluation) {
  std::error_code failed;
  std::filesystem::copy(from, to, std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing,
                        failed);
  if (failed)
    return error_from_errno(failed.value(), "copying the fitted model", from.string());
  return publish_file(to / "evaluation.json", evaluation.dump(1) + "\n");
}

/// policy.release.require_chaos: lets the release pass, or says which rehearsal is missing. Either is a decision.
status check_rehearsals(const scribe& log, const run_step& m, const goal_spec& spec) {
  const auto& rules = spec.policy.release.require_chaos;
  if (rules.empty())
    return success();
  journal_filter filter;
  filter.kinds = {event_kind::rehearsal};
  FLYWHEEL_TRY(const auto rehearsals, log.read(filter));
  const auto verdict = judge_rehearsals(rules, rehearsals, log.context().time->wall());
  FLYWHEEL_TRY([[maybe_unused]] const auto seq, log.write(log.decision(m.goal, m.step, verdict.passed ? "let the release pass" : "refuse the release", verdict.reason,
                                                                       {{"rehearsals", verdict.seqs}}, json::array())));
  if (verdict.passed)
    return success();
  return error{errc::gate_failed, verdict.reason, "policy.release.require_chaos", "run: flywheel chaos FILE, then submit the goal again"};
}

} // namespace

event_draft registration_of(const scribe& log, const model_version& v) {
  const auto& o = v.origin;
  return log.draft(event_kind::model_registered, o.goal, "release", v.id(),
                   v.id() + " is registered: " + o.family + " of trial " + o.trial + ", manifest " + v.manifest.brief(),
                   {{"version", v.id()}, {"manifest", v.manifest.hex()}, {"snapshot", o.snapshot}, {"goal_digest", o.goal_digest}, {"trial", o.trial}, {"metrics", o.metrics}});
}

result<step_outcome> release_model(const agent_context& context, const run_step& m) {
  const scribe log{context, "deployer"};
  FLYWHEEL_TRY(const auto spec, goal_from_json(json::parse(m.spec_json, nullptr, false)));
  FLYWHEEL_TRY(const auto steps, steps_done(log, m.goal));
  const auto evaluated = steps.value("evaluate", json::object());
  const auto folder = evaluated.value("winner", json::object()).value("folder", std::string{});
  if (evaluated.value("gate", "") != "pass" || folder.empty())
    return error{errc::gate_failed, "no model has passed the evaluation of " + m.goal};
  FLYWHEEL_CHECK(check_rehearsals(log, m, spec));
  const auto key = m.step + "/" + m.goal;
  const auto name = spec.serve.model.empty() ? spec.name : spec.serve.model;

  FLYWHEEL_TRY(const auto outcome, perform_effect(log, m.goal, m.step, key, "register the model of " + m.goal,
                                                  {{"model", name}, {"folder", folder}}, [&]() -> result<json> {
    FLYWHEEL_TRY(auto registry, model_registry::open(context.layout.models()));
    auto origin = lineage_of(context, m, spec, steps);
    origin.journal_seq = context.log->last_seq();
    FLYWHEEL_TRY(const auto version, registry.publish(name, key, origin, context.time->wall(), [&](const std::filesystem::path& to) {
      return copy_model(folder, to, evaluated);
    }));
    FLYWHEEL_TRY([[maybe_unused]] const auto seq, log.write(registration_of(log, version)));
    return json{{"version", version.id()}, {"model", name}, {"number", version.version},
                {"manifest", version.manifest.hex()}, {"folder", version.folder.string()}};
  }));
  step_outcome out;
  out.outputs_json = outcome;
  out.summary = json::parse(outcome, nullptr, false).value("version", "") + " is in the registry with its lineage";
  return out;
}

} // namespace flywheel
