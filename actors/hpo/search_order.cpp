#include "actors/hpo/search_order.hpp"

#include "actors/hpo/halving_pruner.hpp"
#include "actors/hpo/sampler.hpp"
#include "cluster/base/json.hpp"

#include <algorithm>
#include <cmath>

namespace flywheel {

using nlohmann::json;

namespace {

nanoseconds from_seconds(double s) { return nanoseconds{static_cast<std::int64_t>(s * 1e9)}; }

std::string_view name_of_end(trial_outcome how) {
  switch (how) {
  case trial_outcome::running: return "running";
  case trial_outcome::completed: return "completed";
  case trial_outcome::pruned: return "pruned";
  case trial_outcome::failed: return "failed";
  }
  return "failed";
}

trial_outcome end_from_name(const std::string& name) {
  return name == "completed" ? trial_outcome::completed : name == "pruned" ? trial_outcome::pruned : trial_outcome::failed;
}

std::vector<past_trial> past_of(const study_summary& s) {
  std::vector<past_trial> out;
  for (const auto& t : s.trials)
    // A look had fewer units than a full trial: for the sampler it is a trial that was cut there, not a full one.
    if (t.how != "running")
      out.push_back({static_cast<std::uint32_t>(out.size()), t.params,
                     t.how == "completed" ? trial_outcome::pruned : end_from_name(t.how), t.value, t.resource});
  return out;
}

const study_trial* best_of(const study_summary& s) {
  const auto i = std::find_if(s.trials.begin(), s.trials.end(), [&](const study_trial& t) { return t.trial == s.best; });
  return i == s.trials.end() ? nullptr : &*i;
}

/// What was planned, within the space that was asked for; settings that the space does not have stay as they are.
param_set fitted(const search_space& space, const param_set& params) {
  auto out = params;
  for (auto& [name, value] : clamp_into(space, params))
    out[name] = value;
  return out;
}

} // namespace

result<study_config> config_of(const study_order& order, const study_request& request, const std::string& goal,
                               const std::string& step, std::uint64_t epoch) {
  const auto* family = find_family(request.family);
  if (family == nullptr)
    return error{errc::not_found, "no family is called '" + request.family + "'"};
  study_config c;
  c.goal = goal;
  c.step = step;
  c.epoch = epoch;
  c.study = request.study;
  c.family = request.family;
  c.space = request.space.empty() ? family->space : request.space;
  for (const auto& [params, reason] : request.planned)
    c.planned.push_back({fitted(c.space, params), reason});
  c.sampler = request.sampler;
  c.pruner = request.pruner;
  c.maximise = higher_is_better(order.task.metric);
  c.seed = order.seed;
  c.folds = order.folds;
  c.resource_max = request.resource_max == 0 ? family->resource_max : request.resource_max;
  c.rungs = make_rungs(c.resource_max, std::max(1u, c.resource_max / 9));
  c.parallel = std::max(1u, order.slots);
  c.budget.trials = request.trials;
  c.budget.wall_time = from_seconds(request.wall_seconds);
  c.budget.slot_seconds = request.slot_seconds;
  c.trial_time_max = from_seconds(order.trial_seconds_max);
  c.stop.patience = request.patience;
  c.stop.good_enough = request.good_enough;
  FLYWHEEL_CHECK(check_config(c));
  return c;
}

result<search_plan> plan_search(const goal_spec& spec, const json& inputs, unsigned cores,
                                const std::filesystem::path& trials_folder) {
  search_plan plan;
  try {
    const auto& ingest = inputs.at("ingest");
    const auto& explore = inputs.at("explore");
    auto& o = plan.order;
    o.table = ingest.at("table").get<std::string>();
    o.folder = trials_folder;
    FLYWHEEL_TRY(o.task, task_from_json(ingest.at("task")));
    o.folds = spec.search.folds;
    o.seed = spec.search.seed;
    o.slots = spec.resources.slots == 0 ? cores : std::min(spec.resources.slots, cores);
    o.memory_max = spec.resources.worker_memory;
    o.trial_seconds_max = static_cast<double>(spec.resources.trial_time_max.count()) / 1e9;
    for (const auto& s : explore.at("studies")) {
      FLYWHEEL_TRY(auto summary, summary_from_json(s));
      plan.looks.push_back(std::move(summary));
    }
    const auto& spent = explore.at("spent");
    const auto& budget = spec.search.budget;
    const auto used = spent.at("trials").get<std::uint64_t>();
    const double trials = static_cast<double>(budget.trials > used ? budget.trials - used : 0);
    const double wall = std::max(0.0, static_cast<double>(budget.wall_time.count()) / 1e9 -
                                          spent.at("wall_seconds").get<double>());
    const double slot = std::max(0.0, budget.slot_seconds - spent.at("slot_seconds").get<double>());
    for (const auto& kept : explore.at("kept")) {
      const auto name = kept.at("family").get<std::string>();
      const double share = kept.at("share").get<double>();
      const auto* family = find_family(name);
      if (family == nullptr)
        return error{errc::not_found, "no family is called '" + name + "'"};
      study_request r;
      r.study = name;
      r.family = name;
      r.space = space_for(*family, spec.search);
      r.sampler = spec.search.sampler;
      r.pruner = spec.search.pruner;
      r.resource_max = family->resource_max;
      if (spec.search.stop == "threshold")
        r.good_enough = spec.metric.threshold;
      r.trials = static_cast<std::uint64_t>(std::floor(trials * share));
      r.wall_seconds = wall * share;
      r.slot_seconds = slot * share;
      std::vector<past_trial> known;
      for (const auto& look : plan.looks)
        if (look.family == name)
          known = past_of(look);
      if (r.trials == 0 || r.wall_seconds < 1)
        continue; // nothing is left to search with; what was explored stands
      plan.known.push_back(std::move(known));
      o.studies.push_back(std::move(r));
    }
    return plan;
  } catch (const json::exception& e) {
    return error{errc::internal, std::string{"the search step's inputs: "} + e.what()};
  }
}

study_summary summarise(const study_table& t) {
  const auto v = t.verdict();
  study_summary s;
  s.study = t.config().study;
  s.family = t.config().family;
  s.ended = name_of(v.why);
  s.reason = v.reason;
  s.slot_seconds = static_cast<double>(v.spent.slots.count()) / 1e9;
  s.resource_max = t.config().resource_max;
  if (v.best)
    s.best = v.best->id;
  for (const auto& [number, r] : t.trials()) {
    study_trial out;
    out.trial = r.id;
    out.how = name_of_end(r.how);
    out.params = r.params;
    out.value = r.value;
    out.standard_error = r.standard_error;
    out.seconds = r.seconds;
    out.resource = r.resource;
    out.fold_values = r.fold_values;
    if (r.cause.code != errc::ok)
      out.cause = r.cause.to_string();
    s.trials.push_back(std::move(out));
  }
  return s;
}

json search_outputs(const search_plan& plan, const std::vector<study_summary>& studies) {
  struct candidate { const study_trial* trial; std::string family; std::uint32_t resource_max; };
  std::vector<candidate> best;
  const bool maximise = higher_is_better(plan.order.task.metric);
  const auto better = [&](const study_trial& a, const study_trial& b) {
    if ((a.how == "completed") != (b.how == "completed"))
      return a.how == "completed";
    return maximise ? a.value > b.value : a.value < b.value;
  };
  const auto consider = [&](const study_summary& s) {
    const auto* t = best_of(s);
    if (t == nullptr)
      return;
    const auto i = std::find_if(best.begin(), best.end(), [&](const candidate& c) { return c.family == s.family; });
    if (i == best.end())
      best.push_back({t, s.family, s.resource_max});
    else if (better(*t, *i->trial))
      *i = {t, s.family, s.resource_max};
  };
  for (const auto& s : plan.looks)
    consider(s);
  for (const auto& s : studies)
    consider(s);
  std::stable_sort(best.begin(), best.end(), [&](const auto& a, const auto& b) { return better(*a.trial, *b.trial); });

  json finalists = json::array();
  for (const auto& c : best) {
    trial_spec spec;
    spec.trial = c.trial->trial;
    spec.family = c.family;
    spec.params = c.trial->params;
    spec.folds = plan.order.folds;
    // The schedule of the trial itself; the fit then stops where the trial was best.
    const auto resource = std::max(1u, c.trial->resource);
    spec.resource_max = std::max(resource, c.resource_max);
    spec.rungs = {spec.resource_max};
    spec.seed = plan.order.seed;
    spec.threads = 1; // finalists are fitted beside each other; more threads each only wait for a busy core (measured: 30x)
    const json job{{"kind", "fit"},     {"table", plan.order.table.string()}, {"folder", plan.order.folder.string()},
                   {"task", to_json(plan.order.task)}, {"spec", to_json(spec)}, {"resource", resource}};
    std::uint64_t searched = 0;
    for (const auto& s : studies)
      if (s.family == c.family)
        searched += s.trials.size();
    finalists.push_back({{"family", c.family}, {"trial", c.trial->trial}, {"value", c.trial->value},
                         {"standard_error", c.trial->standard_error}, {"resource", resource},
                         {"params", to_json(c.trial->params)}, {"fold_values", c.trial->fold_values},
                         {"trials", searched}, {"job", job}});
  }
  json summaries = json::array();
  for (const auto& s : studies)
    summaries.push_back({{"study", s.study}, {"ended", s.ended}, {"reason", s.reason}, {"trials", s.trials.size()},
                         {"slot_seconds", s.slot_seconds}});
  return {{"finalists", finalists}, {"studies", summaries}};
}

} // namespace flywheel
