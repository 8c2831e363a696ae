#include "actors/client/chaos_view.hpp"

#include "actors/client/terminal.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"

#include <cstdio>

namespace flywheel {

using nlohmann::json;

std::string moment_line(nanoseconds t, const std::string& what) {
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%7.1fs  ", std::chrono::duration<double>(t).count());
  return seconds + what;
}

std::string stroke_line(const chaos_experiment& e, const chaos_stroke& s, const std::string& problem) {
  std::string what = e.name + ": " + (e.action.empty() ? e.kind : e.action);
  for (std::size_t i = 0; i < s.victims.size(); ++i) {
    const auto& v = s.victims[i];
    what += (i == 0 ? " " : ", ") + v.name;
    if (v.what != chaos_subject::sort::agent)
      what += " (process " + std::to_string(v.pid) + ")";
  }
  if (s.lasting.count() > 0)
    what += " for " + format_duration(s.lasting);
  if (s.victims.empty() && !strikes_machine(e))
    what += s.candidates == 0 ? " finds nobody" : " chooses nobody of " + std::to_string(s.candidates);
  return moment_line(s.at, what + (problem.empty() ? "" : ": " + problem));
}

std::vector<std::string> verdict_lines(const std::vector<promise_verdict>& verdicts, bool colour) {
  using finding = promise_verdict::finding;
  std::vector<std::string> lines;
  for (const auto& v : verdicts) {
    char front[64];
    std::snprintf(front, sizeof front, "%-4s %-10s  ", v.promise.c_str(), std::string{name_of(v.found)}.c_str());
    const auto tint = v.found == finding::kept ? ink::green : v.found == finding::broken ? ink::red : ink::yellow;
    lines.push_back(painted(front, tint, colour) + v.title);
    if (v.found != finding::broken)
      lines.push_back("                 " + v.reason);
    for (const auto& e : v.evidence)
      lines.push_back("                 " + printable(e, 400));
  }
  return lines;
}

json stroke_json(const chaos_experiment& e, const chaos_stroke& s, const std::string& problem) {
  json victims = json::array();
  for (const auto& v : s.victims)
    victims.push_back({{"name", v.name}, {"pid", v.pid}});
  json j{{"at_ms", s.at.count() / 1'000'000}, {"experiment", e.name}, {"number", s.number}, {"kind", e.kind}, {"action", e.action}, {"victims", victims},
         {"of", s.candidates}, {"lasting_ms", s.lasting.count() / 1'000'000}};
  if (!problem.empty())
    j["problem"] = problem;
  return j;
}

} // namespace flywheel
