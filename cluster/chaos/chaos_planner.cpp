#include "cluster/chaos/chaos_planner.hpp"

#include "cluster/base/random.hpp"

#include <algorithm>
#include <cmath>

namespace flywheel {
namespace {

using sort = chaos_subject::sort;

bool named(const std::vector<std::string>& names, const std::string& name) { return std::find(names.begin(), names.end(), name) != names.end(); }

/// Whether the subject is of what the experiment strikes.
bool is_struck(const chaos_experiment& e, const chaos_subject& s) {
  if (e.containers.empty())
    return s.what == sort::node;
  switch (s.what) {
  case sort::node: return false;
  case sort::worker: return named(e.containers, "worker");
  case sort::rank: return named(e.containers, "rank") || named(e.containers, s.part);
  case sort::agent: return named(e.containers, s.part);
  }
  return false;
}

/// Under what a victim is kept from another stroke. A node whose clock is wrong can be struck by anything but another wrong clock.
std::string mark_of(const chaos_experiment& e, const chaos_subject& s) { return e.kind == "TimeChaos" ? "clock of " + s.name : s.name; }

} // namespace

nanoseconds aftermath(const chaos_experiment& e) {
  if (e.duration)
    return *e.duration;
  return e.action == "pod-kill" ? e.grace_period + (e.restart ? e.restart_after : nanoseconds{0}) : nanoseconds{0};
}

chaos_planner::chaos_planner(chaos_spec spec, std::uint64_t seed) : spec_(std::move(spec)), seed_(seed), struck_(spec_.experiments.size(), 0) {}

nanoseconds chaos_planner::time_of(std::size_t experiment, std::uint64_t number) const {
  const auto& e = spec_.experiments[experiment];
  constexpr auto never = nanoseconds::max();
  const auto every = e.every();
  const auto strokes_max = every.count() == 0 ? 1 : e.count == 0 ? ~std::uint64_t{0} : e.count;
  if (number >= strokes_max || (every.count() > 0 && number > static_cast<std::uint64_t>(spec_.duration / every)))
    return never;
  auto dice = random_source::derive(seed_, "chaos/when/" + e.name + "/" + std::to_string(number));
  const nanoseconds late{static_cast<std::int64_t>(dice.uniform() * static_cast<double>(e.jitter.count()))};
  const auto at = e.start_after + every * static_cast<std::int64_t>(number) + late;
  return at < spec_.duration ? at : never;
}

std::optional<nanoseconds> chaos_planner::next() const {
  auto first = nanoseconds::max();
  for (std::size_t i = 0; i < struck_.size(); ++i)
    first = std::min(first, time_of(i, struck_[i]));
  return first == nanoseconds::max() ? std::nullopt : std::optional{first};
}

bool chaos_planner::fits(const chaos_experiment& e, const chaos_subject& s, nanoseconds now) const {
  if (!is_struck(e, s) || (e.selector.role != "any" && s.head != (e.selector.role == "head")))
    return false;
  if (!e.selector.nodes.empty() && !named(e.selector.nodes, s.node))
    return false;
  const auto busy = [&](const std::string& name) {
    const auto i = busy_until_.find(name);
    return i != busy_until_.end() && i->second > now;
  };
  if (busy(mark_of(e, s)) || busy(s.name) || busy(s.node)) // whose node is frozen or gone is out of reach, too
    return false;
  if (const auto i = deaths_.find(s.name); s.what == sort::agent && i != deaths_.end())
    return std::count_if(i->second.begin(), i->second.end(), [&](nanoseconds t) { return now - t < agent_kills_within; }) < static_cast<std::ptrdiff_t>(agent_kills_max);
  return true;
}

std::vector<chaos_subject> chaos_planner::chosen(const chaos_experiment& e, std::uint64_t number, std::vector<chaos_subject> from) const {
  std::sort(from.begin(), from.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  auto dice = random_source::derive(seed_, "chaos/whom/" + e.name + "/" + std::to_string(number));
  const auto value = e.value.empty() ? 0 : std::strtoull(e.value.c_str(), nullptr, 10); // checked by the parser
  std::size_t wanted = 1;
  if (e.mode == "all")
    wanted = from.size();
  else if (e.mode == "fixed")
    wanted = static_cast<std::size_t>(value);
  else if (e.mode == "fixed-percent")
    wanted = from.size() * static_cast<std::size_t>(value) / 100;
  else if (e.mode == "random-max-percent")
    wanted = from.size() * static_cast<std::size_t>(dice.below(value + 1)) / 100;
  dice.shuffle(from);
  from.resize(std::min(wanted, from.size()));
  return from;
}

std::vector<chaos_stroke> chaos_planner::due(nanoseconds now, const std::vector<chaos_subject>& there) {
  std::vector<chaos_stroke> strokes;
  for (std::optional<nanoseconds> at = next(); at && *at <= now; at = next()) {
    std::size_t i = 0;
    while (time_of(i, struck_[i]) != *at)
      ++i;
    const auto& e = spec_.experiments[i];
    chaos_stroke s{i, struck_[i]++, *at, e.duration.value_or(nanoseconds{0}), {}, 0};
    std::vector<chaos_subject> candidates;
    for (const auto& subject : there)
      if (!strikes_machine(e) && fits(e, subject, *at))
        candidates.push_back(subject);
    s.candidates = candidates.size();
    s.victims = chosen(e, s.number, std::move(candidates));
    for (const auto& v : s.victims) {
      auto& until = busy_until_[mark_of(e, v)];
      until = std::max(until, *at + aftermath(e));
      if (v.what == sort::agent)
        deaths_[v.name].push_back(*at);
      if (v.what != sort::node && !e.duration) // killed: it is not there any more
        until = std::max(until, *at + nanoseconds{1});
    }
    strokes.push_back(std::move(s));
  }
  return strokes;
}

} // namespace flywheel
