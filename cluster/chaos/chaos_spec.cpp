#include "cluster/chaos/chaos_spec.hpp"

#include "cluster/base/ids.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/goal/goal_reader.hpp"
#include "cluster/goal/schema_access.hpp"

#include <algorithm>
#include <set>

namespace flywheel {
namespace {

using enum field_type;
using schema_access::defaults;
using schema_access::leaf;
using schema_access::sub;
using schema_access::subs;
using std::chrono::hours;

constexpr double day = 86400, gib_max = 64.0 * 1024 * 1024 * 1024;

const schema_record& selector_record() {
  static const schema_record r{
      "which nodes are struck",
      {{.key = "nodes", .type = text, .at = leaf<&chaos_selector::nodes>(), .help = "Nodes by name; empty: every node.", .example = "[node1]", .list = true},
       {.key = "role", .type = choice, .at = leaf<&chaos_selector::role>(), .help = "Only the head, or only the others.", .example = "node",
        .values = {"any", "head", "node"}}},
      defaults<chaos_selector>(), ""};
  return r;
}

const schema_record& delay_record() {
  static const schema_record r{
      "packets that come late",
      {{.key = "latency", .type = duration, .at = leaf<&chaos_delay::latency>(), .help = "By how much.", .example = "100ms", .min = 0, .max = 60, .above_min = true},
       {.key = "jitter", .type = duration, .at = leaf<&chaos_delay::jitter>(), .help = "More or less.", .example = "20ms", .min = 0, .max = 60},
       {.key = "correlation", .type = percent, .at = leaf<&chaos_delay::correlation>(), .help = "How much the next depends on the last.", .example = "25",
        .min = 0, .max = 100}},
      defaults<chaos_delay>(), ""};
  return r;
}

const schema_record& loss_record() {
  static const schema_record r{
      "packets that are lost",
      {{.key = "loss", .type = percent, .at = leaf<&chaos_loss::loss>(), .help = "How many.", .example = "25", .min = 0, .max = 100, .above_min = true},
       {.key = "correlation", .type = percent, .at = leaf<&chaos_loss::correlation>(), .help = "How much the next depends on the last.", .example = "25",
        .min = 0, .max = 100}},
      defaults<chaos_loss>(), ""};
  return r;
}

const schema_record& bandwidth_record() {
  static const schema_record r{
      "a thin link",
      {{.key = "rate", .type = bytes, .at = leaf<&chaos_bandwidth::rate>(), .help = "Bytes in a second.", .example = "1MiB", .min = 1024, .max = gib_max},
       {.key = "limit", .type = bytes, .at = leaf<&chaos_bandwidth::limit>(), .help = "Bytes that wait; more are lost.", .example = "1MiB", .min = 2048, .max = gib_max},
       {.key = "buffer", .type = bytes, .at = leaf<&chaos_bandwidth::buffer>(), .help = "Bytes that may come at once.", .example = "32KiB", .min = 2048,
        .max = gib_max}},
      defaults<chaos_bandwidth>(), ""};
  return r;
}

const schema_record& experiment_record() {
  static const schema_record r{
      "one sort of fault, struck once or again and again",
      {{.key = "name", .type = name, .at = leaf<&chaos_experiment::name>(), .help = "What it is called in reports.", .example = "workers", .required = true},
       {.key = "kind", .type = choice, .at = leaf<&chaos_experiment::kind>(), .help = "The sort of fault.", .example = "PodChaos", .required = true,
        .values = {"PodChaos", "NetworkChaos", "IOChaos", "TimeChaos", "StressChaos", "PhysicalMachineChaos"}},
       {.key = "action", .type = text, .at = leaf<&chaos_experiment::action>(), .help = "What is done; TimeChaos and StressChaos have none.", .example = "pod-kill"},
       {.key = "selector", .type = record, .at = sub<&chaos_experiment::selector>(), .help = "Which nodes are struck.", .of = &selector_record()},
       {.key = "containerNames", .type = text, .at = leaf<&chaos_experiment::containers>(),
        .help = "What in a node is struck: worker, rank, rank-N, or agents by name.", .example = "[worker]", .list = true},
       {.key = "mode", .type = choice, .at = leaf<&chaos_experiment::mode>(), .help = "How many of those that are selected.", .example = "one",
        .values = {"one", "all", "fixed", "fixed-percent", "random-max-percent"}},
       {.key = "value", .type = label, .at = leaf<&chaos_experiment::value>(), .help = "Of the modes fixed, fixed-percent and random-max-percent.", .example = "\"50\""},
       {.key = "schedule", .type = text, .at = leaf<&chaos_experiment::schedule>(), .help = "When it is struck again; empty: once.", .example = "\"@every 5s\""},
       {.key = "startAfter", .type = duration, .at = leaf<&chaos_experiment::start_after>(), .help = "Before the first stroke.", .example = "2s", .min = 0, .max = day},
       {.key = "jitter", .type = duration, .at = leaf<&chaos_experiment::jitter>(), .help = "Each stroke falls up to so much later, by chance.", .example = "1s",
        .min = 0, .max = day},
       {.key = "count", .type = integer, .at = leaf<&chaos_experiment::count>(), .help = "Strokes at most; 0: as many as the time allows.", .example = "10", .min = 0,
        .max = 1e6},
       {.key = "duration", .type = duration, .at = leaf<&chaos_experiment::duration>(), .help = "How long it lasts, where it is no kill.", .example = "3s", .min = 0,
        .max = 3600, .above_min = true},
       {.key = "gracePeriod", .type = duration, .at = leaf<&chaos_experiment::grace_period>(), .help = "Of pod-kill: SIGTERM so long before SIGKILL.",
        .example = "2s", .min = 0, .max = 3600},
       {.key = "restart", .type = boolean, .at = leaf<&chaos_experiment::restart>(),
        .help = "Of pod-kill: start the node again as it was started; false where a service manager does.", .example = "true"},
       {.key = "restartAfter", .type = duration, .at = leaf<&chaos_experiment::restart_after>(), .help = "So long after its end.", .example = "1s", .min = 0, .max = 3600},
       {.key = "direction", .type = choice, .at = leaf<&chaos_experiment::direction>(), .help = "Packets to the head, from it, or both.", .example = "both",
        .values = {"to", "from", "both"}},
       {.key = "delay", .type = record, .at = sub<&chaos_experiment::delay>(), .help = "Of NetworkChaos delay.", .of = &delay_record()},
       {.key = "loss", .type = record, .at = sub<&chaos_experiment::loss>(), .help = "Of NetworkChaos loss.", .of = &loss_record()},
       {.key = "bandwidth", .type = record, .at = sub<&chaos_experiment::bandwidth>(), .help = "Of NetworkChaos bandwidth.", .of = &bandwidth_record()},
       {.key = "timeOffset", .type = text, .at = leaf<&chaos_experiment::time_offset>(), .help = "Of TimeChaos: by how much the head's wall clock is wrong.",
        .example = "\"-10m\""},
       {.key = "size", .type = bytes, .at = leaf<&chaos_experiment::size>(), .help = "Of disk-fill: bytes of ballast in the state folder's file system.",
        .example = "1GiB", .min = 1, .max = 16.0 * gib_max},
       {.key = "workers", .type = integer, .at = leaf<&chaos_experiment::workers>(), .help = "Of StressChaos: processes that burn CPU time.", .example = "2", .min = 1,
        .max = 256}},
      defaults<chaos_experiment>(), ""};
  return r;
}

const schema_record& load_record() {
  static const schema_record r{
      "goals that are submitted meanwhile",
      {{.key = "goal", .type = path, .at = leaf<&chaos_load::goal>(), .help = "The goal file; copies of it are submitted under other names.",
        .example = "churn/goal.yaml", .required = true},
       {.key = "count", .type = integer, .at = leaf<&chaos_load::count>(), .help = "How many.", .example = "3", .min = 1, .max = 10000},
       {.key = "every", .type = duration, .at = leaf<&chaos_load::every>(), .help = "One every so often.", .example = "5s", .min = 0, .max = 3600},
       {.key = "approve", .type = boolean, .at = leaf<&chaos_load::approve>(), .help = "Approve them in advance, so that they go as far as production.", .example = "true"}},
      defaults<chaos_load>(), "goal"};
  return r;
}

const schema_record& chaos_record() {
  static const schema_record r{
      "faults that a cluster must bear",
      {{.key = "flywheel_chaos", .type = integer, .at = leaf<&chaos_spec::version>(), .help = "Version of this format.", .example = "1", .required = true, .min = 1,
        .max = 1},
       {.key = "name", .type = name, .at = leaf<&chaos_spec::name>(), .help = "What the rehearsal is called; a goal's policy may ask for it.", .example = "nightly",
        .required = true},
       {.key = "description", .type = text, .at = leaf<&chaos_spec::description>(), .help = "One sentence for people.", .example = "What a bad night looks like."},
       {.key = "duration", .type = duration, .at = leaf<&chaos_spec::duration>(), .help = "Strokes fall in this time.", .example = "1m", .min = 0, .max = day,
        .above_min = true},
       {.key = "settle", .type = duration, .at = leaf<&chaos_spec::settle>(), .help = "How long goals may then take to end.", .example = "5m", .min = 0, .max = day,
        .above_min = true},
       {.key = "load", .type = record, .at = sub<&chaos_spec::load>(), .help = "Goals that are submitted meanwhile.", .of = &load_record()},
       {.key = "experiments", .type = records, .at = subs<&chaos_spec::experiments>(), .help = "The faults.", .required = true, .of = &experiment_record()}},
      defaults<chaos_spec>(), ""};
  return r;
}

/// What an action is, and which fields say something with it.
struct action_rule {
  std::string_view kind, action;
  std::set<std::string_view> fields;
  bool lasts = false;      ///< needs a duration
  std::string_view needs{}; ///< the field without which it means nothing
};
const std::vector<action_rule>& action_rules() {
  static const std::vector<action_rule> rules{
      {"PodChaos", "pod-kill", {"gracePeriod", "restart", "restartAfter"}},
      {"PodChaos", "pod-failure", {"containerNames"}, true},
      {"PodChaos", "container-kill", {"containerNames"}, false, "containerNames"},
      {"NetworkChaos", "partition", {"direction"}, true},
      {"NetworkChaos", "delay", {"direction", "delay"}, true, "delay.latency"},
      {"NetworkChaos", "loss", {"direction", "loss"}, true, "loss.loss"},
      {"NetworkChaos", "bandwidth", {"direction", "bandwidth"}, true, "bandwidth.rate"},
      {"IOChaos", "latency", {}},
      {"IOChaos", "fault", {}},
      {"IOChaos", "attrOverride", {}},
      {"IOChaos", "mistake", {}},
      {"TimeChaos", "", {"timeOffset"}, true, "timeOffset"},
      {"StressChaos", "", {"workers"}, true},
      {"PhysicalMachineChaos", "disk-fill", {"size"}, true, "size"},
  };
  return rules;
}
constexpr std::string_view special[] = {"containerNames", "gracePeriod", "restart", "restartAfter", "direction", "delay",
                                        "loss",           "bandwidth",   "timeOffset", "size",      "workers"};

result<nanoseconds> parse_every(std::string_view text) {
  constexpr std::string_view every = "@every ";
  if (!text.starts_with(every))
    return error{errc::invalid_argument, "a schedule is \"@every D\", such as \"@every 5s\""};
  FLYWHEEL_TRY(const auto d, parse_duration(trim(text.substr(every.size()))));
  if (d < std::chrono::milliseconds{100} || d > hours{24})
    return error{errc::invalid_argument, "a schedule strikes every 100ms to 24h"};
  return d;
}

result<nanoseconds> parse_offset(std::string_view text) {
  const bool back = text.starts_with('-');
  FLYWHEEL_TRY(const auto d, parse_duration(text.substr(back || text.starts_with('+') ? 1 : 0)));
  if (d.count() == 0 || d > hours{24 * 3650})
    return error{errc::invalid_argument, "a clock is wrong by more than nothing and at most ten years"};
  return back ? -d : d;
}

/// A whole number from `low` to `high`, whole text.
bool number_within(std::string_view text, double low, double high) {
  const auto x = plain_number(text);
  return x && *x >= low && *x <= high && *x == static_cast<double>(static_cast<std::int64_t>(*x));
}

class chaos_checker {
public:
  chaos_checker(goal_problems& problems, const goal_places& places) : problems_(problems), places_(places) {}

