#include "actors/deployer/rollout_step.hpp"

#include "actors/deployer/release_step.hpp"
#include "actors/protocol/approvals.hpp"
#include "actors/protocol/packed_floats.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/dataset/snapshot.hpp"
#include "cluster/goal/goal_parser.hpp"
#include "deploy/label_book.hpp"
#include "deploy/release.hpp"
#include "deploy/rollout_policy.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace flywheel {

using nlohmann::json;

namespace {

/// Rows replayed between two looks at the evidence: small enough to stop soon, large enough to cost nothing.
constexpr std::uint64_t replay_rows_max = 250;
/// A rollout that has not decided after so many looks never will on this traffic.
constexpr std::uint64_t looks_max = 4000;

std::string model_of(const goal_spec& spec) { return spec.serve.model.empty() ? spec.name : spec.serve.model; }

model_server_options options_of(const goal_spec& spec, unsigned cores) {
  model_server_options o;
  o.name = model_of(spec);
  o.address = spec.serve.address;
  o.port = spec.serve.port;
  o.threads = std::max(1u, std::min(2u, cores));
  return o;
}

/// The approval in the journal that lets this step act.
status check_approval(const scribe& log, const run_step& m, const std::string& key) {
  journal_filter filter;
  filter.goal = m.goal;
  filter.kinds = {event_kind::plan_made, event_kind::approval_requested, event_kind::approval_granted,
                  event_kind::approval_denied, event_kind::approval_used};
  FLYWHEEL_TRY(const auto events, log.read(filter));
  approval_table table;
  std::string digest;
  for (const auto& e : events) {
    table.apply(e);
    if (e.kind == event_kind::plan_made)
      digest = json::parse(e.body, nullptr, false).value("digest", "");
  }
  const auto id = approval_id(digest, m.step);
  FLYWHEEL_CHECK(table.check(id, digest, key, log.context().time->wall()));
  if (table.find(id)->phase != approval::state::used)
    return error{errc::not_approved, id + " was granted but its use is not recorded", {}, "this is a bug of the conductor"};
  return success();
}

/// Where the last life of the process left the rollout; null if it never began.
result<json> last_state(const scribe& log, const std::string& goal) {
  journal_filter filter;
  filter.goal = goal;
  filter.kinds = {event_kind::rollout_state};
  FLYWHEEL_TRY(const auto events, log.read(filter));
  for (auto e = events.rbegin(); e != events.rend(); ++e)
    if (const auto body = json::parse(e->body, nullptr, false); body.is_object() && body.contains("policy"))
      return body["policy"];
  return json();
}

/// Everything one rollout holds while it runs.
struct rolling {
  const agent_context& context;
  const scribe& log;
  const run_step& m;
  goal_spec spec;
  model_registry registry;
  std::string model, key;
  std::uint32_t version = 0;
  std::optional<std::uint32_t> champion;
  served_model challenger_model, champion_model;
  std::string snapshot_folder;
};

status record(const rolling& r, const std::string& text, json body) {
  body["version"] = r.model + "/v" + std::to_string(r.version);
  FLYWHEEL_TRY([[maybe_unused]] const auto seq,
               r.log.write(r.log.draft(event_kind::rollout_state, r.m.goal, r.m.step, r.key, text, body)));
  return success();
}

result<rolling> prepare(const agent_context& context, const scribe& log, const run_step& m, const json& inputs,
                        const std::string& key) {
  FLYWHEEL_TRY(auto spec, goal_from_json(json::parse(m.spec_json, nullptr, false)));
  FLYWHEEL_TRY(auto registry, model_registry::open(context.layout.models()));
  rolling r{context, log, m, std::move(spec), std::move(registry), {}, key, 0, {}, {}, {}, {}};
  r.model = model_of(r.spec);
  r.version = inputs.value("release", json::object()).value("number", 0u);
  FLYWHEEL_TRY(const auto steps, steps_done(log, m.goal));
  r.snapshot_folder = steps.value("ingest", json::object()).value("folder", "");
  FLYWHEEL_TRY(const auto candidate, r.registry.find(r.model + "/v" + std::to_string(r.version)));
  FLYWHEEL_TRY(r.challenger_model, load_release(r.registry, candidate));
  if (const auto number = r.registry.alias(r.model, "champion"); number && *number != r.version) {
    FLYWHEEL_TRY(const auto present, r.registry.find(r.model + "/v" + std::to_string(*number)));
    FLYWHEEL_TRY(r.champion_model, load_release(r.registry, present));
    r.champion = *number;
  }
  return r;
}

/// Whether the effect's outcome is in the journal.
result<bool> is_done(const scribe& log, const std::string& goal, const std::string& key) {
  journal_filter filter;
  filter.goal = goal;
  filter.key = key;
  filter.kinds = {event_kind::effect_done};
  FLYWHEEL_TRY(const auto events, log.read(filter));
  return !events.empty();
}

/// Makes the version champion and records it.
status promote(rolling& r, const std::string& reason) {
  FLYWHEEL_CHECK(r.registry.set_alias(r.model, "champion", r.version, r.context.epoch));
  FLYWHEEL_CHECK(r.registry.set_alias(r.model, "challenger", 0, r.context.epoch));
  const auto id = r.model + "/v" + std::to_string(r.version);
  FLYWHEEL_TRY([[maybe_unused]] const auto seq,
               r.log.write(r.log.draft(event_kind::alias_moved, r.m.goal, r.m.step, r.model + "@champion",
                                       r.model + "@champion is now " + id,
                                       {{"from", r.champion ? json(*r.champion) : json()}, {"to", r.version}, {"reason", reason}})));
  return success();
}

step_outcome finished(const rolling& r, const std::string& url, std::uint64_t requests, const json& evaluation,
                      const std::string& reason, json& outcome) {
  const auto id = r.model + "/v" + std::to_string(r.version);
  outcome = {{"version", id}, {"model", r.model}, {"requests", requests}, {"snapshot_folder", r.snapshot_folder},
             {"model_folder", (r.context.layout.models() / r.model / ("v" + std::to_string(r.version))).string()},
             {"evaluation", {{"accuracy", evaluation.value("accuracy", json())},
                             {"prediction_profile", evaluation.value("prediction_profile", json())}}},
             {"summary", reason}};
  step_outcome out;
  auto with_url = outcome;
  with_url["url"] = url;
  out.outputs_json = with_url.dump();
  out.summary = id + " answers all requests at " + url + " (" + reason + ")";
  return out;
}

/// The loop: traffic, evidence, verdict, until it is decided.
result<rollout_verdict> decide(rolling& r, rollout_policy& policy, const serving& s, const rollout_ports& ports,
                               const std::atomic<bool>& stop, std::uint64_t& requests) {
  const auto id = r.model + "/v" + std::to_string(r.version);
  label_book labels{r.champion_model.model, r.challenger_model.model};
  std::uint64_t offset = 0;
  for (std::uint64_t look = 0; look < looks_max; ++look) {
    if (stop)
      return error{errc::cancelled, "the rollout was stopped"};
    const auto sent = ports.replay({r.m.goal, r.snapshot_folder, s.url, offset, replay_rows_max});
    if (sent.problem)
      return sent.problem.to_error();
    offset += replay_rows_max;
    const auto answered = s.server->take_requests();
    for (const auto& q : answered) {
      policy.observe(q.challenger, q.http_status, q.latency_ms);
      if (q.http_status == 200)
        labels.answered(q.id, q.challenger, q.features, q.outputs);
    }
    const auto truths = s.server->take_labels();
    for (const auto& l : truths)
      if (const auto judged = labels.judge(l.id, l.label)) {
        policy.label(judged->challenger, judged->score);
        if (judged->other)
          policy.compare(judged->challenger ? *judged->other : judged->score, judged->challenger ? judged->score : *judged->other);
      }
    requests += answered.size();
    ports.forward(pack_batch(r.m.goal, id, answered, truths));
    if (stop) // while the requests were answered
      return error{errc::cancelled, "the rollout was stopped"};

    const auto now = r.context.time->mono();
    const auto verdict = policy.judge(now);
    if (verdict.action == rollout_action::hold)
      continue;
    policy.apply(verdict, now);
    json numbers = verdict.numbers;
    FLYWHEEL_CHECK(record(r, id + ": " + std::string{name_of(verdict.action)} + " at " + format_number(verdict.percent) +
                                 " % of traffic: " + verdict.reason,
                          {{"percent", verdict.percent}, {"verdict", std::string{name_of(verdict.action)}},
                           {"reason", verdict.reason}, {"numbers", numbers}, {"policy", policy.to_json(now)}}));
    if (policy.finished())
      return verdict;
    s.server->set_routes({r.champion_model, r.challenger_model, policy.challenger_percent(), look + 2});
  }
  return error{errc::gate_inconclusive, "the rollout of " + id + " could not be decided on " + std::to_string(requests) + " requests",
               {}, "lower policy.rollout.step_requests_min, or send more traffic"};
}

} // namespace

