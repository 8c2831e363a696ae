#include "nccl/backend_policy.hpp"

#include <map>
#include <set>
#include <utility>

namespace flywheel::nccl {
namespace {

/// Why these ranks cannot use NCCL; empty if they can.
std::string why_not_nccl(std::span<const rank_place> ranks) {
  std::map<std::pair<std::string, int>, std::size_t> owner;
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    if (ranks[r].gpu < 0)
      return "rank " + std::to_string(r) + " has no GPU";
    const auto [at, fresh] = owner.try_emplace({ranks[r].host, ranks[r].gpu}, r);
    if (!fresh)
      return "ranks " + std::to_string(at->second) + " and " + std::to_string(r) + " share GPU " +
             std::to_string(ranks[r].gpu) + " of " + ranks[r].host;
  }
  return ranks.empty() ? "there are no ranks" : "";
}

} // namespace

std::string_view name_of(backend b) noexcept {
  switch (b) {
  case backend::shared_memory: return "shared_memory";
  case backend::gloo: return "gloo";
  case backend::nccl: return "nccl";
  }
  return "unknown";
}

std::optional<backend> backend_from_name(std::string_view name) noexcept {
  for (const auto b : {backend::shared_memory, backend::gloo, backend::nccl})
    if (name == name_of(b))
      return b;
  return std::nullopt;
}

backend_choice choose_backend(std::span<const rank_place> ranks) {
  const auto obstacle = why_not_nccl(ranks);
  if (obstacle.empty())
    return {backend::nccl, "each of the " + std::to_string(ranks.size()) + " ranks has a GPU of its own"};
  std::set<std::string_view> hosts;
  for (const auto& r : ranks)
    hosts.insert(r.host);
  if (hosts.size() <= 1)
    return {backend::shared_memory, obstacle + ", and all ranks are on one host"};
  return {backend::gloo, obstacle + ", and the ranks are on " + std::to_string(hosts.size()) + " hosts"};
}

} // namespace flywheel::nccl
