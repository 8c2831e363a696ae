#include "actors/hpo/hpo_actor.hpp"

#include "actors/hpo/search_order.hpp"
#include "actors/protocol/agent_directory.hpp"
#include "actors/protocol/blocking_job.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/steady_date.hpp"
#include "cluster/base/text.hpp"
#include "cluster/goal/goal_parser.hpp"

#include <cmath>
#include <cstdlib>

namespace flywheel {
namespace {

using nlohmann::json;

/// Studies of one step of one goal, run one after the other.
struct session {
  std::string goal, step;
  study_order order;
  std::vector<study_table> studies;
  std::size_t now = 0;                       ///< index of the study that runs
  /// Answers whoever asked last; called once, with the studies as they ended.
  std::function<void(fault, const std::vector<study_table>&)> finished;
  std::uint64_t generation = 0;              ///< a new one for every session of the same name
};

struct hpo_state {
  static inline const char* name = "hpo";
  const agent_context* context = nullptr;
  std::optional<scribe> log;
  std::map<std::string, session> sessions;   ///< by goal
  std::uint64_t generations = 0;
  std::optional<steady_date> clock;
};
using self_pointer = hpo_agent::stateful_pointer<hpo_state>;

wall_time now(self_pointer self) { return self->state.clock->now(); }

void drive(self_pointer self, const std::string& goal);

void end_session(self_pointer self, const std::string& goal, fault problem) {
  auto& st = self->state;
  const auto i = st.sessions.find(goal);
  if (i == st.sessions.end())
    return;
  auto s = std::move(i->second);
  st.sessions.erase(i);
  s.finished(std::move(problem), s.studies);
}

/// Makes drafts durable and folds them; ends the session if the journal cannot take them (the conductor tries again later).
bool record(self_pointer self, session& s, const std::vector<event_draft>& drafts) {
  if (drafts.empty())
    return true;
  if (auto seq = self->state.log->write(drafts); !seq) {
    end_session(self, s.goal, fault{seq.error()});
    return false;
  }
  if (auto ok = s.studies[s.now].apply_all(drafts, now(self)); !ok) {
    end_session(self, s.goal, fault{ok.error()});
    return false;
  }
  return true;
}

void trial_came_back(self_pointer self, const std::string& goal, std::uint64_t generation, const trial_ended& e) {
  auto& st = self->state;
  const auto i = st.sessions.find(goal);
  if (i == st.sessions.end() || i->second.generation != generation)
    return;
  auto& s = i->second;
  auto& study = s.studies[s.now];
  std::vector<event_draft> drafts;
  if (e.problem) {
    drafts = study.on_failure(e.trial, e.attempt, e.problem.to_error(), static_cast<double>(e.milliseconds) / 1e3);
  } else if (auto r = trial_result_from_json(json::parse(e.result_json, nullptr, false)); r) {
    drafts = study.on_end(e.trial, e.attempt, *r);
  } else {
    drafts = study.on_failure(e.trial, e.attempt, r.error(), static_cast<double>(e.milliseconds) / 1e3);
  }
  if (record(self, s, drafts))
    drive(self, goal);
}

void start(self_pointer self, session& s, const study_action& a) {
  order_trial m;
  m.goal = s.goal;
  m.step = s.step;
  m.trial = a.spec.trial;
  m.kind = "trial";
  m.attempt = a.attempt;
  m.memory_max = s.order.memory_max;
  m.time_max_ms = static_cast<std::uint64_t>(std::max<std::int64_t>(0, a.time_max.count() / 1'000'000));
  m.task_json = json{{"kind", "trial"},          {"table", s.order.table.string()}, {"folder", s.order.folder.string()},
                     {"task", to_json(s.order.task)}, {"spec", to_json(a.spec)},    {"resource", 0}}
                    .dump();
  const auto goal = s.goal;
  const auto generation = s.generation;
  cafx::request(self, self->state.context->agents->now().trainer, step_time_max, m)
      .then([=](const trial_ended& e) { trial_came_back(self, goal, generation, e); },
            [](const caf::error&) {}); // the trainer died: agent_restarted follows and starts the trial again
}

void drive(self_pointer self, const std::string& goal) {
  auto& st = self->state;
  for (;;) {
    const auto i = st.sessions.find(goal);
    if (i == st.sessions.end())
      return;
    auto& s = i->second;
    if (s.now == s.studies.size())
      return end_session(self, goal, fault{});
    const auto a = s.studies[s.now].next(now(self));
    if (!record(self, s, a.drafts))
      return;
    switch (a.what) {
    case study_action::kind::record: break;
    case study_action::kind::start: start(self, s, a); break;
    case study_action::kind::stop:
      cafx::send(self, st.context->agents->now().trainer, stop_trial{goal, a.spec.trial, a.reason, a.attempt});
      break;
    case study_action::kind::wait:
      if (a.look_again) {
        const auto generation = s.generation;
        const auto after = std::max<nanoseconds>(*a.look_again, std::chrono::milliseconds{1});
        cafx::delayed_send(self, self, after, tick_atom_v, goal, generation);
      }
      return;
    case study_action::kind::finished:
      if (++s.now < s.studies.size())
        s.studies[s.now].begin_session(now(self));
      break;
    }
  }
}

/// Builds the session from the order and everything the journal knows about its studies.
status open_session(self_pointer self, session s, const std::vector<std::vector<past_trial>>& known) {
  auto& st = self->state;
  if (const auto i = st.sessions.find(s.goal); i != st.sessions.end() && i->second.step == s.step) {
    i->second.finished = std::move(s.finished); // asked again while it runs: the newest asker gets the answer
    return success();
  }
  for (std::size_t i = 0; i < s.order.studies.size(); ++i) {
    FLYWHEEL_TRY(auto config, config_of(s.order, s.order.studies[i], s.goal, s.step, st.context->epoch));
    if (i < known.size())
      config.known = known[i];
    s.studies.emplace_back(std::move(config));
  }
  journal_filter filter;
  filter.goal = s.goal;
  filter.step = s.step;
  FLYWHEEL_TRY(const auto events, st.log->read(filter));
  for (const auto& e : events)
    for (auto& study : s.studies)
      FLYWHEEL_CHECK(study.apply(e));
  s.generation = ++st.generations;
  if (!s.studies.empty())
    s.studies.front().begin_session(now(self));
  const auto goal = s.goal;
  st.sessions.insert_or_assign(goal, std::move(s));
  drive(self, goal);
  return success();
}

std::vector<study_summary> summaries(const std::vector<study_table>& studies) {
  std::vector<study_summary> out;
  for (const auto& s : studies)
    out.push_back(summarise(s));
  return out;
}

/// The search step: what the architect kept, with what is left of the budget.
caf::result<step_outcome> search(self_pointer self, const run_step& m) {
  auto& st = self->state;
  const auto refuse = [](const error& e) {
    step_outcome out;
    out.problem = e;
    return out;
  };
  const auto spec = goal_from_json(json::parse(m.spec_json, nullptr, false));
  if (!spec)
    return refuse(spec.error());
  auto plan = plan_search(*spec, json::parse(m.inputs_json, nullptr, false), st.context->slots(),
                          st.context->layout.trials() / m.goal);
  if (!plan)
    return refuse(plan.error());
  auto promise = self->make_response_promise<step_outcome>();
  session s;
  s.goal = m.goal;
  s.step = m.step;
  s.order = plan->order;
  s.finished = [promise, plan = *plan](fault problem, const std::vector<study_table>& studies) mutable {
    step_outcome out;
    out.problem = std::move(problem);
    if (!out.problem) {
      const auto ended = summaries(studies);
      const auto outputs = search_outputs(plan, ended);
      if (outputs["finalists"].empty()) {
        out.problem = error{errc::gate_failed, "no trial completed: " + (ended.empty() ? "nothing was left of the budget"
                                                                                      : ended.front().reason),
                            {}, "raise search.budget, or look at the trials: flywheel why search --all"};
      } else {
        const auto& best = outputs["finalists"][0];
        out.outputs_json = outputs.dump();
        out.summary = best.value("family", "") + " is best with " + format_number(std::round(best.value("value", 0.0) * 1e4) / 1e4) +
                      " in cross-validation (trial " + best.value("trial", "") + ")";
        for (const auto& e : ended)
          out.summary += "; " + e.study + ": " + e.reason;
      }
    }
    promise.deliver(std::move(out));
  };
  if (auto ok = open_session(self, std::move(s), plan->known); !ok)
    promise.deliver(refuse(ok.error()));
  return promise;
}

/// Studies that the architect ordered.
caf::result<study_report> look(self_pointer self, const run_study& m) {
  const auto refuse = [](const error& e) {
    study_report out;
    out.problem = e;
    return out;
  };
  auto order = order_from_json(json::parse(m.order_json, nullptr, false));
  if (!order)
    return refuse(order.error());
  auto promise = self->make_response_promise<study_report>();
  session s;
  s.goal = m.goal;
  s.step = m.step;
  s.order = std::move(*order);
  s.finished = [promise](fault problem, const std::vector<study_table>& studies) mutable {
    study_report out;
    out.problem = std::move(problem);
    json list = json::array();
    for (const auto& summary : summaries(studies))
      list.push_back(to_json(summary));
    out.studies_json = list.dump();
    promise.deliver(std::move(out));
  };
  if (auto ok = open_session(self, std::move(s), {}); !ok)
    promise.deliver(refuse(ok.error()));
  return promise;
}

trial_verdict judge(self_pointer self, const trial_progress& p) {
  auto& st = self->state;
  const auto i = st.sessions.find(p.goal);
  if (i == st.sessions.end() || i->second.now == i->second.studies.size())
    return {false};
  auto& s = i->second;
  const trial_report r{p.rung, static_cast<std::uint32_t>(p.resource), std::strtod(p.value.c_str(), nullptr),
                       std::strtod(p.standard_error.c_str(), nullptr)};
  const auto v = s.studies[s.now].on_report(p.trial, p.attempt, r, now(self));
  if (!record(self, s, v.drafts))
    return {false};
  return {v.go_on};
}

/// The workers are gone with the trainer: what ran is started again from its checkpoints.
void trials_lost(self_pointer self) {
  std::vector<std::string> goals;
  for (auto& [goal, s] : self->state.sessions) {
    if (s.now < s.studies.size())
      s.studies[s.now].begin_session(now(self));
    s.generation = ++self->state.generations;
    goals.push_back(goal);
  }
  for (const auto& goal : goals)
    drive(self, goal);
}

hpo_agent::behavior_type hpo(self_pointer self, const agent_context* context) {
  self->state.context = context;
  self->state.clock.emplace(*context->time);
  self->state.log.emplace(*context, "hpo");
  return {
      [=](const run_step& m) { return search(self, m); },
      [=](const run_study& m) { return look(self, m); },
      [=](const trial_progress& p) { return judge(self, p); },
      [=](const agent_restarted&) { trials_lost(self); },
      [=](tick_atom, const std::string& goal, std::uint64_t generation) {
        const auto i = self->state.sessions.find(goal);
        if (i != self->state.sessions.end() && i->second.generation == generation)
          drive(self, goal);
      },
      [=](const stop_step& m) {
        end_session(self, m.goal, fault{error{errc::cancelled, m.reason}});
      },
  };
}

} // namespace

hpo_agent spawn_hpo(caf::actor_system& system, const agent_context& context) {
  return spawn_on_own_thread(system, hpo, &context);
}

} // namespace flywheel
