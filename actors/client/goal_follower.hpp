#pragma once
// Follows a goal through the journal and prints what a person should see. Works in the owner's process and in any other.

#include "actors/client/event_source.hpp"
#include "actors/client/event_view.hpp"
#include "actors/conductor/goal_run.hpp"

#include <optional>
#include <vector>

namespace flywheel {

class goal_follower {
public:
  struct options {
    bool quiet = false;       ///< print nothing
    bool verbose = false;
    bool colour = false;
  };
  /// Events up to `printed_seq` are known already and are folded without being printed.
  goal_follower(std::unique_ptr<event_source> source, std::string goal, std::uint64_t printed_seq, options o);

  /// Reads what is new, prints it to standard error, folds it. Returns the journal's last seq. After an error it goes on where it was.
  result<std::uint64_t> catch_up();
  event_source& source() noexcept { return *source_; }
  const goal_run& run() const noexcept { return run_; }
  const std::vector<event>& events() const noexcept { return events_; }
  /// Takes the progress line away, before something else is printed.
  void finish_line();

private:
  void print(const event& e);

  std::unique_ptr<event_source> source_;
  std::string goal_;
  options options_;
  event_view view_;
  goal_run run_;
  std::vector<event> events_;
  std::uint64_t seen_ = 0, printed_ = 0;
  progress_line line_;
};

} // namespace flywheel
