#include "models/xgboost_model_format.hpp"

#include "cluster/base/json.hpp"

#include <algorithm>

namespace flywheel {

namespace {

using nlohmann::json;

/// The arrays of one tree, by node.
struct xgboost_tree {
  std::vector<std::int64_t> left, right, input, type, category_nodes, category_starts, category_sizes, categories;
  std::vector<double> condition;
  std::vector<std::int64_t> default_left;

  explicit xgboost_tree(const json& t) {
    for (const auto& [name, into] : {std::pair{"left_children", &left}, {"right_children", &right},
                                     {"split_indices", &input}, {"split_type", &type},
                                     {"default_left", &default_left}, {"categories_nodes", &category_nodes},
                                     {"categories_segments", &category_starts}, {"categories_sizes", &category_sizes},
                                     {"categories", &categories}})
      t.at(name).get_to(*into);
    t.at("split_conditions").get_to(condition);
  }
};

/// Appends one tree, breadth first, so that siblings are neighbours and children come after their parents.
class tree_flattener {
public:
  tree_flattener(const xgboost_tree& tree, std::vector<forest_node>& nodes, std::vector<std::uint32_t>& sets)
      : tree_(tree), nodes_(nodes), sets_(sets) {}

  void flatten() {
    std::vector<std::size_t> queue{0};
    const std::size_t first = nodes_.size();
    nodes_.emplace_back();
    for (std::size_t i = 0; i < queue.size(); ++i) {
      const auto from = queue[i];
      const auto to = first + i;
      if (tree_.left.at(from) < 0) {
        nodes_[to] = {static_cast<float>(tree_.condition.at(from)), static_cast<std::uint32_t>(to), 0, 0, node_kind::leaf, 0};
        continue;
      }
      if (nodes_.size() - first > tree_.left.size())
        throw std::out_of_range("more nodes are reached than there are");
      auto node = question(from);
      node.left = static_cast<std::uint32_t>(nodes_.size());
      nodes_[to] = node;
      queue.push_back(static_cast<std::size_t>(tree_.left.at(from)));
      queue.push_back(static_cast<std::size_t>(tree_.right.at(from)));
      nodes_.resize(nodes_.size() + 2);
    }
  }

private:
  forest_node question(std::size_t from) {
    forest_node node;
    node.input = static_cast<std::uint16_t>(tree_.input.at(from));
    node.default_left = tree_.default_left.at(from) != 0;
    if (tree_.type.at(from) == 0) {
      node.kind = node_kind::less;
      node.value = static_cast<float>(tree_.condition.at(from));
      return node;
    }
    const auto at = std::find(tree_.category_nodes.begin(), tree_.category_nodes.end(), static_cast<std::int64_t>(from));
    const auto k = static_cast<std::size_t>(at - tree_.category_nodes.begin());
    const auto start = static_cast<std::size_t>(tree_.category_starts.at(k));
    const auto size = static_cast<std::size_t>(tree_.category_sizes.at(k));
    if (size == 1) {
      node.kind = node_kind::equal;
      node.value = static_cast<float>(tree_.categories.at(start));
      return node;
    }
    node.kind = node_kind::one_of;
    node.set = static_cast<std::uint32_t>(sets_.size());
    sets_.push_back(0);
    for (std::size_t i = start; i < start + size; ++i) {
      const auto category = static_cast<std::uint32_t>(tree_.categories.at(i));
      sets_.resize(std::max<std::size_t>(sets_.size(), node.set + 2 + category / 32), 0);
      sets_[node.set + 1 + category / 32] |= 1u << (category % 32);
    }
    sets_[node.set] = static_cast<std::uint32_t>(sets_.size() - node.set - 1);
    return node;
  }

  const xgboost_tree& tree_;
  std::vector<forest_node>& nodes_;
  std::vector<std::uint32_t>& sets_;
};

} // namespace

result<flat_forest> forest_from_xgboost(std::string_view ubjson, std::vector<float> base,
                                        std::vector<std::uint32_t> category_counts) {
  std::vector<forest_node> nodes;
  std::vector<forest_tree> trees;
  std::vector<std::uint32_t> sets;
  try {
    const auto document = json::from_ubjson(ubjson.begin(), ubjson.end());
    const auto& booster = document.at("learner").at("gradient_booster");
    if (booster.at("name") != "gbtree")
      return error{errc::unsupported, "only tree boosters can be flattened, this is " + booster.at("name").dump()};
    const auto& model = booster.at("model");
    const auto& outputs = model.at("tree_info");
    for (std::size_t t = 0; t < model.at("trees").size(); ++t) {
      trees.push_back({static_cast<std::uint32_t>(nodes.size()), 0, outputs.at(t).get<std::uint32_t>()});
      const xgboost_tree tree{model.at("trees").at(t)};
      tree_flattener{tree, nodes, sets}.flatten();
    }
  } catch (const std::exception& e) {
    return error{errc::invalid_format, std::string{"XGBoost's model could not be read: "} + e.what(),
                 "tree " + std::to_string(trees.size())};
  }
  return flat_forest::create(std::move(nodes), std::move(trees), std::move(sets), std::move(base),
                             std::move(category_counts));
}

} // namespace flywheel