  void check(const chaos_spec& s) const {
    if (s.experiments.empty() && !problems_.any_error())
      error_at("experiments", "missing", "there is nothing to do: list at least one experiment");
    std::set<std::string_view> names;
    for (std::size_t i = 0; i < s.experiments.size() && !problems_.full(); ++i) {
      const auto& e = s.experiments[i];
      const auto path = "experiments[" + std::to_string(i) + "]";
      if (!e.name.empty() && !names.insert(e.name).second)
        error_at(path + ".name", "duplicate", "an experiment is called '" + e.name + "' already");
      check_experiment(e, path, s);
    }
  }

private:
  void error_at(const std::string& path, std::string rule, std::string message, std::string suggestion = {}) const {
    problems_.error(places_.of(path), path, std::move(rule), std::move(message), std::move(suggestion));
  }

  const action_rule* rule_of(const chaos_experiment& e, const std::string& path) const {
    std::vector<std::string> actions;
    for (const auto& r : action_rules()) {
      if (r.kind == e.kind && r.action == e.action)
        return &r;
      if (r.kind == e.kind)
        actions.emplace_back(r.action);
    }
    if (actions.empty())
      return nullptr; // an unknown kind, which the reader has said
    const auto there = places_.has(path + ".action") ? path + ".action" : path;
    if (actions.front().empty())
      error_at(there, "conflict", e.kind + " has no action");
    else
      error_at(there, e.action.empty() ? "missing" : "choice",
               (e.action.empty() ? e.kind + " needs an action" : "'" + printable(e.action, 60) + "' is no action of " + e.kind) + ": " + join(actions, ", "),
               std::string{nearest(e.action, actions)});
    return nullptr;
  }

