#include "actors/client/goal_follower.hpp"

#include "actors/client/terminal.hpp"

#include <unistd.h>

#include <iostream>

namespace flywheel {

goal_follower::goal_follower(std::unique_ptr<event_source> source, std::string goal, std::uint64_t printed_seq, options o)
    : source_(std::move(source)), goal_(std::move(goal)), options_(o), view_({o.colour, o.verbose}),
      printed_(printed_seq), line_(std::cerr, terminal_of(STDERR_FILENO, !o.colour)) {
  run_.id = goal_;
}

result<std::uint64_t> goal_follower::catch_up() {
  journal_filter filter;
  filter.goal = goal_;
  filter.after_seq = seen_;
  FLYWHEEL_TRY(const auto last, source_->read(filter, [&](const event& e) {
    run_.apply(e);
    events_.push_back(e);
    seen_ = e.seq;
    if (e.seq > printed_)
      print(e);
    else
      (void)view_.lines(e); // the view remembers what is running
    return true;
  }));
  if (!options_.quiet && !run_.over())
    line_.show(view_.progress(system_clock().wall()), system_clock().mono());
  return last;
}

void goal_follower::print(const event& e) {
  if (options_.quiet)
    return;
  const auto lines = view_.lines(e);
  if (lines.empty())
    return;
  finish_line();
  for (const auto& line : lines)
    std::cerr << line << '\n';
  std::cerr.flush();
}

void goal_follower::finish_line() { line_.clear(); }

} // namespace flywheel
