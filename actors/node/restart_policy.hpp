#pragma once
// May a dead agent be started again? Pure; told the time. An agent that dies again and again has a cause that a restart
// does not cure; going on would only hide it.

#include "cluster/base/clock.hpp"

#include <deque>
#include <map>
#include <string>

namespace flywheel {

class restart_policy {
public:
  static constexpr std::size_t restarts_max = 5;
  static constexpr std::chrono::seconds within{60};

  /// Counts the death of `agent` now; true: start it again.
  bool may_restart(const std::string& agent, mono_time now) {
    auto& deaths = deaths_[agent];
    while (!deaths.empty() && now - deaths.front() > within)
      deaths.pop_front();
    deaths.push_back(now);
    return deaths.size() <= restarts_max;
  }

private:
  std::map<std::string, std::deque<mono_time>> deaths_;
};

} // namespace flywheel