served_batch pack_batch(const std::string& goal, const std::string& version, const std::vector<served_request>& requests,
                        const std::vector<served_label>& labels) {
  served_batch b;
  b.goal = goal;
  b.model = version;
  std::vector<float> features, outputs;
  json ids = json::array(), truths = json::array();
  for (const auto& q : requests) {
    if (q.http_status != 200 || q.version != version)
      continue;
    ++b.rows;
    features.insert(features.end(), q.features.begin(), q.features.end());
    outputs.insert(outputs.end(), q.outputs.begin(), q.outputs.end());
    ids.push_back(q.id);
  }
  for (const auto& l : labels)
    truths.push_back({{"id", l.id}, {"label", l.label}});
  b.features = pack_floats(features);
  b.outputs = pack_floats(outputs);
  b.ids = ids.dump(-1, ' ', false, json::error_handler_t::replace);
  b.labels_json = truths.dump(-1, ' ', false, json::error_handler_t::replace);
  return b;
}

result<step_outcome> roll_out(const agent_context& context, const run_step& m, serving_table& servers,
                              const rollout_ports& ports, const std::atomic<bool>& stop) {
  const scribe log{context, "deployer"};
  const auto key = m.step + "/" + m.goal;
  FLYWHEEL_CHECK(check_approval(log, m, key));
  const auto inputs = json::parse(m.inputs_json, nullptr, false);
  FLYWHEEL_TRY(auto r, prepare(context, log, m, inputs, key));
  FLYWHEEL_TRY(const auto steps, steps_done(log, m.goal));
  const auto evaluation = steps.value("evaluate", json::object());
  const auto options = options_of(r.spec, context.cores);

  FLYWHEEL_TRY(const auto state, last_state(log, m.goal));
  const auto now = context.time->mono();
  FLYWHEEL_TRY(auto policy, state.is_null() ? rollout_policy::begin(r.spec.policy.rollout, r.champion.has_value(), now)
                                            : rollout_policy::from_json(state, r.spec.policy.rollout, now));
  std::uint64_t requests = 0;
  std::string reason = "the steps had passed before";
  serving s;
  json outcome;
  if (!policy.finished()) {
    if (state.is_null()) {
      auto intent = log.draft(event_kind::effect_intended, m.goal, m.step, {}, "move traffic to " + r.challenger_model.version,
                              {{"steps", r.spec.policy.rollout.steps}, {"champion", r.champion ? json(*r.champion) : json()}});
      intent.key = key;
      FLYWHEEL_TRY([[maybe_unused]] const auto seq, log.write(std::move(intent)));
      FLYWHEEL_CHECK(r.registry.set_alias(r.model, "challenger", r.version, context.epoch));
      FLYWHEEL_CHECK(record(r, r.challenger_model.version + " begins with " + format_number(policy.challenger_percent()) +
                                   " % of traffic" + (r.champion ? "" : " (there is no champion: it answers all, and the gates still hold)"),
                            {{"percent", policy.challenger_percent()}, {"verdict", "begin"}, {"reason", "approved"},
                             {"policy", policy.to_json(now)}}));
    }
    FLYWHEEL_TRY(s, servers.serve(context.layout, m.goal, options,
                                  {r.champion_model, r.challenger_model, policy.challenger_percent(), 1}, true));
    const auto verdict = decide(r, policy, s, ports, stop, requests);
    servers.set_rolling(r.model, false);
    if (!verdict) {
      if (r.champion)
        s.server->set_routes({r.champion_model, {}, 0, looks_max});
      return error{verdict.error()};
    }
    reason = verdict->reason;
  }
  if (policy.outcome() == rollout_action::rollback) {
    if (r.champion) {
      FLYWHEEL_TRY([[maybe_unused]] const auto back, servers.serve(context.layout, m.goal, options, {r.champion_model, {}, 0, looks_max + 1}, false));
    } else {
      servers.stop(r.model);
    }
    FLYWHEEL_CHECK(r.registry.set_alias(r.model, "challenger", 0, context.epoch));
    auto failed = log.draft(event_kind::effect_failed, m.goal, m.step, {}, r.challenger_model.version + " is rolled back", {{"reason", reason}});
    failed.key = key;
    FLYWHEEL_TRY([[maybe_unused]] const auto seq, log.write(std::move(failed)));
    return error{errc::rollout_failed, reason, {}, "the champion answers again; see flywheel why rollout"};
  }
  FLYWHEEL_TRY(const bool done_before, is_done(log, m.goal, key)); // in an earlier life of the process, which ended before it could say so
  if (!done_before)
    FLYWHEEL_CHECK(promote(r, reason));
  FLYWHEEL_TRY(s, servers.serve(context.layout, m.goal, options, {r.challenger_model, {}, 0, looks_max + 1}, false));
  auto out = finished(r, s.url, requests, evaluation, reason, outcome);
  if (done_before)
    return out;
  auto done = log.draft(event_kind::effect_done, m.goal, m.step, {}, r.challenger_model.version + " is in production", outcome);
  done.key = key;
  FLYWHEEL_TRY([[maybe_unused]] const auto seq, log.write(std::move(done)));
  return out;
}

