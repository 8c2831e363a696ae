#include "cluster/gang/rank_environment.hpp"

#include "cluster/base/assert.hpp"

#include <algorithm>

namespace flywheel {

std::vector<std::string> rank_environment(std::span<const std::string> base, const gang_place& place, std::span<const rank_seat> seats,
                                          int rank, const std::string& gpus) {
  FLYWHEEL_ASSERT(rank >= 0 && static_cast<std::size_t>(rank) < seats.size(), "a rank of this gang");
  const auto& seat = seats[static_cast<std::size_t>(rank)];
  std::vector<std::string> hosts; // in the order of their first rank, as torchrun numbers nodes
  std::size_t local_size = 0;
  for (const auto& s : seats) {
    if (std::find(hosts.begin(), hosts.end(), s.host) == hosts.end())
      hosts.push_back(s.host);
    local_size += s.host == seat.host ? 1 : 0;
  }
  const auto group = std::to_string(std::find(hosts.begin(), hosts.end(), seat.host) - hosts.begin());
  const auto world = std::to_string(seats.size());
  std::vector<std::pair<std::string, std::string>> ours{
      {"RANK", std::to_string(rank)},
      {"WORLD_SIZE", world},
      {"LOCAL_RANK", std::to_string(seat.local)},
      {"LOCAL_WORLD_SIZE", std::to_string(local_size)},
      {"GROUP_RANK", group},
      {"GROUP_WORLD_SIZE", std::to_string(hosts.size())},
      {"ROLE_NAME", "default"},
      {"ROLE_RANK", std::to_string(rank)},
      {"ROLE_WORLD_SIZE", world},
      {"MASTER_ADDR", place.master_host},
      {"MASTER_PORT", std::to_string(place.master_port)},
      {"TORCHELASTIC_RESTART_COUNT", std::to_string(place.restart)},
      {"TORCHELASTIC_MAX_RESTARTS", std::to_string(place.restarts_max)},
      {"TORCHELASTIC_RUN_ID", place.run_id},
      {"TORCHELASTIC_USE_AGENT_STORE", "False"},
      {"FLYWHEEL_ATTEMPT", std::to_string(place.attempt)},
      {"FLYWHEEL_RENDEZVOUS", place.rendezvous},
  };
  if (!place.checkpoints.empty())
    ours.emplace_back("FLYWHEEL_CHECKPOINT", place.checkpoints);
  if (!gpus.empty())
    ours.emplace_back("CUDA_VISIBLE_DEVICES", gpus);
  const auto names = [](const std::string& entry, const std::string& name) { return entry.starts_with(name + "="); };
  const bool threads_set = std::any_of(base.begin(), base.end(), [&](const auto& e) { return names(e, "OMP_NUM_THREADS"); });
  if (!threads_set && local_size > 1)
    ours.emplace_back("OMP_NUM_THREADS", "1");
  std::vector<std::string> all;
  for (const auto& entry : base)
    if (std::none_of(ours.begin(), ours.end(), [&](const auto& o) { return names(entry, o.first); }))
      all.push_back(entry);
  for (const auto& [name, value] : ours)
    all.push_back(name + "=" + value);
  return all;
}

} // namespace flywheel
