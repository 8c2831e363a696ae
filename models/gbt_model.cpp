#include "models/gbt_model.hpp"

#include "checkpoints/checkpoint_file.hpp"
#include "cluster/base/assert.hpp"
#include "models/features.hpp"
#include "models/model_file.hpp"

#include <algorithm>
#include <cmath>

namespace flywheel {

namespace {

constexpr const char* forest_file = "forest.h5";

std::size_t margins_of(const model_signature& s) { return s.type == task_type::multiclass ? s.classes.size() : 1; }

void softmax(std::span<float> x) noexcept {
  const float top = *std::max_element(x.begin(), x.end());
  float sum = 0;
  for (auto& v : x)
    sum += v = std::exp(v - top);
  for (auto& v : x)
    v /= sum;
}

/// One array per field, so that a stranger can read the forest without our struct.
checkpoint forest_to_tensors(const flat_forest& f) {
  std::vector<float> value;
  std::vector<std::uint32_t> left, set, root, output;
  std::vector<std::uint16_t> input;
  std::vector<std::uint8_t> kind, default_left;
  for (const auto& n : f.nodes()) {
    value.push_back(n.value);
    left.push_back(n.left);
    set.push_back(n.set);
    input.push_back(n.input);
    kind.push_back(static_cast<std::uint8_t>(n.kind));
    default_left.push_back(n.default_left);
  }
  for (const auto& t : f.trees()) {
    root.push_back(t.root);
    output.push_back(t.output);
  }
  checkpoint c;
  c.tensors = {tensor::of("node.value", value), tensor::of("node.left", left), tensor::of("node.set", set),
               tensor::of("node.input", input), tensor::of("node.kind", kind), tensor::of("node.default_left", default_left),
               tensor::of("tree.root", root), tensor::of("tree.output", output), tensor::of("sets", f.sets()),
               tensor::of("base", f.base())};
  return c;
}

template <class T> status take(const checkpoint& c, const char* name, std::vector<T>& into) {
  const auto* t = c.find(name, tensor_type_of<T>());
  if (!t)
    return error{errc::invalid_format, std::string{"the forest has no tensor "} + name};
  into = t->template to<T>();
  return success();
}

result<flat_forest> forest_from_tensors(const checkpoint& c, std::vector<std::uint32_t> counts) {
  std::vector<float> value, base;
  std::vector<std::uint32_t> left, set, root, output, sets;
  std::vector<std::uint16_t> input;
  std::vector<std::uint8_t> kind, default_left;
  FLYWHEEL_CHECK(take(c, "node.value", value));
  FLYWHEEL_CHECK(take(c, "node.left", left));
  FLYWHEEL_CHECK(take(c, "node.set", set));
  FLYWHEEL_CHECK(take(c, "node.input", input));
  FLYWHEEL_CHECK(take(c, "node.kind", kind));
  FLYWHEEL_CHECK(take(c, "node.default_left", default_left));
  FLYWHEEL_CHECK(take(c, "tree.root", root));
  FLYWHEEL_CHECK(take(c, "tree.output", output));
  FLYWHEEL_CHECK(take(c, "sets", sets));
  FLYWHEEL_CHECK(take(c, "base", base));
  const std::size_t n = value.size();
  if (left.size() != n || set.size() != n || input.size() != n || kind.size() != n || default_left.size() != n ||
      output.size() != root.size())
    return error{errc::invalid_format, "the forest's tensors differ in length"};
  std::vector<forest_node> nodes;
  for (std::size_t i = 0; i < n; ++i)
    nodes.push_back({value[i], left[i], set[i], input[i], static_cast<node_kind>(kind[i]), default_left[i]});
  std::vector<forest_tree> trees;
  for (std::size_t i = 0; i < root.size(); ++i)
    trees.push_back({root[i], 0, output[i]});
  return flat_forest::create(std::move(nodes), std::move(trees), std::move(sets), std::move(base), std::move(counts));
}

} // namespace

void link_margins(task_type type, std::size_t outputs, std::size_t rows, std::span<float> out) noexcept {
  if (type == task_type::regression)
    return;
  if (type == task_type::multiclass) {
    for (std::size_t i = 0; i < rows; ++i)
      softmax(out.subspan(i * outputs, outputs));
    return;
  }
  for (std::size_t i = rows; i-- > 0;) { // from the back: row i's margin lies where row i/2's answer will be written
    const float positive = 1.0f / (1.0f + std::exp(-out[i]));
    out[2 * i] = 1.0f - positive;
    out[2 * i + 1] = positive;
  }
}

result<std::shared_ptr<const tabular_model>> gbt_model::create(model_signature signature, flat_forest forest) {
  if (forest.outputs() != margins_of(signature) || forest.inputs() != signature.inputs.size())
    return error{errc::invalid_format, "the forest does not fit the model's inputs or classes"};
  return std::shared_ptr<const tabular_model>{new gbt_model{std::move(signature), std::move(forest)}};
}

void gbt_model::predict(std::span<const float> features, std::size_t rows, std::span<float> out) const {
  FLYWHEEL_ASSERT(out.size() == rows * signature_.outputs(), "room for the answers");
  forest_.margins(features, rows, out.first(rows * forest_.outputs()));
  link_margins(signature_.type, signature_.outputs(), rows, out);
}

status gbt_model::save(const std::filesystem::path& folder) const {
  FLYWHEEL_CHECK(write_checkpoint(folder / forest_file, forest_to_tensors(forest_)));
  return write_model_file(folder, {std::string{family()}, signature_, {forest_file}});
}

result<std::shared_ptr<const tabular_model>> gbt_model::load(model_signature signature, const std::filesystem::path& folder) {
  FLYWHEEL_TRY(const auto tensors, read_checkpoint(folder / forest_file));
  FLYWHEEL_TRY(auto forest, forest_from_tensors(tensors, category_counts(signature)));
  return create(std::move(signature), std::move(forest));
}

} // namespace flywheel