status record_unrecorded(const agent_context& context) {
  const scribe log{context, "deployer"};
  journal_filter filter;
  filter.kinds = {event_kind::alias_moved, event_kind::model_registered};
  FLYWHEEL_TRY(const auto events, log.read(filter));
  std::map<std::string, std::uint32_t> champions; // by subject
  std::set<std::string> registered;
  for (const auto& e : events)
    if (e.kind == event_kind::model_registered)
      registered.insert(e.subject);
    else if (const auto body = json::parse(e.body, nullptr, false); body.is_object())
      champions[e.subject] = body.value("to", 0u);
  FLYWHEEL_TRY(const auto registry, model_registry::open(context.layout.models()));
  std::vector<error> damaged; // is told when somebody asks for it
  FLYWHEEL_TRY(const auto versions, registry.list({}, &damaged));
  std::vector<event_draft> missed;
  std::map<std::string, std::string> goals; // of models, the newest version's
  for (const auto& v : versions) {
    goals[v.model] = v.origin.goal;
    if (!registered.contains(v.id()))
      missed.push_back(registration_of(log, v));
  }
  for (const auto& [model, goal] : goals) {
    const auto number = registry.alias(model, "champion");
    const auto subject = model + "@champion";
    if (number && champions[subject] != *number)
      missed.push_back(log.draft(event_kind::alias_moved, goal, "rollout", subject, subject + " is " + model + "/v" + std::to_string(*number) + ", as the registry says",
                                 {{"from", champions[subject]}, {"to", *number}, {"reason", "the process ended before it could say so"}}));
  }
  if (missed.empty())
    return success();
  FLYWHEEL_TRY([[maybe_unused]] const auto seq, log.write(std::move(missed)));
  return success();
}

