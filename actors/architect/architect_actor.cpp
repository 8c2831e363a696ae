#include "actors/architect/architect_actor.hpp"

#include "actors/architect/architect_policy.hpp"
#include "actors/protocol/agent_directory.hpp"
#include "actors/protocol/blocking_job.hpp"
#include "actors/protocol/study_order.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/dataset/table_format.hpp"
#include "cluster/goal/goal_parser.hpp"

#include <algorithm>

namespace flywheel {
namespace {

using nlohmann::json;

/// An exploration that waits for hpo.
struct exploration {
  run_step step;
  std::string order_json;
  exploration_plan plan;
  bool maximise = true;
  mono_time started{};
  caf::typed_response_promise<step_outcome> promise;
};

struct architect_state {
  static inline const char* name = "architect";
  const agent_context* context = nullptr;
  std::optional<scribe> log;
  std::map<std::string, exploration> running; ///< by goal
};
using self_pointer = architect_agent::stateful_pointer<architect_state>;

json rejected_of(const std::vector<set_aside>& list, const char* verb) {
  json out = json::array();
  for (const auto& s : list)
    out.push_back({{"what", std::string{verb} + " " + s.family}, {"why", s.why}});
  return out;
}

/// The order for hpo: one study per look.
study_order order_of(const goal_spec& spec, const exploration_plan& plan, const learning_task& task, const json& ingest,
                     const agent_context& context, const std::string& goal) {
  study_order o;
  o.table = ingest.at("table").get<std::string>();
  o.folder = context.layout.trials() / goal;
  o.task = task;
  o.folds = spec.search.folds;
  o.seed = spec.search.seed;
  o.slots = spec.resources.slots == 0 ? context.slots() : std::min(spec.resources.slots, context.slots());
  o.memory_max = spec.resources.worker_memory;
  o.trial_seconds_max = static_cast<double>(spec.resources.trial_time_max.count()) / 1e9;
  for (const auto& look : plan.looks) {
    study_request r;
    r.study = "look-" + look.family;
    r.family = look.family;
    if (const auto* family = find_family(look.family))
      r.space = space_for(*family, spec.search);
    r.planned = look.planned;
    r.sampler = "random";
    r.pruner = "none";
    r.resource_max = look.resource_max;
    r.trials = look.trials;
    r.wall_seconds = look.wall_seconds;
    r.slot_seconds = look.slot_seconds;
    o.studies.push_back(std::move(r));
  }
  return o;
}

family_evidence evidence_of(const study_summary& s) {
  family_evidence e;
  e.family = s.family;
  e.trials = s.trials.size();
  for (const auto& t : s.trials) {
    // The best that was seen, also of a look that ran out of time before a trial was complete: it is still evidence.
    if (t.trial == s.best && (t.how == "completed" || t.resource > 0)) {
      e.trial = t.trial;
      e.value = t.value;
      e.standard_error = t.standard_error;
      e.fold_values = t.fold_values;
      e.seconds = t.seconds;
    }
    if (!t.cause.empty())
      e.failure = t.cause;
  }
  if (e.trial.empty() && e.failure.empty())
    e.failure = s.reason;
  return e;
}

/// What the looks found becomes the choice, its decisions and the step's outputs.
result<step_outcome> conclude(self_pointer self, const exploration& x, const study_report& report) {
  auto& st = self->state;
  if (report.problem)
    return report.problem.to_error();
  std::vector<study_summary> looks;
  std::vector<family_evidence> evidence;
  double slot_seconds = 0;
  std::uint64_t trials = 0;
  for (const auto& j : json::parse(report.studies_json, nullptr, false)) {
    FLYWHEEL_TRY(auto s, summary_from_json(j));
    evidence.push_back(evidence_of(s));
    slot_seconds += s.slot_seconds;
    trials += s.trials.size();
    looks.push_back(std::move(s));
  }
  const auto choice = choose_families(evidence, x.maximise);
  if (choice.kept.empty())
    return error{errc::gate_failed, "no family could be trained: " + choice.reason};

  json facts = json::array(), families = json::array(), kept = json::array(), studies = json::array();
  for (const auto& e : evidence)
    facts.push_back({{"family", e.family}, {"value", e.value}, {"standard_error", e.standard_error},
                     {"seconds", e.seconds}, {"trials", e.trials}, {"folds", e.fold_values}});
  std::vector<std::string> names;
  for (const auto& k : choice.kept) {
    names.push_back(k.family);
    kept.push_back({{"family", k.family}, {"share", k.share}, {"reason", k.reason}});
  }
  for (const auto& e : evidence) {
    const auto dropped = std::find_if(choice.dropped.begin(), choice.dropped.end(), [&](const set_aside& d) { return d.family == e.family; });
    families.push_back({{"family", e.family}, {"value", e.trial.empty() ? json() : json(e.value)},
                        {"standard_error", e.standard_error}, {"trials", e.trials},
                        {"kept", dropped == choice.dropped.end()},
                        {"reason", dropped == choice.dropped.end() ? "" : "dropped: " + dropped->why}});
  }
  for (const auto& s : looks)
    studies.push_back(to_json(s));
  FLYWHEEL_TRY([[maybe_unused]] const auto seq,
               st.log->write(st.log->decision(x.step.goal, x.step.step, "search " + join(names, " and "), choice.reason,
                                              {{"looks", facts}}, rejected_of(choice.dropped, "search"))));
  const double wall = static_cast<double>((st.context->time->mono() - x.started).count()) / 1e9;
  step_outcome out;
  out.outputs_json = json{{"kept", kept}, {"families", families}, {"studies", studies},
                          {"spent", {{"trials", trials}, {"wall_seconds", wall}, {"slot_seconds", slot_seconds}}}}
                         .dump();
  out.summary = choice.reason;
  return out;
}

void ask_hpo(self_pointer self, const std::string& goal) {
  auto& st = self->state;
  const auto& x = st.running.at(goal);
  cafx::request(self, st.context->agents->now().hpo, step_time_max, run_study{goal, x.step.step, x.order_json})
      .then(
          [=](const study_report& report) {
            const auto i = self->state.running.find(goal);
            if (i == self->state.running.end())
              return;
            auto done = std::move(i->second);
            self->state.running.erase(i);
            done.promise.deliver(outcome_of(conclude(self, done, report)));
          },
          [](const caf::error&) {}); // hpo died: agent_restarted follows and asks again
}

caf::result<step_outcome> explore(self_pointer self, const run_step& m) {
  auto& st = self->state;
  const auto prepare = [&]() -> result<exploration> {
    try {
      exploration x;
      x.step = m;
      x.started = st.context->time->mono();
      FLYWHEEL_TRY(const auto spec, goal_from_json(json::parse(m.spec_json, nullptr, false)));
      const auto inputs = json::parse(m.inputs_json, nullptr, false);
      const auto& ingest = inputs.at("ingest");
      FLYWHEEL_TRY(const auto task, task_from_json(ingest.at("task")));
      FLYWHEEL_TRY(const auto train, read_table(ingest.at("table").get<std::string>()));
      const auto facts = facts_of(train, task);
      std::vector<const family_info*> allowed;
      for (const auto& name : spec.search.families)
        if (const auto* family = find_family(name))
          allowed.push_back(family);
      explore_budget budget;
      budget.trials = spec.search.budget.trials;
      budget.wall_seconds = static_cast<double>(spec.search.budget.wall_time.count()) / 1e9;
      budget.slot_seconds = spec.search.budget.slot_seconds;
      budget.slots = spec.resources.slots == 0 ? st.context->slots() : std::min(spec.resources.slots, st.context->slots());
      x.plan = plan_exploration(allowed, facts, budget);
      x.maximise = higher_is_better(task.metric);
      if (x.plan.looks.empty())
        return error{errc::invalid_goal, "no family of search.families can be tried: " + x.plan.reason};
      std::vector<event_draft> drafts;
      drafts.push_back(st.log->decision(m.goal, m.step, "look at " + std::to_string(x.plan.looks.size()) + " families first",
                                        x.plan.reason, {{"data", describe(facts)}}, rejected_of(x.plan.skipped, "try")));
      for (const auto& look : x.plan.looks)
        drafts.push_back(st.log->decision(m.goal, m.step, "try " + look.family + " in " + std::to_string(look.trials) + " cheap trials",
                                          look.reason, {{"seconds", look.wall_seconds}, {"resource", look.resource_max}}, json::array()));
      if (m.attempt == 1) { // the plan is a pure function of its inputs: a later attempt would only say it again
        FLYWHEEL_TRY([[maybe_unused]] const auto seq, st.log->write(std::move(drafts)));
      }
      x.order_json = to_json(order_of(spec, x.plan, task, ingest, *st.context, m.goal)).dump();
      return x;
    } catch (const json::exception& e) {
      return error{errc::internal, std::string{"the explore step's inputs: "} + e.what()};
    }
  };
  auto x = prepare();
  if (!x) {
    step_outcome out;
    out.problem = x.error();
    return out;
  }
  auto promise = self->make_response_promise<step_outcome>();
  x->promise = promise;
  st.running.insert_or_assign(m.goal, std::move(*x));
  ask_hpo(self, m.goal);
  return promise;
}

architect_agent::behavior_type architect(self_pointer self, const agent_context* context) {
  self->state.context = context;
  self->state.log.emplace(*context, "architect");
  return {
      [=](const run_step& m) { return explore(self, m); },
      [=](const agent_restarted&) {
        for (const auto& [goal, x] : self->state.running)
          ask_hpo(self, goal);
      },
      [=](const stop_step& m) { self->state.running.erase(m.goal); },
  };
}

} // namespace

architect_agent spawn_architect(caf::actor_system& system, const agent_context& context) {
  return spawn_on_own_thread(system, architect, &context);
}

} // namespace flywheel