  void check_experiment(const chaos_experiment& e, const std::string& path, const chaos_spec& s) const {
    check_when(e, path, s);
    check_mode(e, path);
    const auto* rule = rule_of(e, path);
    if (rule == nullptr)
      return;
    const auto shown = e.kind + (e.action.empty() ? "" : " " + e.action);
    for (const auto field : special)
      if (places_.has(path + "." + std::string{field}) && !rule->fields.contains(field))
        error_at(path + "." + std::string{field}, "conflict", "'" + std::string{field} + "' says nothing with " + shown);
    if (!rule->needs.empty() && !places_.has(path + "." + std::string{rule->needs}))
      error_at(path, "missing", shown + " needs '" + std::string{rule->needs} + "'");
    if (rule->lasts && !e.duration)
      error_at(path, "missing", shown + " needs 'duration': how long it lasts");
    if (!rule->lasts && e.duration)
      error_at(path + ".duration", "conflict", "'duration' says nothing with " + shown);
    check_containers(e, path);
    if (!e.time_offset.empty())
      if (const auto offset = parse_offset(e.time_offset); !offset)
        error_at(path + ".timeOffset", "unit", "'" + printable(e.time_offset, 60) + "': " + offset.error().what, "-10m");
  }

  void check_when(const chaos_experiment& e, const std::string& path, const chaos_spec& s) const {
    nanoseconds every{0};
    if (!e.schedule.empty()) {
      if (const auto parsed = parse_every(e.schedule); parsed)
        every = *parsed;
      else
        error_at(path + ".schedule", "unit", "'" + printable(e.schedule, 60) + "': " + parsed.error().what, "@every 5s");
    }
    if (e.schedule.empty() && e.count > 1)
      error_at(path + ".count", "conflict", "without a schedule it is struck once", "1");
    if (every.count() > 0 && e.jitter > every)
      error_at(path + ".jitter", "conflict", "a jitter above the time between two strokes would change their order");
    if (e.start_after >= s.duration)
      error_at(path + ".startAfter", "conflict", "it would be struck after the rehearsal's duration of " + exact_duration(s.duration));
  }

