#include "models/flat_forest.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/limits.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace flywheel {

namespace {

constexpr float missing = std::numeric_limits<float>::quiet_NaN();
/// Trees walked side by side: each step waits for a load, and eight independent walks fill that wait.
constexpr std::size_t lanes = 8;

error broken(const std::string& what, std::size_t node) {
  return error{errc::invalid_format, what, "forest node " + std::to_string(node)};
}

bool is_known_category(float x, std::uint32_t count) noexcept {
  return x >= 0 && x < static_cast<float>(count) && x == std::floor(x);
}

/// Depth of the tree, or nothing if it is not a tree: children come after their parent, so a walk cannot run in circles.
result<std::uint32_t> depth_of(const std::vector<forest_node>& nodes, std::uint32_t first, std::uint32_t last) {
  std::vector<std::uint32_t> depth(last - first, 0);
  std::uint32_t deepest = 0;
  for (std::uint32_t i = first; i < last; ++i) {
    const auto& node = nodes[i];
    if (node.kind == node_kind::leaf)
      continue;
    if (node.left <= i || node.left + 1 >= last)
      return broken("its children lie outside of its tree", i);
    for (const auto child : {node.left, node.left + 1}) {
      depth[child - first] = depth[i - first] + 1;
      deepest = std::max(deepest, depth[child - first]);
    }
  }
  return deepest;
}

} // namespace

result<flat_forest> flat_forest::create(std::vector<forest_node> nodes, std::vector<forest_tree> trees,
                                        std::vector<std::uint32_t> sets, std::vector<float> base,
                                        std::vector<std::uint32_t> category_counts) {
  if (category_counts.empty() || category_counts.size() > limits::data_columns_max)
    return error{errc::invalid_format, "a forest has 1 to 4096 inputs, got " + std::to_string(category_counts.size())};
  if (base.empty() || nodes.size() > std::numeric_limits<std::uint32_t>::max() / 2)
    return error{errc::invalid_format, "a forest has at least one output and at most 2^31 nodes"};
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const auto& node = nodes[i];
    if (node.kind > node_kind::one_of || node.default_left > 1)
      return broken("unknown kind of node", i);
    if (node.kind == node_kind::leaf ? node.left != i : node.input >= category_counts.size())
      return broken("a leaf that leads on, or an unknown input", i);
    if ((node.kind == node_kind::equal || node.kind == node_kind::one_of) && node.value < 0)
      return broken("a category is negative", i);
    if (!std::isfinite(node.value) && !(node.kind == node_kind::less && std::isinf(node.value)))
      return broken("its value is not finite", i);
    if ((node.kind == node_kind::less) != (category_counts[node.input] == 0) && node.kind != node_kind::leaf)
      return broken("the question does not fit its input's type", i);
    if (node.kind == node_kind::one_of && (node.set >= sets.size() || sets[node.set] > sets.size() - node.set - 1))
      return broken("its set of categories is out of range", i);
  }
  flat_forest forest;
  for (std::size_t t = 0; t < trees.size(); ++t) {
    const std::uint32_t end = t + 1 < trees.size() ? trees[t + 1].root : static_cast<std::uint32_t>(nodes.size());
    if (trees[t].root >= end || end > nodes.size() || (t == 0 && trees[t].root != 0) || trees[t].output >= base.size())
      return error{errc::invalid_format, "a tree's root or output is out of range", "forest tree " + std::to_string(t)};
    FLYWHEEL_TRY(trees[t].depth, depth_of(nodes, trees[t].root, end));
  }
  forest.nodes_ = std::move(nodes);
  forest.trees_ = std::move(trees);
  forest.sets_ = std::move(sets);
  forest.base_ = std::move(base);
  forest.category_counts_ = std::move(category_counts);
  for (std::size_t i = 0; i < forest.category_counts_.size(); ++i) {
    if (forest.category_counts_[i] > 0)
      forest.categorical_.push_back(static_cast<std::uint16_t>(i));
  }
  forest.has_sets_ = std::any_of(forest.nodes_.begin(), forest.nodes_.end(),
                                 [](const forest_node& n) { return n.kind == node_kind::one_of; });
  forest.make_steps();
  return forest;
}

void flat_forest::make_steps() {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  steps_.reserve(nodes_.size());
  for (const auto& n : nodes_) {
    const bool is_leaf = n.kind == node_kind::leaf;
    const float high = n.kind == node_kind::less ? infinity : is_leaf ? -infinity : n.value;
    steps_.push_back({n.value, high, n.left, n.input, static_cast<std::uint8_t>(is_leaf || n.default_left != 0),
                      n.kind == node_kind::one_of});
  }
}

bool flat_forest::in_set(std::size_t node, float x) const noexcept {
  const auto category = static_cast<std::uint32_t>(x);
  const auto set = nodes_[node].set;
  return category / 32 < sets_[set] && ((sets_[set + 1 + category / 32] >> (category % 32)) & 1u) != 0;
}

template <bool WithSets> void flat_forest::margins_of_row(const float* row, float* out) const noexcept {
  std::copy(base_.begin(), base_.end(), out);
  const step* steps = steps_.data();
  std::array<std::uint32_t, lanes> at;
  for (std::size_t first = 0; first < trees_.size(); first += lanes) {
    const std::size_t count = std::min(lanes, trees_.size() - first);
    std::uint32_t depth = 0;
    for (std::size_t k = 0; k < lanes; ++k) {
      const auto& tree = trees_[first + std::min(k, count - 1)];
      at[k] = tree.root;
      depth = std::max(depth, tree.depth);
    }
    for (std::uint32_t level = 0; level < depth; ++level) {
#pragma GCC unroll 8
      for (std::size_t k = 0; k < lanes; ++k) {
        const step s = steps[at[k]];
        const float x = row[s.input];
        // Single "&" and no "?:": which way a row goes is what the processor cannot guess. NaN passes both comparisons.
        const unsigned is_missing = x != x;
        unsigned right = static_cast<unsigned>(!(x < s.low)) & static_cast<unsigned>(!(x > s.high)) & ~(is_missing & s.default_left);
        if constexpr (WithSets) {
          if (s.is_set != 0 && is_missing == 0)
            right = in_set(at[k], x);
        }
        at[k] = s.left + right;
      }
    }
    for (std::size_t k = 0; k < count; ++k)
      out[trees_[first + k].output] += nodes_[at[k]].value;
  }
}

void flat_forest::margins(std::span<const float> features, std::size_t rows, std::span<float> out) const noexcept {
  FLYWHEEL_ASSERT(features.size() == rows * inputs() && out.size() == rows * outputs(), "shapes of a prediction");
  std::array<float, limits::data_columns_max> row;
  for (std::size_t i = 0; i < rows; ++i) {
    const float* given = features.data() + i * inputs();
    if (!categorical_.empty()) {
      std::copy(given, given + inputs(), row.begin());
      for (const auto k : categorical_) {
        if (!is_known_category(row[k], category_counts_[k]))
          row[k] = missing;
      }
      given = row.data();
    }
    if (has_sets_)
      margins_of_row<true>(given, out.data() + i * outputs());
    else
      margins_of_row<false>(given, out.data() + i * outputs());
  }
}

} // namespace flywheel
