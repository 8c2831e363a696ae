#include "cluster/transfer/grant_book.hpp"

namespace flywheel::transfer {

namespace {
error over(const std::string& node, std::uint64_t lease) {
  return error{errc::stale_epoch, "node " + node + " does not hold lease " + std::to_string(lease) + " (any more)"};
}
} // namespace

void grant_book::admit(const std::string& node, const std::string& key) {
  const std::lock_guard lock{mutex_};
  if (const auto i = keys_.find(node); i != keys_.end())
    nodes_.erase(i->second);
  if (const auto other = nodes_.find(key); other != nodes_.end()) // two nodes with one key: the older one is nobody now
    keys_.erase(other->second);
  keys_[node] = key;
  nodes_[key] = node;
}

void grant_book::forget(const std::string& node) {
  const std::lock_guard lock{mutex_};
  if (const auto i = keys_.find(node); i != keys_.end()) {
    nodes_.erase(i->second);
    keys_.erase(i);
  }
}

std::optional<std::string> grant_book::node_of(const std::string& key) const {
  const std::lock_guard lock{mutex_};
  const auto i = nodes_.find(key);
  return i == nodes_.end() ? std::nullopt : std::optional{i->second};
}

void grant_book::put(std::uint64_t lease, grant g) {
  const std::lock_guard lock{mutex_};
  grants_[lease] = std::move(g);
}

void grant_book::keep_only(const std::function<bool(std::uint64_t, const grant&)>& held) {
  const std::lock_guard lock{mutex_};
  std::erase_if(grants_, [&](const auto& g) { return !held(g.first, g.second); });
}

const grant* grant_book::held(const std::string& node, std::uint64_t lease) const {
  const auto i = grants_.find(lease);
  return i == grants_.end() || i->second.node != node || !keys_.contains(node) ? nullptr : &i->second;
}

result<granted_root> grant_book::find(const std::string& node, std::uint64_t lease, std::uint64_t root) const {
  const std::lock_guard lock{mutex_};
  const auto* g = held(node, lease);
  if (g == nullptr)
    return over(node, lease);
  if (root < g->inputs.size()) {
    const auto& path = g->inputs[static_cast<std::size_t>(root)];
    return granted_root{root_kind::input, path.parent_path(), path.filename().string()};
  }
  root -= g->inputs.size();
  if (root < g->state.size())
    return granted_root{root_kind::state, g->folder, g->state[static_cast<std::size_t>(root)]};
  root -= g->state.size();
  if (root < g->results.size())
    return granted_root{root_kind::result, g->folder, g->results[static_cast<std::size_t>(root)]};
  return error{errc::invalid_argument, "the task has no root of that number", g->task};
}

status grant_book::while_held(const std::string& node, std::uint64_t lease, const std::function<status()>& act) const {
  const std::lock_guard lock{mutex_};
  if (held(node, lease) == nullptr)
    return over(node, lease);
  return act();
}

std::size_t grant_book::size() const {
  const std::lock_guard lock{mutex_};
  return grants_.size();
}

} // namespace flywheel::transfer
