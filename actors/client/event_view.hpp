#pragma once
// Events as lines for a person who follows a goal. Pure: an event in, lines out.

#include "actors/client/progress_line.hpp"
#include "cluster/journal/event.hpp"

#include <map>
#include <string>
#include <vector>

namespace flywheel {

struct event_view_options {
  bool colour = false;
  bool verbose = false;      ///< also single trials, reports and observations
};

/// Keeps just enough of the past to say how long a step took and how far a search is.
class event_view {
public:
  explicit event_view(event_view_options options) : options_(options) {}
  /// The lines to print for `e`, without line ends; none for what a follower need not see.
  std::vector<std::string> lines(const event& e);
  /// What is going on now; `what` is empty if nothing is. While trials run: how many of the budget's have ended.
  progress_view progress(wall_time now) const;

private:
  struct running_step { wall_time started; bool has_trials = false; };
  event_view_options options_;
  std::map<std::string, running_step> running_;
  std::uint64_t trials_ended_ = 0, trials_total_ = 0;
  wall_time first_trial_{};
  std::string best_;
  double best_value_ = 0;
  bool has_best_ = false, maximise_ = true;
};

} // namespace flywheel
