#include "actors/client/cluster_events.hpp"
#include "actors/client/commands.hpp"
#include "actors/client/control_route.hpp"
#include "actors/client/goal_report.hpp"
#include "actors/client/why_answer.hpp"
#include "checkpoints/registry.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/journal/journal.hpp"
#include "cluster/journal/state_directory.hpp"

#include <algorithm>
#include <cmath>
#include <iostream>

namespace flywheel {
namespace {

using nlohmann::json;

result<std::vector<event>> events_matching(const command_context& c, const journal_filter& filter) {
  FLYWHEEL_TRY(const auto source, open_events(c));
  std::vector<event> events;
  FLYWHEEL_TRY([[maybe_unused]] const auto last, source->read(filter, [&](const event& e) {
    events.push_back(e);
    return true;
  }));
  return events;
}

/// Nothing has ever happened here: an empty list, not an error, for commands that list.
result<std::vector<event>> all_events(const command_context& c) {
  auto events = events_matching(c, journal_filter{});
  if (!events && events.error().code == errc::not_found && !asks_cluster(c))
    return std::vector<event>{};
  return events;
}

goal_table fold(const std::vector<event>& events) {
  goal_table goals;
  for (const auto& e : events)
    goals.apply(e);
  return goals;
}

std::string step_now(const goal_run& run) {
  std::string last;
  if (run.plan)
    for (const auto& s : run.plan->steps) {
      const auto phase = run.steps.find(s.id)->second.now;
      if (phase == step_run::phase::running || phase == step_run::phase::retrying || phase == step_run::phase::failed)
        return s.id;
      if (phase == step_run::phase::done)
        last = s.id;
    }
  return last;
}

json goal_row(const goal_run& run, wall_time now) {
  json waits = json::array();
  for (const auto& [id, a] : run.approvals.all())
    if (a.phase == approval::state::requested)
      waits.push_back(id);
  const auto i = run.steps.find("evaluate");
  json value;
  if (i != run.steps.end() && i->second.now == step_run::phase::done) {
    const auto out = json::parse(i->second.outputs_json, nullptr, false);
    if (out.is_object() && out.contains("value") && out["value"].is_number())
      value = std::round(out["value"].get<double>() * 1e4) / 1e4;
  }
  return {{"id", run.id},           {"name", run.name}, {"state", std::string{name_of(run.phase)}},
          {"step", step_now(run)},  {"metric", value},  {"waits_for", waits},
          {"age", format_duration(now - run.submitted)}, {"submitted", to_iso8601(run.submitted)}, {"user", run.user}};
}

error unknown(const std::vector<event>& events, const std::string& name) {
  const auto near = nearest(name, known_subjects(events));
  return {errc::not_found, "nothing is called '" + printable(name, 80) + "' here", {},
          near.empty() ? "run: flywheel goals, or flywheel models" : "did you mean " + std::string{near} + "?"};
}

std::vector<event> events_of(const std::vector<event>& events, const std::string& goal) {
  std::vector<event> out;
  for (const auto& e : events)
    if (e.goal == goal)
      out.push_back(e);
  return out;
}

/// Four decimals are for people; the exact values stand in the lineage and the journal.
std::map<std::string, double> rounded(std::map<std::string, double> values) {
  for (auto& [name, x] : values)
    x = std::round(x * 1e4) / 1e4;
  return values;
}

json version_row(const model_version& v, const std::map<std::string, std::uint32_t>& aliases) {
  json names = json::array();
  for (const auto& [alias, version] : aliases)
    if (version == v.version)
      names.push_back(alias);
  return {{"id", v.id()},
          {"model", v.model},
          {"version", v.version},
          {"aliases", names},
          {"family", v.origin.family},
          {"metrics", rounded(v.origin.metrics)},
          {"created", to_iso8601(v.created)},
          {"manifest", v.manifest.hex()},
          {"folder", v.folder.string()},
          {"lineage",
           {{"goal", v.origin.goal}, {"goal_digest", v.origin.goal_digest}, {"snapshot", v.origin.snapshot},
            {"source_sha256", v.origin.source_digest}, {"code", v.origin.code}, {"trial", v.origin.trial},
            {"params", json::parse(v.origin.params, nullptr, false)}, {"seed", v.origin.seed},
            {"journal_seq", v.origin.journal_seq}}}};
}

std::string event_line(const event& e) {
  return std::to_string(e.seq) + "  " + to_iso8601(e.time) + "  " + std::string{name_of(e.kind)} + "  " +
         (e.goal.empty() ? "" : e.goal + (e.step.empty() ? "" : "/" + e.step) + "  ") + printable(e.text, 400);
}

} // namespace

result<int> list_goals(const command_context& c) {
  FLYWHEEL_TRY(const auto events, all_events(c));
  const auto goals = fold(events);
  std::vector<const goal_run*> newest_first;
  for (const auto& [id, run] : goals.all())
    newest_first.push_back(&run);
  std::sort(newest_first.begin(), newest_first.end(),
            [](const auto* a, const auto* b) { return a->submitted > b->submitted; });
  json rows = json::array();
  for (const auto* run : newest_first)
    rows.push_back(goal_row(*run, system_clock().wall()));
  auto o = print_options_for_stdout(c.style, !c.colour);
  o.name_key = "id";
  o.empty = "no goals yet; start with: flywheel run examples/churn/goal.yaml";
  print_records(std::cout, {{"id", "id"}, {"name", "name"}, {"state", "state", false, true}, {"step", "step"},
                            {"metric", "metric", true}, {"waits for", "waits_for"}, {"age", "age", true}}, rows, o);
  return 0;
}

result<int> describe(const command_context& c) {
  const auto name = c.line.argument("NAME");
  FLYWHEEL_TRY(const auto events, all_events(c));
  const auto goals = fold(events);
  const goal_run* best = nullptr;
  for (const auto& [id, run] : goals.all())
    if ((id == name || run.name == name) && (best == nullptr || best->submitted < run.submitted))
      best = &run;
  const auto o = print_options_for_stdout(c.style, !c.colour);
  if (best != nullptr) {
    auto report = goal_report(*best, events_of(events, best->id));
    report["settings"] = json::parse(best->spec_json, nullptr, false);
    if (c.style == output_style::table) {
      std::cout << render_report(report, c.colour) << "\n";
      print_records(std::cout, {{"step", "step"}, {"agent", "agent"}, {"state", "state", false, true},
                                {"seconds", "seconds", true}, {"summary", "summary"}}, report["steps"], o);
      if (!report["approvals"].empty()) {
        std::cout << "\n";
        print_records(std::cout, {{"approval", "id"}, {"state", "state", false, true}, {"by", "by"}},
                      report["approvals"], o);
      }
    } else {
      print_record(std::cout, report, o);
    }
    return 0;
  }
  if (auto registry = asks_cluster(c) ? result<model_registry>{errc::unsupported, "models are described on the head's machine"} : model_registry::open(state_layout{c.state}.models()))
    if (auto version = registry->find(name)) {
      print_record(std::cout, version_row(*version, registry->aliases(version->model)), o);
      return 0;
    }
  return unknown(events, name);
}

namespace {

/// What of the subject waits for a slot at this moment, and what would let it run; only a cluster's head knows.
std::vector<std::string> waiting_now(const command_context& c, const why_subject& subject) {
  std::vector<std::string> lines;
  auto route = open_route(c);
  const auto reply = route ? (*route)->ask({{"op", "nodes"}}, std::chrono::seconds{5}) : result<json>{route.error()};
  if (!reply)
    return lines;
  if (subject.kind == "gang") {
    for (const auto& g : reply->value("gangs", json::array()))
      if (g.value("gang", "") == subject.name)
        lines.push_back("  " + painted(subject.name + " " + g.value("state", ""), ink::yellow, c.colour) + ": " + printable(g.value("text", ""), 2000));
    return lines;
  }
  for (const auto& w : reply->value("waiting", json::array())) {
    const auto task = w.value("task", ""); // goal/trial#attempt
    const auto slash = task.find('/'), hash = task.rfind('#');
    const auto goal = task.substr(0, slash), trial = slash == std::string::npos ? task : task.substr(slash + 1, hash - slash - 1);
    if (subject.kind == "trial" ? trial == subject.name && (subject.goal.empty() || goal == subject.goal) : goal == subject.goal)
      lines.push_back("  " + painted(trial + " waits", ink::yellow, c.colour) + ": " + printable(w.value("why", ""), 500));
  }
  return lines;
}

} // namespace

result<int> explain_why(const command_context& c) {
  const auto question = c.line.argument("SUBJECT");
  FLYWHEEL_TRY(const auto events, all_events(c));
  const auto subjects = find_subjects(events, question);
  if (subjects.empty())
    return unknown(events, question);
  const auto& subject = subjects.front();
  if (c.style != output_style::table) {
    json rows = json::array();
    for (const auto& e : events_of(events, subject.goal))
      if (e.kind == event_kind::decision && (subject.kind != "gang" || e.subject == subject.name) && (subject.kind != "step" || e.step == subject.name)) {
        auto body = json::parse(e.body, nullptr, false);
        body["seq"] = e.seq;
        body["step"] = e.step;
        body["agent"] = e.actor;
        body["time"] = to_iso8601(e.time);
        rows.push_back(std::move(body));
      }
    auto o = print_options_for_stdout(c.style, !c.colour);
    o.name_key = "choice";
    print_records(std::cout, {}, rows, o);
    return 0;
  }
  std::cout << painted(subject.kind + " " + subject.name, ink::bold, c.colour)
            << (subject.goal.empty() || subject.goal == subject.name ? "" : " (" + subject.goal + ")") << "\n";
  for (const auto& line : why(events, subject, {c.line.flag("all"), c.colour}))
    std::cout << line << "\n";
  for (const auto& line : waiting_now(c, subject))
    std::cout << line << "\n";
  std::cout << "\nNumbers in brackets are journal entries; flywheel journal verify proves that none was altered.\n";
  return 0;
}

result<int> list_models(const command_context& c) {
  const auto wanted = c.line.argument("NAME");
  FLYWHEEL_TRY(const auto registry, model_registry::open(state_layout{c.state}.models()));
  FLYWHEEL_TRY(auto versions, registry.list(wanted));
  if (versions.empty() && !wanted.empty()) {
    FLYWHEEL_TRY([[maybe_unused]] const auto none, registry.find(wanted)); // its error names near matches
  }
  std::reverse(versions.begin(), versions.end());
  json rows = json::array();
  for (const auto& v : versions)
    rows.push_back(version_row(v, registry.aliases(v.model)));
  auto o = print_options_for_stdout(c.style, !c.colour);
  o.name_key = "id";
  o.empty = "no models yet";
  print_records(std::cout, {{"id", "id"}, {"aliases", "aliases"}, {"family", "family"}, {"metrics", "metrics"},
                            {"created", "created"}, {"goal", "/lineage/goal"}}, rows, o);
  return 0;
}

result<int> show_journal(const command_context& c) {
  journal_filter filter;
  const auto limit = c.line.integer("limit");
  filter.limit = limit;
  filter.newest_first = limit != 0;
  if (const auto goal = c.line.text("goal"); !goal.empty()) {
    FLYWHEEL_TRY(const auto events, events_matching(c, journal_filter{}));
    const auto found = find_subjects(events, goal);
    if (found.empty())
      return unknown(events, goal);
    filter.goal = found.front().goal;
  }
  FLYWHEEL_TRY(auto events, events_matching(c, filter));
  if (filter.newest_first)
    std::reverse(events.begin(), events.end());
  if (c.style == output_style::table) {
    for (const auto& e : events)
      std::cout << event_line(e) << "\n";
    return 0;
  }
  json rows = json::array();
  for (const auto& e : events)
    rows.push_back({{"seq", e.seq}, {"time", to_iso8601(e.time)}, {"kind", std::string{name_of(e.kind)}}, {"goal", e.goal},
                    {"step", e.step}, {"subject", e.subject}, {"key", e.key}, {"actor", e.actor}, {"text", e.text},
                    {"epoch", e.epoch}, {"body", json::parse(e.body, nullptr, false)}, {"hash", e.hash.hex()}});
  auto o = print_options_for_stdout(c.style, !c.colour);
  o.name_key = "seq";
  print_records(std::cout, {}, rows, o);
  return 0;
}

result<int> mend_journal(const command_context& c) {
  if (const int owner = owner_pid(c.state); owner != 0)
    return error{errc::state_locked, "process " + std::to_string(owner) + " owns " + c.state.string(), {},
                 "stop it first: flywheel serve --stop"};
  FLYWHEEL_TRY(const auto v, verify_journal(c.state));
  if (v.intact && c.line.integer("keep") == 0) {
    std::cout << "the journal is whole: " << v.events << " entries; nothing to repair" << std::endl;
    return 0;
  }
  const auto keep = c.line.integer("keep") == 0 ? v.events : c.line.integer("keep");
  FLYWHEEL_TRY(const auto r, repair_journal(c.state, keep));
  std::cout << "kept " << r.kept << " entries; the old files lie in " << r.moved_to.string() << std::endl;
  return 0;
}

result<int> check_journal(const command_context& c) {
  FLYWHEEL_TRY(const auto v, verify_journal(c.state));
  if (c.style == output_style::table) {
    if (v.intact)
      std::cout << "the journal is whole: " << v.events << " entries, head " << v.head.hex() << std::endl;
    else
      std::cout << painted("the journal is damaged", ink::red, c.colour) << " at entry " << v.first_bad << ": "
                << v.reason << "\n" << v.events << " entries before it are whole" << std::endl;
  } else {
    print_record(std::cout, json{{"intact", v.intact}, {"events", v.events}, {"first_bad", v.first_bad},
                                 {"reason", v.reason}, {"head", v.head.hex()}},
                 print_options_for_stdout(c.style, !c.colour));
  }
  return v.intact ? 0 : 1;
}

} // namespace flywheel
