#pragma once
// From a tree to structs along the field table, and back. Finds what is wrong with each value on its own: unknown keys,
// types, units, ranges, sets, missing fields. What contradicts what is goal_rules.hpp.

#include "cluster/goal/goal_document.hpp"
#include "cluster/goal/goal_schema.hpp"

#include <map>
#include <string>

namespace flywheel {

/// Where the values that were read stand, by path: "search.budget.trials", "slices[1].where".
class goal_places {
public:
  struct spot {
    goal_place place;
    bool quoted = false;
  };
  void set(const std::string& path, goal_place place, bool quoted = false) { spots_[path] = {place, quoted}; }
  /// True if the path was written down by the person, not filled in.
  bool has(const std::string& path) const { return spots_.contains(path); }
  const spot* find(const std::string& path) const;
  /// The place of the path, or of the nearest thing around it.
  goal_place of(std::string path) const;

private:
  std::map<std::string, spot> spots_;
};

class goal_reader {
public:
  /// `root`: of the whole file, where an unknown key is looked for.
  goal_reader(goal_problems& problems, goal_places& places, const goal_vocabulary& vocabulary, const schema_record& root = goal_record())
      : problems_(problems), places_(places), vocabulary_(vocabulary), root_(root) {}

  /// Reads `node` into `owner`, the struct that `record` describes. `at`: where to say that something is missing.
  void read(const goal_node& node, const schema_record& record, void* owner, const std::string& path, goal_place at);

private:
  void read_field(const goal_entry& entry, const schema_field& field, const schema_record& record, void* owner,
                  const std::string& path);
  void read_records(const goal_node& node, const schema_field& field, void* owner, const std::string& path);
  void read_list(const goal_node& node, const schema_field& field, const field_slot& slot, const std::string& path);
  void read_space(const goal_node& node, void* owner, const std::string& path);
  /// Says so, and gives the key that was probably meant (or nothing).
  std::string unknown_key(const goal_entry& entry, const schema_record& record, const std::string& path);

  bool scalar(const goal_node& node, const schema_field& field, const field_slot& slot, const std::string& path);
  bool read_text(const goal_node& node, const schema_field& field, const std::string& path, std::string& out);
  bool read_number(const goal_node& node, const schema_field& field, const std::string& path, double& out);
  bool read_duration(const goal_node& node, const schema_field& field, const std::string& path, nanoseconds& out);
  bool read_bytes(const goal_node& node, const schema_field& field, const std::string& path, std::uint64_t& out);
  bool read_boolean(const goal_node& node, const std::string& path, bool& out);
  bool in_range(const goal_node& node, const schema_field& field, const std::string& path, double value);
  bool expected(const goal_node& node, const std::string& path, const std::string& what, std::string suggestion = {});

  goal_problems& problems_;
  goal_places& places_;
  const goal_vocabulary& vocabulary_;
  const schema_record& root_;
};

/// JSON to a tree without places (all 1:1), for reading specs back. Bounded in depth and nodes; false if it exceeds them.
bool node_from_json(const nlohmann::json& j, goal_node& out);

/// A number as people write it, whole text; nothing if it is none (no nan, inf, hex).
std::optional<double> plain_number(std::string_view text);

} // namespace flywheel
