#include "models/mlp_model.hpp"

#include "checkpoints/checkpoint_file.hpp"
#include "cluster/base/assert.hpp"
#include "cluster/base/json.hpp"
#include "gpu/denormals.hpp"
#include "gpu/kernels/loss.hpp"
#include "models/model_file.hpp"

#include <algorithm>
#include <cmath>

namespace flywheel {

namespace {

constexpr const char* network_file = "network.h5";

struct prediction_space {
  std::vector<float> numbers;
  std::vector<std::uint32_t> categories;
  gpu::tabular_workspace<float> network;
};

nlohmann::json shape_to_json(const gpu::tabular_network_shape& s, std::size_t members) {
  return {{"numeric_width", s.numeric_width},
          {"category_width_max", s.category_width_max},
          {"hidden", s.hidden},
          {"blocks", s.blocks},
          {"activation", s.nonlinearity == gpu::activation::relu ? "relu" : "gelu"},
          {"members", members}};
}

/// Bounds keep a wrong file from asking for absurd memory; the parameters' length is checked against the shape besides.
result<std::pair<gpu::tabular_network_shape, std::size_t>> shape_from(const std::string& text) {
  gpu::tabular_network_shape s;
  try {
    const auto j = nlohmann::json::parse(text);
    const auto number = [&](const char* name, std::uint32_t low, std::uint32_t high) {
      const auto x = j.at(name).get<std::uint32_t>();
      if (x < low || x > high)
        throw std::out_of_range(std::string{name} + " is out of range");
      return x;
    };
    s.numeric_width = number("numeric_width", 1, 1024);
    s.category_width_max = number("category_width_max", 1, 1024);
    s.hidden = number("hidden", 1, 65'536);
    s.blocks = number("blocks", 0, 256);
    const auto activation = j.at("activation").get<std::string>();
    if (activation != "relu" && activation != "gelu")
      throw std::invalid_argument("unknown activation");
    s.nonlinearity = activation == "relu" ? gpu::activation::relu : gpu::activation::gelu;
    return std::pair{s, static_cast<std::size_t>(number("members", 1, 1024))};
  } catch (const std::exception& e) {
    return error{errc::invalid_format, std::string{"the network's shape: "} + e.what(), network_file};
  }
}

template <class T> status take(const checkpoint& c, const std::string& name, std::vector<T>& into) {
  const auto* t = c.find(name, tensor_type_of<T>());
  if (!t)
    return error{errc::invalid_format, "there is no tensor " + name, network_file};
  into = t->template to<T>();
  return success();
}

std::string member_name(std::size_t m) { return "member" + std::to_string(m); }

} // namespace

mlp_model::mlp_model(model_signature signature, tabular_encoder encoder, std::vector<gpu::tabular_network<float>> members,
                     target_scale target)
    : tabular_model(std::move(signature)), encoder_(std::move(encoder)), members_(std::move(members)), target_(target) {
  FLYWHEEL_ASSERT(!members_.empty(), "a model without a network");
}

void mlp_model::predict(std::span<const float> features, std::size_t rows, std::span<float> out) const {
  const std::size_t inputs = signature_.inputs.size(), outputs = signature_.outputs();
  FLYWHEEL_ASSERT(features.size() == rows * inputs && out.size() == rows * outputs, "shapes of a prediction");
  thread_local prediction_space space;
  const gpu::without_denormals fast;
  std::fill(out.begin(), out.end(), 0.0f);
  for (std::size_t first = 0; first < rows; first += mlp_predict_rows) {
    const std::size_t count = std::min(mlp_predict_rows, rows - first);
    space.numbers.resize(std::max<std::size_t>(space.numbers.size(), count * encoder_.numbers()));
    space.categories.resize(std::max<std::size_t>(space.categories.size(), count * encoder_.categories()));
    for (std::size_t i = 0; i < count; ++i)
      encoder_.encode_row(features.data() + (first + i) * inputs, space.numbers.data() + i * encoder_.numbers(),
                          space.categories.data() + i * encoder_.categories());
    const gpu::tabular_batch<float> batch{{space.numbers.data(), count, encoder_.numbers()},
                                          {space.categories.data(), count, encoder_.categories()}};
    const float share = 1.0f / static_cast<float>(members_.size());
    for (const auto& member : members_) {
      member.forward(batch, space.network, {});
      if (signature_.type != task_type::regression)
        gpu::softmax(space.network.logits);
      for (std::size_t i = 0; i < count * outputs; ++i)
        out[first * outputs + i] += share * space.network.logits.data[i];
    }
  }
  if (signature_.type == task_type::regression) {
    for (float& y : out)
      y = static_cast<float>(static_cast<double>(y) * target_.scale + target_.offset);
  }
}

status mlp_model::save(const std::filesystem::path& folder) const {
  const auto encoder = encoder_.save();
  checkpoint c;
  c.attributes = shape_to_json(members_.front().shape(), members_.size()).dump();
  c.tensors = {tensor::of("encoder.means", encoder.means), tensor::of("encoder.deviations", encoder.deviations),
               tensor::of("encoder.edges", encoder.edges), tensor::of("encoder.edge_counts", encoder.edge_counts),
               tensor::of("target", std::vector<double>{target_.offset, target_.scale})};
  for (std::size_t m = 0; m < members_.size(); ++m)
    c.tensors.push_back(tensor::of<float>(member_name(m), members_[m].parameters()));
  FLYWHEEL_CHECK(write_checkpoint(folder / network_file, c));
  return write_model_file(folder, {std::string{family()}, signature_, {network_file}});
}

result<std::shared_ptr<const tabular_model>> mlp_model::load(model_signature signature, const std::filesystem::path& folder) {
  FLYWHEEL_TRY(const auto c, read_checkpoint(folder / network_file));
  FLYWHEEL_TRY(auto shape_and_members, shape_from(c.attributes));
  auto& [shape, count] = shape_and_members;
  tabular_encoder::state state;
  std::vector<double> target;
  FLYWHEEL_CHECK(take(c, "encoder.means", state.means));
  FLYWHEEL_CHECK(take(c, "encoder.deviations", state.deviations));
  FLYWHEEL_CHECK(take(c, "encoder.edges", state.edges));
  FLYWHEEL_CHECK(take(c, "encoder.edge_counts", state.edge_counts));
  FLYWHEEL_CHECK(take(c, "target", target));
  if (target.size() != 2)
    return error{errc::invalid_format, "the target's scale has two numbers", network_file};
  FLYWHEEL_TRY(auto encoder, tabular_encoder::load(signature, state));
  shape.edges = encoder.edges();
  shape.categories = encoder.table_rows();
  shape.outputs = static_cast<std::uint32_t>(signature.outputs());
  std::vector<gpu::tabular_network<float>> members;
  for (std::size_t m = 0; m < count; ++m) {
    std::vector<float> parameters;
    FLYWHEEL_CHECK(take(c, member_name(m), parameters));
    if (parameters.size() != shape.parameter_count()) // asked before a network of that shape is made
      return error{errc::invalid_format, member_name(m) + " does not fit the network's shape", network_file};
    gpu::tabular_network<float> network{shape, 0};
    std::copy(parameters.begin(), parameters.end(), network.parameters().begin());
    members.push_back(std::move(network));
  }
  return std::shared_ptr<const tabular_model>{
      std::make_shared<mlp_model>(std::move(signature), std::move(encoder), std::move(members), target_scale{target[0], target[1]})};
}

} // namespace flywheel
