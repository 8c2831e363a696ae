#include "actors/client/goal_report.hpp"

#include "actors/client/output_format.hpp"
#include "actors/client/terminal.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "models/task.hpp"

#include <cmath>
#include <sstream>

namespace flywheel {

using nlohmann::json;

namespace {

json outputs_of(const goal_run& run, const char* step) {
  const auto i = run.steps.find(step);
  if (i == run.steps.end() || i->second.now != step_run::phase::done)
    return json::object();
  auto j = json::parse(i->second.outputs_json, nullptr, false);
  return j.is_object() ? j : json::object();
}

bool is_fraction(const std::string& metric) {
  return metric == "accuracy" || metric == "balanced_accuracy" || metric == "f1" || metric == "auc";
}

std::string metric_text(const std::string& metric, const json& value) {
  if (!value.is_number())
    return "-";
  return is_fraction(metric) ? format_percent(value.get<double>()) : format_number(value.get<double>());
}

/// Families: what each reached in cross-validation and on the held-out rows.
json families_of(const goal_run& run) {
  json rows = json::object();
  const auto row = [&](const json& from) -> json& {
    auto& r = rows[from.value("family", "?")];
    r["family"] = from.value("family", "?");
    return r;
  };
  for (const auto& f : outputs_of(run, "explore").value("families", json::array())) {
    auto& r = row(f);
    r["cross_validated"] = f.value("value", json());
    r["trials"] = f.value("trials", 0);
    r["note"] = f.value("kept", true) ? "" : f.value("reason", "");
  }
  for (const auto& f : outputs_of(run, "search").value("finalists", json::array())) {
    auto& r = row(f);
    r["cross_validated"] = f.value("value", json());
    r["trials"] = r.value("trials", 0) + f.value("trials", 0);
  }
  const auto evaluated = outputs_of(run, "evaluate");
  for (const auto& f : evaluated.value("models", json::array())) {
    auto& r = row(f);
    r["held_out"] = f.value("value", json());
    r["low"] = f.value("low", json());
    r["high"] = f.value("high", json());
    if (f.value("winner", false))
      r["note"] = "released";
  }
  json list = json::array();
  for (const auto& [name, r] : rows.items())
    list.push_back(r);
  return list;
}

json dropped_of(const std::vector<event>& events) {
  json list = json::array();
  for (const auto& e : events) {
    if (e.kind != event_kind::decision)
      continue;
    const auto body = json::parse(e.body, nullptr, false);
    if (!body.is_object())
      continue;
    const auto choice = body.value("choice", "");
    if (choice.starts_with("leave out") || choice.starts_with("quarantine") || choice.starts_with("drop") ||
        choice.starts_with("do not"))
      list.push_back({{"what", choice}, {"why", body.value("reason", "")}, {"step", e.step}});
    for (const auto& r : body.value("rejected", json::array()))
      if (r.is_object())
        list.push_back({{"what", r.value("what", "")}, {"why", r.value("why", "")}, {"step", e.step}});
  }
  return list;
}

std::string bullet(const std::string& label, const std::string& text) {
  std::string out = "  " + label;
  out.resize(std::max<std::size_t>(out.size() + 1, 14), ' ');
  return out + text + "\n";
}

} // namespace

json goal_report(const goal_run& run, const std::vector<event>& events) {
  const auto spec = json::parse(run.spec_json, nullptr, false);
  const auto ingest = outputs_of(run, "ingest"), evaluated = outputs_of(run, "evaluate"),
             release = outputs_of(run, "release"), rollout = outputs_of(run, "rollout");
  json steps = json::array();
  if (run.plan)
    for (const auto& s : run.plan->steps) {
      const auto& r = run.steps.find(s.id)->second;
      json j{{"step", s.id}, {"agent", s.agent}, {"state", std::string{name_of(r.now)}}, {"attempts", r.attempt},
             {"summary", r.summary}};
      if (r.ended.ns > r.started.ns && r.started.ns != 0)
        j["seconds"] = static_cast<double>((r.ended - r.started).count()) / 1e9;
      if (r.problem.code != errc::ok && r.now != step_run::phase::done)
        j["problem"] = r.problem.to_string();
      steps.push_back(std::move(j));
    }
  json approvals = json::array();
  for (const auto& [id, a] : run.approvals.all())
    approvals.push_back({{"id", id}, {"action", a.action}, {"by", a.answered_by},
                         {"state", a.phase == approval::state::requested ? "waiting"
                                   : a.phase == approval::state::denied  ? "denied"
                                   : a.phase == approval::state::granted ? "granted"
                                                                         : "used"}});
  json report{{"goal", run.id},
              {"name", run.name},
              {"user", run.user},
              {"state", std::string{name_of(run.phase)}},
              {"reason", run.reason},
              {"submitted", to_iso8601(run.submitted)},
              {"metric", spec.is_object() && spec.contains("metric") ? spec["metric"] : json::object()},
              {"data", {{"snapshot", ingest.value("snapshot", "")}, {"train_rows", ingest.value("train_rows", 0)},
                        {"holdout_rows", ingest.value("holdout_rows", 0)},
                        {"quarantined", ingest.value("rows_quarantined", 0)}}},
              {"families", families_of(run)},
              {"evaluation", evaluated},
              {"model", release.value("version", "")},
              {"rollout", rollout},
              {"dropped", dropped_of(events)},
              {"approvals", approvals},
              {"steps", steps}};
  if (run.ended.ns != 0)
    report["seconds"] = static_cast<double>((run.ended - run.submitted).count()) / 1e9;
  return report;
}

std::string render_report(const json& r, bool colour) {
  std::ostringstream out;
  const auto state = r.value("state", "");
  const auto metric = r["metric"].value("name", "metric");
  out << "\n" << painted("Goal " + r.value("goal", "") + " is " + state, ink::bold, colour);
  if (r.contains("seconds"))
    out << " after " << format_duration(nanoseconds{static_cast<std::int64_t>(r["seconds"].get<double>() * 1e9)});
  out << "\n";
  if (state != "done" && !r.value("reason", "").empty())
    out << bullet("reason", printable(r.value("reason", ""), 2000));

  const auto& e = r["evaluation"];
  if (e.contains("value")) {
    out << "\n" << bullet(metric, painted(metric_text(metric, e["value"]), ink::bold, colour) + " on " +
                                      std::to_string(e.value("rows", 0)) + " held-out rows (" +
                                      metric_text(metric, e.value("low", json())) + " to " +
                                      metric_text(metric, e.value("high", json())) + "), asked for " +
                                      metric_text(metric, r["metric"].value("threshold", json())) + ": " +
                                      e.value("gate", ""));
    for (const auto& s : e.value("slices", json::array()))
      out << bullet("", "where " + printable(s.value("where", s.value("name", "")), 100) + ": " +
                            metric_text(metric, s.value("value", json())) + " on " +
                            std::to_string(s.value("rows", 0)) + " rows");
  }
  if (!r["families"].empty()) {
    json rows = json::array();
    for (const auto& f : r["families"])
      rows.push_back({{"family", f.value("family", "")},
                      {"trials", f.value("trials", 0)},
                      {"cv", metric_text(metric, f.value("cross_validated", json()))},
                      {"held", metric_text(metric, f.value("held_out", json()))},
                      {"note", printable(f.value("note", ""), 160)}});
    out << "\n";
    print_options o;
    o.colour = colour;
    std::ostringstream table;
    print_records(table, {{"family", "family"}, {"trials", "trials", true}, {"cross-validated", "cv", true},
                          {"held out", "held", true}, {"", "note"}}, rows, o);
    std::istringstream lines{table.str()};
    for (std::string line; std::getline(lines, line);)
      out << "  " << line << "\n";
  }
  if (const auto model = r.value("model", ""); !model.empty()) {
    out << "\n" << bullet("model", model);
    const auto& rollout = r["rollout"];
    if (const auto url = rollout.value("url", ""); !url.empty())
      out << bullet("rollout", printable(rollout.value("summary", ""), 300)) << bullet("served", url);
  }
  if (!r["dropped"].empty()) {
    out << "\n" << painted("Dropped, and why", ink::bold, colour) << "\n";
    for (const auto& d : r["dropped"])
      out << "  " << printable(d.value("what", ""), 200) << "\n      " << printable(d.value("why", ""), 500) << "\n";
  }
  for (const auto& s : r["steps"])
    if (s.contains("problem"))
      out << "\n" << painted("Step " + s.value("step", "") + " " + s.value("state", ""), ink::red, colour) << "\n  "
          << printable(s.value("problem", ""), 3000) << "\n";
  out << "\n" << painted("Where to look next", ink::bold, colour) << "\n"
      << "  flywheel why " << r.value("name", "") << "         each decision with its reason\n"
      << "  flywheel describe " << r.value("name", "") << "    steps, approvals, evaluation\n";
  if (!r.value("model", "").empty())
    out << "  flywheel predict " << r.value("name", "") << " --help\n";
  return out.str();
}

std::string render_plan(const plan_graph& plan, const goal_spec& spec, bool colour) {
  std::ostringstream out;
  const auto metric = metric_from_name(spec.metric.name);
  out << painted("Plan", ink::bold, colour) << " for " << plan.goal << ": " << spec.metric.name << " of " << spec.target
      << (metric && !higher_is_better(*metric) ? " <= " : " >= ") << format_number(spec.metric.threshold) << " from " << spec.data.source << "\n\n";
  json rows = json::array();
  for (const auto& s : plan.steps)
    rows.push_back({{"step", s.id}, {"agent", s.agent}, {"what", s.title}, {"needs", s.needs},
                    {"slots", s.slots}, {"time", format_duration(nanoseconds{static_cast<std::int64_t>(s.seconds * 1e9)})},
                    {"approval", s.approval.empty() ? "" : "yes"}});
  print_options o;
  o.colour = colour;
  print_records(out, {{"step", "step"}, {"agent", "agent"}, {"what", "what"}, {"after", "needs"},
                      {"slots", "slots", true}, {"at most", "time", true}, {"approval", "approval"}}, rows, o);
  out << "\nabout " << format_duration(nanoseconds{static_cast<std::int64_t>(plan.seconds() * 1e9)}) << " at most, "
      << format_number(std::round(plan.slot_seconds())) << " slot-seconds; at most " << spec.search.budget.trials
      << " trials\n";
  for (const auto& s : plan.steps)
    if (!s.approval.empty()) {
      const auto rule = rule_for(spec, s.approval);
      out << "approval of " << s.approval << " by " << join(rule.by, ", ") << " (@me is whoever submits), valid for "
          << format_duration(rule.valid_for) << "\n";
    }
  return out.str();
}

} // namespace flywheel
