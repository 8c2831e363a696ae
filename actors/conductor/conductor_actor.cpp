#include "actors/conductor/conductor_actor.hpp"

#include "actors/conductor/goal_run.hpp"
#include "actors/conductor/retry_policy.hpp"
#include "actors/protocol/agent_directory.hpp"
#include "actors/protocol/blocking_job.hpp"
#include "cluster/base/ids.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/steady_date.hpp"
#include "cluster/base/text.hpp"
#include "cluster/goal/goal_parser.hpp"

#include <cstdio>
#include <filesystem>

namespace flywheel {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

struct conductor_state {
  static inline const char* name = "conductor";
  const agent_context* context = nullptr;
  std::optional<scribe> log;
  goal_table goals;
  retry_policy retries;
  std::optional<steady_date> rest;  ///< in which they are counted
  /// (goal, step) -> attempt that was sent; a late answer of an older attempt is ignored.
  std::map<std::pair<std::string, std::string>, std::uint32_t> sent;
};
using self_pointer = conductor_agent::stateful_pointer<conductor_state>;

conductor_state& of(self_pointer self) { return self->state; }

wall_time now(self_pointer self) { return of(self).context->time->wall(); }

/// Appends and folds. What is not durable did not happen: on an error nothing is folded.
status commit(self_pointer self, std::vector<event_draft> drafts) {
  auto seq = of(self).log->write(drafts);
  if (!seq)
    return std::move(seq).error();
  std::uint64_t number = *seq - drafts.size();
  for (auto& d : drafts) {
    event e;
    static_cast<event_draft&>(e) = std::move(d);
    e.seq = ++number;
    e.time = now(self);
    of(self).goals.apply(e);
  }
  return success();
}

void wake(self_pointer self, const std::string& goal, nanoseconds after) {
  cafx::delayed_send(self, self, std::max<nanoseconds>(after, 1ms), tick_atom_v, goal);
}

void advance(self_pointer self, const std::string& goal);

/// The journal could not take an event (disk full, say): nothing is lost, the same decision is taken again later.
void postpone(self_pointer self, const std::string& goal, const error& why) {
  std::fprintf(stderr, "flywheel: the journal could not record a step of %s: %s\n", goal.c_str(),
               why.to_string().c_str());
  wake(self, goal, 5s);
}

void settle(self_pointer self, const std::string& goal, const std::string& step, std::uint32_t attempt,
            const step_outcome& outcome) {
  auto& st = of(self);
  const auto sent = st.sent.find({goal, step});
  auto* run = st.goals.find(goal);
  if (run == nullptr || sent == st.sent.end() || sent->second != attempt)
    return;
  st.sent.erase(sent);
  if (run->over())
    return;
  std::vector<event_draft> drafts;
  const auto* planned = run->plan->find(step);
  if (!outcome.problem) {
    st.retries.succeeded(planned->agent);
    json outputs = json::parse(outcome.outputs_json, nullptr, false);
    drafts.push_back(st.log->draft(event_kind::step_state, goal, step, step, step + " is done: " + outcome.summary,
                                   {{"state", "done"}, {"outputs", outputs}, {"summary", outcome.summary}}));
  } else {
    const error e = outcome.problem.to_error();
    const auto verdict = st.retries.judge(planned->agent, goal + "/" + step, e, attempt, st.rest->now());
    json body{{"error", std::string{name_of(e.code)}}, {"what", e.what}, {"where", e.where}, {"hint", e.hint},
              {"attempt", attempt}};
    const bool again = verdict.action == retry_action::retry;
    body["state"] = again ? "retrying" : "failed";
    if (again) {
      body["retry_at_ns"] = now(self).ns + verdict.after.count();
      body["retry_after_ns"] = verdict.after.count();
    }
    drafts.push_back(st.log->draft(event_kind::step_state, goal, step, step,
                                   step + (again ? " failed and will be tried again: " : " failed: ") + e.to_string(),
                                   body));
    const auto choice = again ? "try " + step + " again"
                        : verdict.action == retry_action::ask_person ? "ask a person about " + step
                                                                     : "give up on " + step;
    drafts.push_back(st.log->decision(goal, step, choice, verdict.reason, body, json::array()));
  }
  if (auto ok = commit(self, std::move(drafts)); !ok) {
    // Sent again later: agents continue from what was done, so the outcome is found again and nothing is repeated.
    run->steps[step].now = step_run::phase::pending;
    return postpone(self, goal, ok.error());
  }
  advance(self, goal);
}

void dispatch(self_pointer self, const std::string& agent, run_step m) {
  const auto parts = of(self).context->agents->now();
  const auto goal = m.goal, step = m.step;
  const auto attempt = m.attempt;
  const auto done = [=](step_outcome& outcome) { settle(self, goal, step, attempt, outcome); };
  const auto lost = [=](caf::error& e) {
    step_outcome outcome;
    outcome.problem = error{errc::interrupted, agent + " did not answer: " + cafx::render(e)};
    settle(self, goal, step, attempt, outcome);
  };
  const auto ask = [&](const auto& handle) {
    cafx::request(self, handle, step_time_max, std::move(m)).then(done, lost);
  };
  if (agent == "data_steward")
    ask(parts.data_steward);
  else if (agent == "architect")
    ask(parts.architect);
  else if (agent == "hpo")
    ask(parts.hpo);
  else if (agent == "trainer")
    ask(parts.trainer);
  else if (agent == "evaluator")
    ask(parts.evaluator);
  else if (agent == "deployer")
    ask(parts.deployer);
  else if (agent == "monitor")
    ask(parts.monitor);
}

void stop_running(self_pointer self, const goal_run& run, const std::string& reason) {
  const auto parts = of(self).context->agents->now();
  for (const auto& [step, r] : run.steps) {
    if (r.now != step_run::phase::running)
      continue;
    const stop_step m{run.id, step, reason};
    cafx::send(self, parts.data_steward, m);
    cafx::send(self, parts.architect, m);
    cafx::send(self, parts.hpo, m);
    cafx::send(self, parts.trainer, m);
    cafx::send(self, parts.evaluator, m);
    cafx::send(self, parts.deployer, m);
    cafx::send(self, parts.monitor, m);
    return; // each agent stops whatever it does for this goal
  }
}

event_draft approval_request(self_pointer self, const goal_run& run, const goal_spec& spec, const std::string& action,
                             bool in_advance = false) {
  const auto rule = rule_for(spec, action);
  const auto id = approval_id(run.digest, action);
  std::string evidence;
  if (const auto i = run.steps.find("evaluate"); i != run.steps.end())
    evidence = i->second.summary;
  auto d = of(self).log->draft(
      event_kind::approval_requested, run.id, action, id,
      "approval " + id + " is needed to " + action + (evidence.empty() ? "" : " (" + evidence + ")"),
      {{"action", action}, {"digest", run.digest}, {"requester", run.user}, {"by", rule.by},
       {"valid_ns", rule.valid_for.count()}, {"evidence", evidence}, {"in_advance", in_advance}});
  return d;
}

event_draft approval_answer(self_pointer self, const approval& a, const std::string& user, bool grant,
                            const std::string& reason) {
  return of(self).log->draft(grant ? event_kind::approval_granted : event_kind::approval_denied, a.goal, a.action, a.id,
                             a.id + (grant ? " is granted by " : " is denied by ") + user +
                                 (reason.empty() ? "" : ": " + reason),
                             {{"by", user}, {"digest", a.digest}, {"reason", reason}});
}

/// Carries out one verdict of the goal's machine. False if the journal could not take it.
bool act(self_pointer self, goal_run& run, const next_action& action) {
  auto& st = of(self);
  std::vector<event_draft> drafts;
  if (const auto* start = std::get_if<start_step>(&action)) {
    const auto* step = run.plan->find(start->step);
    if (const auto held = st.retries.hold(step->agent, st.rest->now()); held.count() > 0) {
      wake(self, run.id, held); // the agent failed too often of late; leave it alone for a while
      return true;
    }
    if (start->uses_approval) {
      const auto id = approval_id(run.digest, step->approval);
      if (run.approvals.find(id)->phase != approval::state::used) {
        auto used = st.log->draft(event_kind::approval_used, run.id, start->step, id,
                                  id + " is used for " + run.effect_key(start->step), {{"digest", run.digest}});
        used.key = run.effect_key(start->step);
        drafts.push_back(std::move(used));
      }
    }
    drafts.push_back(st.log->draft(event_kind::step_state, run.id, start->step, start->step,
                                   step->title + " (" + step->agent + ")",
                                   {{"state", "started"}, {"attempt", start->attempt}}));
    if (auto ok = commit(self, std::move(drafts)); !ok) {
      postpone(self, run.id, ok.error());
      return false;
    }
    st.sent[{run.id, start->step}] = start->attempt;
    dispatch(self, step->agent, {run.id, start->step, run.user, run.spec_json, start->inputs_json, start->attempt});
  } else if (const auto* ask = std::get_if<ask_person>(&action)) {
    const auto spec = goal_from_json(json::parse(run.spec_json, nullptr, false));
    if (!spec)
      return false;
    drafts.push_back(approval_request(self, run, *spec, ask->action));
    drafts.push_back(st.log->draft(event_kind::goal_state, run.id, {}, run.id, "waiting for approval",
                                   {{"state", "waiting"}, {"reason", "approval of " + ask->action + " is needed"}}));
    if (auto ok = commit(self, std::move(drafts)); !ok) {
      postpone(self, run.id, ok.error());
      return false;
    }
  } else if (const auto* at = std::get_if<wake_at>(&action)) {
    wake(self, run.id, at->when - now(self));
  } else if (const auto* finish = std::get_if<finish_goal>(&action)) {
    stop_running(self, run, finish->reason);
    drafts.push_back(st.log->draft(event_kind::goal_state, run.id, {}, run.id,
                                   "goal is " + std::string{name_of(finish->phase)} + ": " + finish->reason,
                                   {{"state", std::string{name_of(finish->phase)}}, {"reason", finish->reason}}));
    if (auto ok = commit(self, std::move(drafts)); !ok) {
      postpone(self, run.id, ok.error());
      return false;
    }
  }
  return true;
}

void advance(self_pointer self, const std::string& goal) {
  auto* run = of(self).goals.find(goal);
  if (run == nullptr)
    return;
  for (const auto& action : run->decide(now(self)))
    if (!act(self, *run, action))
      return;
}

goal_ack submit(self_pointer self, const submit_goal& m) {
  auto& st = of(self);
  goal_ack ack;
  ack.id = m.id;
  if (!is_valid_name(m.id)) {
    ack.problem = error{errc::invalid_argument, "'" + printable(m.id, 80) + "' cannot be a goal id"};
    return ack;
  }
  const auto body = json::parse(m.spec_json, nullptr, false);
  auto spec = goal_from_json(body);
  if (!spec) {
    ack.problem = spec.error();
    return ack;
  }
  const auto digest = digest_of(*spec).hex();
  std::vector<event_draft> drafts;
  auto* run = st.goals.find(m.id);
  if (run != nullptr) {
    ack.existed = true;
    ack.seq = run->seq;
    if (run->spec_digest != digest) {
      ack.problem = error{errc::already_exists, "goal " + m.id + " exists with another body", {},
                          "choose another id, or submit the same goal"};
      return ack;
    }
    if (run->phase == goal_phase::failed || run->phase == goal_phase::cancelled)
      drafts.push_back(st.log->draft(event_kind::goal_state, m.id, {}, m.id, "submitted again by " + m.user,
                                     {{"state", "running"}, {"reason", "submitted again"}, {"again", true}}));
  } else {
    std::error_code ignored;
    const auto bytes = std::filesystem::file_size(spec->data.source, ignored);
    const auto plan = make_plan(m.id, digest, *spec, ignored ? 0 : bytes, st.context->slots(), m.origin);
    drafts.push_back(st.log->draft(event_kind::goal_submitted, m.id, {}, m.id, m.user + " submitted goal " + spec->name,
                                   {{"user", m.user}, {"spec", body}, {"digest", digest}}));
    drafts.push_back(st.log->draft(event_kind::plan_made, m.id, {}, m.id,
                                   "planned " + std::to_string(plan.steps.size()) + " steps, about " +
                                       format_duration(nanoseconds{static_cast<std::int64_t>(plan.seconds() * 1e9)}),
                                   {{"plan", to_json(plan)}, {"digest", plan_digest(plan)}}));
  }
  if (!drafts.empty())
    if (auto ok = commit(self, std::move(drafts)); !ok) {
      ack.problem = ok.error();
      return ack;
    }
  run = st.goals.find(m.id);
  ack.seq = run->seq;

  if (m.approve_in_advance && run->plan) {
    std::vector<event_draft> grants;
    for (const auto& step : run->plan->steps) {
      if (step.approval.empty())
        continue;
      const auto id = approval_id(run->digest, step.approval);
      const auto* asked = run->approvals.find(id);
      if (asked != nullptr && asked->phase != approval::state::requested)
        continue;
      if (asked == nullptr)
        if (auto ok = commit(self, {approval_request(self, *run, *spec, step.approval, true)}); !ok) {
          ack.problem = ok.error();
          return ack;
        }
      asked = run->approvals.find(id);
      if (auto may = may_answer(*asked, m.user); !may) {
        ack.problem = may.error();
        return ack;
      }
      grants.push_back(approval_answer(self, *asked, m.user, true, "granted in advance with --approve"));
    }
    if (!grants.empty())
      if (auto ok = commit(self, std::move(grants)); !ok) {
        ack.problem = ok.error();
        return ack;
      }
  }
  wake(self, m.id, 1ms); // after the answer: the client knows the id before the first step is seen
  return ack;
}

acknowledgement answer(self_pointer self, const answer_approval& m) {
  auto& st = of(self);
  acknowledgement ack;
  for (auto& [id, run] : st.goals.all()) {
    const auto* a = run.approvals.find(m.approval);
    if (a == nullptr)
      continue;
    if (a->phase != approval::state::requested) {
      ack.problem = error{errc::already_exists, m.approval + " was answered already, by " + a->answered_by};
      return ack;
    }
    if (auto may = may_answer(*a, m.user); !may) {
      auto denied = st.log->draft(event_kind::note, id, a->action, m.approval,
                                  m.user + " tried to answer " + m.approval + " and may not", {{"user", m.user}});
      (void)st.log->write(std::move(denied)); // the refusal stands whether or not its record does
      ack.problem = may.error();
      return ack;
    }
    std::vector<event_draft> drafts{approval_answer(self, *a, m.user, m.grant, m.reason)};
    if (run.phase == goal_phase::waiting)
      drafts.push_back(st.log->draft(event_kind::goal_state, id, {}, id, "the approval was answered",
                                     {{"state", "running"}, {"reason", "the approval was answered"}}));
    if (auto ok = commit(self, std::move(drafts)); !ok) {
      ack.problem = ok.error();
      return ack;
    }
    ack.text = m.approval + (m.grant ? " granted" : " denied");
    wake(self, id, 1ms);
    return ack;
  }
  ack.problem = error{errc::not_found, "no approval is called '" + printable(m.approval, 80) + "'", {},
                      "run: flywheel goals"};
  return ack;
}

acknowledgement cancel(self_pointer self, const cancel_goal& m) {
  acknowledgement ack;
  auto* run = of(self).goals.find(m.id);
  if (run == nullptr) {
    ack.problem = error{errc::not_found, "no goal is called '" + printable(m.id, 80) + "'", {}, "run: flywheel goals"};
    return ack;
  }
  if (run->over()) {
    ack.problem = error{errc::invalid_argument, "goal " + m.id + " is " + std::string{name_of(run->phase)} + " already"};
    return ack;
  }
  stop_running(self, *run, m.reason);
  if (auto ok = commit(self, {of(self).log->draft(event_kind::goal_state, m.id, {}, m.id,
                                                  "cancelled by " + m.user + (m.reason.empty() ? "" : ": " + m.reason),
                                                  {{"state", "cancelled"}, {"reason", m.reason}, {"by", m.user}})});
      !ok)
    ack.problem = ok.error();
  else
    ack.text = "goal " + m.id + " is cancelled";
  return ack;
}

/// What the lost agent was doing is asked for again; agents continue from what was done.
void restart_steps_of(self_pointer self, const agent_restarted& m) {
  auto& st = of(self);
  for (auto& [id, run] : st.goals.all()) {
    if (run.over() || !run.plan)
      continue;
    for (const auto& step : run.plan->steps)
      if (step.agent == m.agent && run.steps[step.id].now == step_run::phase::running) {
        st.sent.erase({id, step.id});
        run.steps[step.id].now = step_run::phase::pending;
      }
    wake(self, id, 1ms);
  }
}

void fold_journal(self_pointer self) {
  auto& st = of(self);
  const auto ok = st.context->log->visit(journal_filter{}, [&](const event& e) { // event by event: all goals of all time
    st.goals.apply(e);
    return true;
  });
  if (!ok)
    std::fprintf(stderr, "flywheel: the conductor could not read the journal: %s\n", ok.error().to_string().c_str());
  for (auto& [id, run] : st.goals.all()) {
    run.forget_running();
    if (!run.over())
      wake(self, id, 1ms);
  }
}

conductor_agent::behavior_type conductor(self_pointer self, const agent_context* context) {
  auto& st = of(self);
  st.context = context;
  st.log.emplace(*context, "conductor");
  st.rest.emplace(*context->time);
  fold_journal(self);
  return {
      [=](const submit_goal& m) { return submit(self, m); },
      [=](const cancel_goal& m) { return cancel(self, m); },
      [=](const answer_approval& m) { return answer(self, m); },
      [=](const agent_restarted& m) { restart_steps_of(self, m); },
      [=](tick_atom, const std::string& goal) { advance(self, goal); },
  };
}

} // namespace

conductor_agent spawn_conductor(caf::actor_system& system, const agent_context& context) {
  return spawn_on_own_thread(system, conductor, &context);
}

} // namespace flywheel
