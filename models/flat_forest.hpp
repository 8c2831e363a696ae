#pragma once
// Boosted trees as one flat array: how a fitted forest answers. Training belongs to XGBoost, answering to this page:
// one row through 100 trees takes about a microsecond, allocates nothing and gives XGBoost's margins to the bit,
// because the same 32-bit leaf values are added in the same order.

#include "cluster/base/error.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace flywheel {

/// What a node asks of its input. Missing (NaN) goes where `default_left` says.
enum class node_kind : std::uint8_t {
  leaf = 0,     ///< answers `value`
  less = 1,     ///< x < value: left
  equal = 2,    ///< x == value (one category): right
  one_of = 3,   ///< x is in the set of categories that starts at word `set`: right
};

/// One node; its children are `left` and `left + 1`. 16 bytes, so that four share a cache line.
struct forest_node {
  float value = 0;
  std::uint32_t left = 0;     ///< absolute index; a leaf points at itself, so that walking on stays there
  std::uint32_t set = 0;      ///< one_of: offset into the set words: a count of words, then that many words of bits
  std::uint16_t input = 0;
  node_kind kind = node_kind::leaf;
  std::uint8_t default_left = 0;
};
static_assert(sizeof(forest_node) == 16);

struct forest_tree {
  std::uint32_t root = 0;
  std::uint32_t depth = 0;    ///< longest way from root to leaf
  std::uint32_t output = 0;   ///< which margin it adds to
};

/// Immutable after check(); thread-safe.
class flat_forest {
public:
  flat_forest() = default;
  /// Verifies everything that margins() relies on (indices, kinds, sets, no cycles) and works out the depths;
  /// invalid_format with the node otherwise. `category_counts[i]` is 0 for a numeric input.
  static result<flat_forest> create(std::vector<forest_node> nodes, std::vector<forest_tree> trees,
                                    std::vector<std::uint32_t> sets, std::vector<float> base,
                                    std::vector<std::uint32_t> category_counts);

  std::size_t inputs() const noexcept { return category_counts_.size(); }
  std::size_t outputs() const noexcept { return base_.size(); }
  const std::vector<forest_node>& nodes() const noexcept { return nodes_; }
  const std::vector<forest_tree>& trees() const noexcept { return trees_; }
  const std::vector<std::uint32_t>& sets() const noexcept { return sets_; }
  const std::vector<float>& base() const noexcept { return base_; }

  /// Raw margins of `rows` rows (row-major, inputs() floats each) into rows x outputs(). A categorical input that is
  /// negative, not a whole number or beyond the known categories counts as missing. No allocation.
  void margins(std::span<const float> features, std::size_t rows, std::span<float> out) const noexcept;

private:
  /// A node as the walk wants it: right if low <= x <= high. A threshold is [value, inf], a category [code, code], a leaf
  /// [value, -inf], which nothing passes; so no walk ever branches on what kind of node it is at.
  struct step {
    float low = 0, high = 0;
    std::uint32_t left = 0;
    std::uint16_t input = 0;
    std::uint8_t default_left = 0, is_set = 0;
  };
  static_assert(sizeof(step) == 16);

  void make_steps();
  template <bool WithSets> void margins_of_row(const float* row, float* out) const noexcept;
  bool in_set(std::size_t node, float x) const noexcept;

  std::vector<forest_node> nodes_;
  std::vector<step> steps_; ///< one per node
  std::vector<forest_tree> trees_;
  std::vector<std::uint32_t> sets_;
  std::vector<float> base_;
  std::vector<std::uint32_t> category_counts_;
  std::vector<std::uint16_t> categorical_; ///< indices of the categorical inputs
  bool has_sets_ = false;
};

} // namespace flywheel