result<serve_report> serve_champion(const agent_context& context, const std::string& goal, const goal_spec& spec,
                                    serving_table& servers) {
  FLYWHEEL_TRY(const auto registry, model_registry::open(context.layout.models()));
  const auto model = model_of(spec);
  FLYWHEEL_TRY(const auto number, registry.alias(model, "champion"));
  FLYWHEEL_TRY(const auto version, registry.find(model + "/v" + std::to_string(number)));
  FLYWHEEL_TRY(const auto loaded, load_release(registry, version));
  FLYWHEEL_TRY(const auto s, servers.serve(context.layout, goal, options_of(spec, context.cores), {loaded, {}, 0, 1}, false));
  serve_report out;
  out.url = s.url;
  out.version = version.id();
  return out;
}

/// If the goal's policy lists the action "rollback", only those it names may order one.
status may_roll_back(const scribe& log, const std::string& goal, const std::string& user) {
  journal_filter filter;
  filter.goal = goal;
  filter.kinds = {event_kind::goal_submitted};
  FLYWHEEL_TRY(const auto events, log.read(filter));
  if (events.empty())
    return success();
  const auto body = json::parse(events.front().body, nullptr, false);
  FLYWHEEL_TRY(const auto spec, goal_from_json(body.value("spec", json::object())));
  for (const auto& rule : spec.policy.approvals)
    if (rule.action == "rollback") {
      approval a;
      a.id = "rollback of " + goal;
      a.requester = body.value("user", "");
      a.by = rule.by;
      return may_answer(a, user);
    }
  return success();
}

