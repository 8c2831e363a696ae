#include "cluster/placement/slot_table.hpp"

#include "cluster/base/assert.hpp"

#include <algorithm>
#include <limits>

namespace flywheel {

status slot_table::add_node(const std::string& node, std::span<const slot> slots) {
  const auto first = slots_.lower_bound({node, ""});
  if (first != slots_.end() && first->first.node == node)
    return error{errc::already_exists, "its slots are known already", node, "remove the node first"};
  std::map<slot_id, entry> added;
  for (const auto& s : slots)
    if (s.id.node != node || s.id.name.empty() || !added.emplace(s.id, entry{s, 0, {}}).second)
      return error{errc::invalid_argument, "slot '" + s.id.text() + "' is named twice, or belongs to another node", node, "number the node's slots"};
  slots_.merge(added);
  return {};
}

void slot_table::remove_node(const std::string& node) {
  std::erase_if(slots_, [&](const auto& s) {
    FLYWHEEL_ASSERT(s.first.node != node || s.second.held == 0, "nothing of a node that goes is held");
    return s.first.node == node;
  });
  draining_.erase(node);
}

void slot_table::set_draining(const std::string& node, bool draining) {
  if (draining)
    draining_.insert(node);
  else
    draining_.erase(node);
}

status slot_table::exclude(const slot_id& id, const std::string& reason) {
  const auto found = slots_.find(id);
  if (found == slots_.end())
    return error{errc::not_found, "there is no such slot", id.text(), "name it as NODE/SLOT, of a node that is a member now"};
  found->second.excluded = reason.empty() ? "no reason given" : reason;
  return {};
}

status slot_table::include(const slot_id& id) {
  const auto found = slots_.find(id);
  if (found == slots_.end())
    return error{errc::not_found, "there is no such slot", id.text(), "name it as NODE/SLOT, of a node that is a member now"};
  found->second.excluded.clear();
  return {};
}

namespace {

/// All but that its node drains.
bool suits_by_itself(const slot_table::entry& e, const gang_request& r) {
  return e.what.kind == r.kind && e.what.memory >= r.memory_min && e.excluded.empty() && (e.what.shares_files || !r.needs_files) &&
         (r.avoid.empty() || !r.avoid.contains(e.what.id));
}

} // namespace

bool slot_table::suits(const entry& e, const gang_request& r) const { return suits_by_itself(e, r) && !draining(e.what.id.node); }

std::optional<std::vector<slot_id>> slot_table::fit(const gang_request& r, const std::map<slot_id, std::uint32_t>& as_if_free) const {
  struct candidate {
    const slot* what;
    std::uint32_t free;
  };
  /// What is free of a slot for this request; nothing if it does not do.
  const auto free_of = [&](const slot_id& id, const entry& e) -> std::uint32_t {
    if (!suits_by_itself(e, r))
      return 0;
    const auto extra = as_if_free.empty() ? as_if_free.end() : as_if_free.find(id);
    const std::uint32_t free = std::min(whole, whole - e.held + (extra == as_if_free.end() ? 0 : extra->second));
    return free >= r.share ? free : 0;
  };
  // Every slot is looked at for every request, thousands of them: first only how many each node has.
  struct place {
    std::map<slot_id, entry>::const_iterator first, last;
    std::size_t size = 0;
  };
  std::vector<place> nodes;
  for (auto i = slots_.begin(); i != slots_.end();) {
    place here{i, i, 0};
    const bool closed = draining(i->first.node);
    for (; here.last != slots_.end() && here.last->first.node == i->first.node; ++here.last)
      here.size += !closed && free_of(here.last->first, here.last->second) > 0 ? 1 : 0;
    if (here.size > 0)
      nodes.push_back(here);
    i = here.last;
  }
  std::vector<slot_id> chosen;
  while (chosen.size() < r.ranks) {
    const std::size_t wanted = r.ranks - chosen.size();
    // The smallest node that takes all the rest; without one the largest there is. Of equal ones the first by name.
    auto best = nodes.end();
    for (auto i = nodes.begin(); i != nodes.end(); ++i) {
      if (best == nodes.end()) {
        best = i;
        continue;
      }
      const std::size_t mine = i->size, its = best->size;
      const bool enough = mine >= wanted, its_enough = its >= wanted;
      if (enough != its_enough ? enough : enough ? mine < its : mine > its)
        best = i;
    }
    if (best == nodes.end())
      return std::nullopt;
    std::vector<candidate> here;
    for (auto i = best->first; i != best->last; ++i)
      if (const auto free = free_of(i->first, i->second); free > 0)
        here.push_back({&i->second.what, free});
    const std::size_t count = std::min(wanted, here.size());
    // One NUMA node if one has enough, the smallest of those.
    std::map<int, std::size_t> in_numa;
    for (const auto& c : here)
      ++in_numa[c.what->numa];
    int close = std::numeric_limits<int>::min();
    std::size_t close_size = 0;
    for (const auto& [numa, size] : in_numa)
      if (size >= count && (close_size == 0 || size < close_size))
        close = numa, close_size = size;
    std::ranges::stable_sort(here, [&](const candidate& a, const candidate& b) {
      const bool a_close = a.what->numa == close, b_close = b.what->numa == close;
      if (a_close != b_close)
        return a_close;
      if (a.free != b.free)
        return a.free < b.free; // packed where others are already
      return std::pair{a.what->numa, a.what->id} < std::pair{b.what->numa, b.what->id};
    });
    for (std::size_t i = 0; i < count; ++i)
      chosen.push_back(here[i].what->id);
    nodes.erase(best);
  }
  return chosen;
}

bool slot_table::could_ever_fit(const gang_request& r) const {
  std::size_t suited = 0;
  for (auto i = slots_.begin(); i != slots_.end() && suited < r.ranks; ++i)
    suited += suits(i->second, r) ? 1 : 0;
  return suited >= r.ranks;
}

void slot_table::hold(const slot_id& id, std::uint32_t share) {
  auto& e = slots_.at(id);
  FLYWHEEL_ASSERT(share > 0 && share <= whole - e.held, "no slot carries more than it is");
  e.held += share;
}

void slot_table::release(const slot_id& id, std::uint32_t share) {
  auto& e = slots_.at(id);
  FLYWHEEL_ASSERT(share <= e.held, "what is released was held");
  e.held -= share;
}

} // namespace flywheel