  void check_mode(const chaos_experiment& e, const std::string& path) const {
    const bool fixed = e.mode == "fixed", percent_of = e.mode == "fixed-percent" || e.mode == "random-max-percent";
    if ((fixed || percent_of) && e.value.empty())
      error_at(places_.has(path + ".mode") ? path + ".mode" : path, "missing", "the mode " + e.mode + " needs a 'value'");
    else if (fixed && !number_within(e.value, 1, 1e6))
      error_at(path + ".value", "range", "of the mode fixed it is a whole number from 1 on");
    else if (percent_of && !number_within(e.value, 0, 100))
      error_at(path + ".value", "range", "of the mode " + e.mode + " it is a whole number of percent, 0 to 100");
    else if (!fixed && !percent_of && !e.value.empty())
      error_at(path + ".value", "conflict", "'value' says nothing with the mode " + e.mode);
  }

  void check_containers(const chaos_experiment& e, const std::string& path) const {
    bool agents = false, processes = false;
    for (std::size_t i = 0; i < e.containers.size(); ++i) {
      const auto& c = e.containers[i];
      const auto here = path + ".containerNames[" + std::to_string(i) + "]";
      const bool rank = c == "rank" || (c.starts_with("rank-") && number_within(std::string_view{c}.substr(5), 0, 1e6));
      const bool agent = std::find(agent_names().begin(), agent_names().end(), c) != agent_names().end();
      if (!rank && !agent && c != "worker") {
        auto known = agent_names();
        known.insert(known.end(), {"worker", "rank"});
        error_at(here, "choice", "'" + printable(c, 60) + "' is none of worker, rank, rank-N, " + join(agent_names(), ", "), std::string{nearest(c, known)});
      }
      agents = agents || agent;
      processes = processes || !agent;
    }
    if (agents && processes)
      error_at(path + ".containerNames", "conflict", "agents and processes cannot be chosen from together: make two experiments");
    if (agents && e.action == "pod-failure")
      error_at(path + ".containerNames", "conflict", "an agent is part of its node's process and cannot be frozen alone; freeze the node, or end the agent",
               "container-kill");
    if (agents && e.selector.role == "node")
      error_at(path + ".selector.role", "conflict", "agents run on the head");
  }