result<std::string> roll_back(const agent_context& context, const rollback_model& m, serving_table& servers) {
  const scribe log{context, "deployer"};
  FLYWHEEL_TRY(auto registry, model_registry::open(context.layout.models()));
  FLYWHEEL_TRY(const auto present, registry.alias(m.model, "champion"));
  std::uint32_t to = m.to_version;
  if (to == 0) { // the champion before: the journal remembers
    journal_filter filter;
    filter.subject = m.model + "@champion";
    filter.kinds = {event_kind::alias_moved};
    FLYWHEEL_TRY(const auto moves, log.read(filter));
    for (auto e = moves.rbegin(); e != moves.rend() && to == 0; ++e) {
      const auto body = json::parse(e->body, nullptr, false);
      if (body.is_object() && body.value("to", 0u) == present && body.contains("from") && body["from"].is_number_unsigned())
        to = body["from"].get<std::uint32_t>();
    }
    if (to == 0)
      return error{errc::not_found, m.model + " has had no champion before v" + std::to_string(present), {},
                   "name a version with --to; flywheel models " + m.model + " lists them"};
  }
  if (to == present)
    return error{errc::invalid_argument, m.model + "/v" + std::to_string(to) + " is the champion already"};
  FLYWHEEL_TRY(const auto version, registry.find(m.model + "/v" + std::to_string(to)));
  FLYWHEEL_CHECK(may_roll_back(log, version.origin.goal, m.user));
  FLYWHEEL_TRY(const auto loaded, load_release(registry, version));
  const auto reason = m.user + " rolled back" + (m.reason.empty() ? "" : ": " + m.reason);
  const auto key = "rollback/" + m.model + "/" + std::to_string(present) + "-" + std::to_string(to) + "/" +
                   std::to_string(context.log->last_seq());
  const auto before = servers.find(m.model);
  FLYWHEEL_TRY([[maybe_unused]] const auto done,
               perform_effect(log, version.origin.goal, "rollback", key, "put " + version.id() + " back into production",
                              {{"from", present}, {"to", to}}, [&]() -> result<json> {
                                FLYWHEEL_CHECK(registry.set_alias(m.model, "champion", to, context.epoch));
                                if (before)
                                  before->server->set_routes({loaded, {}, 0, before->server->routes().generation + 1});
                                return json{{"version", version.id()}};
                              }));
  FLYWHEEL_TRY([[maybe_unused]] const auto seq,
               log.write({log.draft(event_kind::alias_moved, version.origin.goal, "rollback", m.model + "@champion",
                                    m.model + "@champion is " + version.id() + " again",
                                    {{"from", present}, {"to", to}, {"reason", reason}}),
                          log.decision(version.origin.goal, "rollback", "put " + version.id() + " back into production", reason,
                                       {{"from", present}, {"to", to}}, json::array())}));
  return version.id() + " is the champion again" + (before ? " and answers at " + before->url : "; nothing serves it now");
}

} // namespace flywheel
