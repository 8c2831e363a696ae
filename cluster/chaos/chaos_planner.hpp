#pragma once
// Which stroke falls when, and on whom. Pure: the file, a seed, the time since the beginning and who is there at that moment; the same of
// these give the same strokes. Each stroke draws from a stream of its own, so that one that finds nobody changes none of the others.

#include "cluster/base/clock.hpp"
#include "cluster/chaos/chaos_spec.hpp"

#include <map>
#include <set>

namespace flywheel {

/// Something that can be struck.
struct chaos_subject {
  enum class sort : std::uint8_t { node, worker, rank, agent } what = sort::node;
  std::string name;                ///< "node1", "node1/worker-0", "node1/rank-0", "agent hpo": unique, and what the choice goes by
  std::string node;                ///< whose it is
  std::string part;                ///< of a rank its "rank-N", of an agent its name
  bool head = false;               ///< it is, or belongs to, the head
  int pid = 0;                     ///< of an agent, its node's
  std::uint64_t started = 0;       ///< with the pid: this process and no other
};

/// One stroke, decided.
struct chaos_stroke {
  std::size_t experiment = 0;      ///< index in the file
  std::uint64_t number = 0;        ///< of the experiment's strokes, from 0
  nanoseconds at{0};               ///< since the beginning: when it was due
  nanoseconds lasting{0};          ///< 0: a kill, which nothing ends
  std::vector<chaos_subject> victims; ///< empty: nobody was there
  std::size_t candidates = 0;
};

class chaos_planner {
public:
  /// An agent that dies oftener in a minute than its supervisor bears is not started again: not a fault, but the end of it.
  static constexpr std::size_t agent_kills_max = 4;
  static constexpr std::chrono::seconds agent_kills_within{60};

  chaos_planner(chaos_spec spec, std::uint64_t seed);
  /// When the next stroke is due, since the beginning; nothing if there is none left.
  std::optional<nanoseconds> next() const;
  /// The strokes that are due by `now`, in order. What is still under a stroke is not chosen for another one.
  std::vector<chaos_stroke> due(nanoseconds now, const std::vector<chaos_subject>& there);

private:
  nanoseconds time_of(std::size_t experiment, std::uint64_t number) const;
  bool fits(const chaos_experiment& e, const chaos_subject& s, nanoseconds now) const;
  std::vector<chaos_subject> chosen(const chaos_experiment& e, std::uint64_t number, std::vector<chaos_subject> from) const;

  chaos_spec spec_;
  std::uint64_t seed_;
  std::vector<std::uint64_t> struck_;                       ///< strokes so far, by experiment
  std::map<std::string, nanoseconds> busy_until_;           ///< by name
  std::map<std::string, std::vector<nanoseconds>> deaths_;  ///< of agents
};

/// How long what a stroke did to its victims lasts: its duration, or what a killed node needs to be back.
nanoseconds aftermath(const chaos_experiment& e);

} // namespace flywheel
