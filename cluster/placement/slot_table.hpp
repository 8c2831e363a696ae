#pragma once
// The slots of all nodes, what is free of them, and where a gang fits best. A pure value.

#include "cluster/base/error.hpp"
#include "cluster/placement/slot.hpp"

#include <map>
#include <optional>
#include <set>
#include <span>
#include <vector>

namespace flywheel {

class slot_table {
public:
  static constexpr std::uint32_t whole = 100; ///< per cent of a slot

  struct entry {
    slot what;
    std::uint32_t held = 0;          ///< per cent
    std::string excluded;            ///< why it gets nothing; empty: it may
  };

  /// Adds a node's slots. already_exists: the node has some. invalid_argument: a slot twice, or of another node.
  status add_node(const std::string& node, std::span<const slot> slots);
  /// Forgets the node; nothing of it may be held.
  void remove_node(const std::string& node);
  /// A draining node keeps what it holds and gets nothing new.
  void set_draining(const std::string& node, bool draining);
  /// Takes a slot out (a broken GPU) with the reason; what runs on it goes on. not_found.
  status exclude(const slot_id& id, const std::string& reason);
  status include(const slot_id& id);

  /// A slot for every rank, or nothing. As few nodes as possible, then the node it fills best, then one NUMA node; of
  /// shared slots those that are used most. `as_if_free`: per cent that would be free besides (for preemption).
  std::optional<std::vector<slot_id>> fit(const gang_request& r, const std::map<slot_id, std::uint32_t>& as_if_free = {}) const;
  /// Whether it would fit if nothing ran; draining nodes and excluded slots count as gone.
  bool could_ever_fit(const gang_request& r) const;
  void hold(const slot_id& id, std::uint32_t share);
  void release(const slot_id& id, std::uint32_t share);

  const std::map<slot_id, entry>& all() const noexcept { return slots_; }
  bool draining(const std::string& node) const { return draining_.contains(node); }
  /// Whether a slot may carry a rank of `r` at all: kind, memory, not excluded, its node not draining.
  bool suits(const entry& e, const gang_request& r) const;

private:
  std::map<slot_id, entry> slots_;
  std::set<std::string> draining_;
};

} // namespace flywheel
