#include "actors/remote_agents/agent_placement.hpp"

#include <algorithm>

namespace flywheel {

void agent_placement::offer(const std::string& node) {
  withdraw(node);
  nodes_[node] = false;
}

void agent_placement::withdraw(const std::string& node) {
  nodes_.erase(node);
  std::erase_if(where_, [&](const auto& w) { return w.second == node; });
}

void agent_placement::drain(const std::string& node) {
  if (const auto i = nodes_.find(node); i != nodes_.end())
    i->second = true;
}

int agent_placement::load(const std::string& node, const std::string& but) const {
  return static_cast<int>(std::count_if(where_.begin(), where_.end(), [&](const auto& w) { return w.second == node && w.first != but; }));
}

std::string agent_placement::choose(const std::string& agent, mono_time now) const {
  std::string best = head;
  for (const auto& [node, draining] : nodes_) {
    const auto avoided = avoid_.find({agent, node});
    if (draining || (avoided != avoid_.end() && now < avoided->second))
      continue;
    // Where it is already wins among equals: a move costs something.
    const auto here = place_of(agent);
    if (best == head || load(node, agent) < load(best, agent) || (load(node, agent) == load(best, agent) && here == node))
      best = node;
  }
  return best;
}

void agent_placement::put(const std::string& agent, const std::string& node) { where_[agent] = node; }

void agent_placement::failed(const std::string& agent, const std::string& node, mono_time now) {
  std::erase_if(avoid_, [&](const auto& a) { return a.second <= now; });
  if (node != head)
    avoid_[{agent, node}] = now + pause;
}

std::optional<std::string> agent_placement::place_of(const std::string& agent) const {
  const auto i = where_.find(agent);
  return i == where_.end() ? std::nullopt : std::optional{i->second};
}

std::optional<agent_placement::move> agent_placement::next_move(mono_time now, const std::map<std::string, bool>& mobile) const {
  for (const auto& [agent, at] : where_) {
    const auto m = mobile.find(agent);
    if (m == mobile.end() || !m->second)
      continue;
    const auto better = choose(agent, now);
    if (better == at)
      continue;
    if (at == head)
      return move{agent, "node " + better + " offers itself"};
    const auto n = nodes_.find(at);
    if (n == nodes_.end() || n->second)
      return move{agent, "node " + at + " drains"};
    if (better != head && load(at, agent) > load(better, agent))
      return move{agent, "node " + at + " has more agents than " + better};
  }
  return std::nullopt;
}

std::optional<mono_time> agent_placement::next_look(mono_time now) const {
  std::optional<mono_time> next;
  for (const auto& [where, until] : avoid_)
    if (until > now)
      next = next ? std::min(*next, until) : until;
  return next;
}

} // namespace flywheel