  goal_problems& problems_;
  const goal_places& places_;
};

} // namespace

const std::vector<std::string>& agent_names() {
  static const std::vector<std::string> names{"conductor", "data_steward", "architect", "hpo", "trainer", "evaluator", "deployer", "monitor", "learner"};
  return names;
}

bool strikes_agents(const chaos_experiment& e) {
  return !e.containers.empty() && std::find(agent_names().begin(), agent_names().end(), e.containers.front()) != agent_names().end();
}

bool strikes_machine(const chaos_experiment& e) { return e.kind == "StressChaos" || e.kind == "PhysicalMachineChaos"; }

nanoseconds chaos_experiment::every() const { return parse_every(schedule).value_or(nanoseconds{0}); }
nanoseconds chaos_experiment::offset() const { return parse_offset(time_offset).value_or(nanoseconds{0}); }

chaos_parse parse_chaos(std::string_view text, const std::filesystem::path& folder) {
  chaos_parse out;
  goal_problems problems;
  goal_places places;
  problems.add_source("", text);
  const goal_node root = read_document(0, problems);
  if (!problems.any_error() && root.type != goal_node::kind::map)
    problems.error(root.place, "", "type", "a file of faults is a mapping (key: value); examples/chaos.yaml is one to start from");
  if (root.type == goal_node::kind::map) {
    goal_reader{problems, places, goal_vocabulary::known(), chaos_record()}.read(root, chaos_record(), &out.spec, "", root.place);
    chaos_checker{problems, places}.check(out.spec);
  }
  if (!out.spec.load.goal.empty() && !folder.empty())
    out.spec.load.goal = (folder / out.spec.load.goal).lexically_normal().string();
  out.problems = problems.take();
  return out;
}

nlohmann::json to_json(const chaos_spec& spec) { return record_json(chaos_record(), &spec); }

digest digest_of(const chaos_spec& spec) {
  chaos_spec same = spec;
  same.load.goal = std::filesystem::path{spec.load.goal}.filename().string();
  return digest_of(to_json(same).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

} // namespace flywheel
