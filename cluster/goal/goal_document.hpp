#pragma once
// Text to a tree in which everything knows its place. The one file that talks to yaml-cpp; JSON is read as YAML's flow
// style. Bounded: size, nodes, depth; anchors, aliases, tags and merge keys are refused, so nothing can expand.

#include "cluster/goal/goal_parser.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

/// Where something stands: which source, 1-based line, 1-based column in bytes.
struct goal_place {
  std::uint32_t source = 0, line = 1, column = 1;
  auto operator<=>(const goal_place&) const = default;
};

struct goal_entry;
struct goal_node {
  enum class kind : std::uint8_t { null, scalar, list, map } type = kind::null;
  std::string text;      ///< of a scalar; of a null, as it was written
  bool quoted = false;   ///< a quoted scalar is text, whatever it looks like
  goal_place place;
  std::vector<goal_node> items;     ///< of a list
  std::vector<goal_entry> entries;  ///< of a map, in the file's order, keys distinct

  goal_entry* find(std::string_view key);
};
struct goal_entry {
  std::string key;
  goal_place place;      ///< of the key
  goal_node value;
};

/// "a mapping", "a list", "text", "a number", ...: for messages.
std::string noun_of(const goal_node& node);

/// The texts that problems can be placed in: [0] is the goal itself, then a contract file, then overrides.
struct goal_source {
  std::string name;      ///< empty for the goal file itself
  std::string text;      ///< without byte order mark
};

/// Collects problems, at most `problems_max`: a hostile file must not cost more than a wrong one.
class goal_problems {
public:
  static constexpr std::size_t problems_max = 100;

  std::uint32_t add_source(std::string name, std::string_view text);
  const goal_source& source(std::uint32_t i) const { return sources_[i]; }

  void error(goal_place at, std::string path, std::string rule, std::string message, std::string suggestion = {});
  void warning(goal_place at, std::string path, std::string rule, std::string message, std::string suggestion = {});
  bool full() const noexcept { return problems_.size() >= problems_max; }
  std::size_t errors() const noexcept { return errors_; }
  bool any_error() const noexcept { return errors_ > 0; }
  /// Sorted by place, columns counted in characters. Empties this collector.
  std::vector<goal_problem> take();

private:
  void add(goal_place at, goal_problem p);
  std::vector<goal_source> sources_;
  std::vector<std::pair<goal_place, goal_problem>> problems_;
  std::size_t errors_ = 0, left_out_ = 0;
};

/// Reads source `i`. Problems go to `problems`; the tree is null if nothing could be read at all.
/// `blank` bytes at the start are replaced by spaces (the key of an override), which keeps the places right.
goal_node read_document(std::uint32_t source, goal_problems& problems, std::size_t blank = 0);

} // namespace flywheel
