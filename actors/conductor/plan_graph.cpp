#include "actors/conductor/plan_graph.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/content/digest.hpp"

#include <algorithm>
#include <map>

namespace flywheel {

using nlohmann::json;

namespace {

double seconds_of(nanoseconds d) { return static_cast<double>(d.count()) / 1e9; }

} // namespace

const plan_step* plan_graph::find(std::string_view id) const noexcept {
  const auto i = std::find_if(steps.begin(), steps.end(), [&](const plan_step& s) { return s.id == id; });
  return i == steps.end() ? nullptr : &*i;
}

double plan_graph::seconds() const {
  std::map<std::string, double, std::less<>> end; // steps are in topological order
  double longest = 0;
  for (const auto& s : steps) {
    double start = 0;
    for (const auto& n : s.needs)
      start = std::max(start, end[n]);
    longest = std::max(longest, end[s.id] = start + s.seconds);
  }
  return longest;
}

double plan_graph::slot_seconds() const {
  double sum = 0;
  for (const auto& s : steps)
    sum += s.slot_seconds;
  return sum;
}

plan_graph make_plan(const std::string& goal, const std::string& goal_digest, const goal_spec& spec,
                     std::uint64_t source_bytes, unsigned cores, const std::string& origin) {
  const std::uint32_t slots = spec.resources.slots == 0 ? cores : std::min(spec.resources.slots, cores);
  const double megabytes = static_cast<double>(source_bytes) / 1e6;
  const double wall = std::min(seconds_of(spec.search.budget.wall_time), spec.search.budget.slot_seconds / slots);
  const double explore = wall * 0.25;
  const std::string families = join(spec.search.families, ", ");

  plan_graph p;
  p.goal = goal;
  p.goal_digest = goal_digest;
  p.steps = {
      {"ingest", "data_steward", "check, clean, split and seal the data", {}, {}, false, 1, 0.1 + megabytes / 200,
       0.1 + megabytes / 200, "file size at 200 MB/s"},
      {"baseline", "evaluator", "judge the present champion on the new held-out rows", {"ingest"}, {}, false, 1,
       0.1 + megabytes / 100, 0.1 + megabytes / 100, "file size at 100 MB/s"},
      {"explore", "architect", "try cheap models of " + families, {"ingest"}, {}, false, slots, explore,
       explore * slots, "a quarter of search.budget at most"},
      {"search", "hpo", "tune what the architect chose (" + spec.search.sampler + ")", {"explore"}, {}, false, slots,
       wall - explore, (wall - explore) * slots, "the rest of search.budget at most"},
      {"train", "trainer", "fit the best configuration of each finalist on all training rows", {"search"}, {}, false,
       slots, 2 + megabytes, (2 + megabytes) * slots, "1 MB/s per slot"},
      {"evaluate", "evaluator", "judge on held-out rows: " + spec.metric.name + " >= " +
                                    format_number(spec.metric.threshold), {"train", "baseline"}, {}, false, 1,
       0.5 + megabytes / 100, 0.5 + megabytes / 100, "file size at 100 MB/s"},
      {"release", "deployer", "register the version with its lineage", {"evaluate"}, {}, true, 0, 0.1, 0,
       "one publish"},
      {"rollout", "deployer", "serve it in steps", {"release"}, "rollout", true, 0,
       seconds_of(spec.policy.rollout.step_time_min) * static_cast<double>(spec.policy.rollout.steps.size()) + 1, 0,
       "policy.rollout.steps x step_time_min"},
      {"watch", "monitor", "watch for drift", {"rollout"}, {}, false, 0, 0.1, 0, "start only; it goes on while serving"},
  };
  std::vector<std::string> percents;
  for (const double s : spec.policy.rollout.steps)
    percents.push_back(format_number(s));
  for (auto& s : p.steps)
    if (s.id == "rollout")
      s.title = "serve it in steps of " + join(percents, " -> ") + " % of traffic";
  const auto& rules = spec.policy.approvals;
  if (origin == "retrain" && std::any_of(rules.begin(), rules.end(), [](const auto& r) { return r.action == "retrain"; }))
    p.steps.front().approval = "retrain";
  return p;
}

json to_json(const plan_graph& p) {
  json steps = json::array();
  for (const auto& s : p.steps)
    steps.push_back({{"id", s.id}, {"agent", s.agent}, {"title", s.title}, {"needs", s.needs},
                     {"approval", s.approval}, {"effect", s.effect}, {"slots", s.slots}, {"seconds", s.seconds},
                     {"slot_seconds", s.slot_seconds}, {"estimate_from", s.estimate_from}});
  return {{"goal", p.goal}, {"goal_digest", p.goal_digest}, {"steps", steps}};
}

result<plan_graph> plan_from_json(const json& j) {
  try {
    plan_graph p;
    j.at("goal").get_to(p.goal);
    j.at("goal_digest").get_to(p.goal_digest);
    for (const auto& s : j.at("steps"))
      p.steps.push_back({s.at("id"), s.at("agent"), s.at("title"), s.at("needs"), s.at("approval"), s.at("effect"),
                         s.at("slots"), s.at("seconds"), s.at("slot_seconds"), s.at("estimate_from")});
    return p;
  } catch (const json::exception& e) {
    return error{errc::invalid_format, std::string{"plan: "} + e.what()};
  }
}

std::string plan_digest(const plan_graph& p) {
  hasher h;
  h.field("flywheel plan 1").field(p.goal).field(p.goal_digest).field(static_cast<std::uint64_t>(p.steps.size()));
  for (const auto& s : p.steps) {
    h.field(s.id).field(s.agent).field(s.approval).field(std::uint64_t{s.effect}).field(
        static_cast<std::uint64_t>(s.needs.size()));
    for (const auto& n : s.needs)
      h.field(n);
  }
  return h.finish().hex();
}

} // namespace flywheel
