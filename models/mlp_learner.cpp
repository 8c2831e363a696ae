#include "cluster/base/random.hpp"
#include "gpu/denormals.hpp"
#include "gpu/kernels/adamw.hpp"
#include "gpu/kernels/gemm.hpp"
#include "gpu/kernels/loss.hpp"
#include "gpu/schedule.hpp"
#include "models/learner.hpp"
#include "models/mlp_model.hpp"
#include "models/param_reader.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace flywheel {

namespace {

/// A gradient longer than this is cut: single steep batches otherwise undo many good steps.
constexpr double gradient_norm_max = 1.0;
/// Part of all steps spent warming up.
constexpr double warmup_part = 0.05;

struct mlp_params {
  double learning_rate, weight_decay, dropout, label_smoothing;
  std::uint32_t hidden, blocks, numeric_width, segments, batch, members;
  gpu::activation nonlinearity;
};

result<mlp_params> read_params(const trial_spec& spec) {
  param_reader read{"mlp", spec.params};
  const auto count = [&](const char* name, std::int64_t low, std::int64_t high) {
    return static_cast<std::uint32_t>(read.integer(name, low, high));
  };
  mlp_params p;
  p.learning_rate = read.real("learning_rate", 1e-6, 1);
  p.weight_decay = read.real("weight_decay", 0, 100);
  p.dropout = read.real("dropout", 0, 0.9);
  p.label_smoothing = read.real("label_smoothing", 0, 0.5);
  p.hidden = count("hidden", 1, 4096);
  p.blocks = count("blocks", 0, 32);
  p.numeric_width = count("numeric_width", 1, 256);
  p.segments = count("segments", 1, 1024);
  p.batch = count("batch", 1, 65'536);
  p.members = count("members", 1, 64);
  p.nonlinearity = read.choice("activation", {"relu", "gelu"}) == "relu" ? gpu::activation::relu : gpu::activation::gelu;
  FLYWHEEL_CHECK(read.finish());
  return p;
}

target_scale scale_of(task_type type, const std::vector<double>& target) {
  if (type != task_type::regression)
    return {};
  const auto n = static_cast<double>(target.size());
  double mean = 0, squares = 0;
  for (const double y : target)
    mean += y / n;
  for (const double y : target)
    squares += (y - mean) * (y - mean) / n;
  return {mean, squares > 0 ? std::sqrt(squares) : 1.0};
}

/// All rows, encoded once.
struct encoded_rows {
  std::vector<float> numbers;
  std::vector<std::uint32_t> categories;
};

encoded_rows encode(const tabular_encoder& encoder, const learning_rows& rows, std::size_t inputs) {
  encoded_rows e;
  e.numbers.resize(rows.rows() * encoder.numbers());
  e.categories.resize(rows.rows() * encoder.categories());
  for (std::size_t i = 0; i < rows.rows(); ++i)
    encoder.encode_row(rows.features.data() + i * inputs, e.numbers.data() + i * encoder.numbers(),
                       e.categories.data() + i * encoder.categories());
  return e;
}

/// One network and its optimiser.
struct member {
  gpu::tabular_network<float> network;
  std::vector<float> moment1, moment2;
  std::uint64_t seed;

  member(const gpu::tabular_network_shape& shape, std::uint64_t s)
      : network(shape, s), moment1(network.parameters().size()), moment2(moment1.size()), seed(s) {}
};

class mlp_learner final : public learner {
public:
  mlp_learner(learner_setup setup, const mlp_params& p)
      : signature_(setup.signature), p_(p), inputs_(signature_.inputs.size()),
        encoder_(tabular_encoder::fit(signature_, setup.train.features, p.segments)),
        target_(scale_of(signature_.type, setup.train.target)), rows_(setup.train.rows()),
        train_(encode(encoder_, setup.train, inputs_)), validation_(std::move(setup.validation)) {
    for (const double y : setup.train.target) {
      labels_.push_back(signature_.type == task_type::regression ? 0 : static_cast<std::uint32_t>(y));
      values_.push_back(static_cast<float>((y - target_.offset) / target_.scale));
    }
    gpu::tabular_network_shape shape;
    shape.edges = encoder_.edges();
    shape.categories = encoder_.table_rows();
    shape.numeric_width = p.numeric_width;
    shape.hidden = p.hidden;
    shape.blocks = p.blocks;
    shape.outputs = static_cast<std::uint32_t>(signature_.outputs());
    shape.nonlinearity = p.nonlinearity;
    for (std::uint32_t m = 0; m < p.members; ++m)
      members_.emplace_back(shape, random_source::derive(setup.seed, "member/" + std::to_string(m)).next());
    gradient_.resize(members_.front().network.parameters().size());
    batches_ = (rows_ + p.batch - 1) / p.batch;
    schedule_.peak = p.learning_rate;
    schedule_.total = batches_ * setup.spec.resource_max;
    schedule_.warmup = static_cast<std::uint64_t>(warmup_part * static_cast<double>(schedule_.total));
    gpu::set_gemm_threads(setup.spec.threads);
  }

  result<bool> advance_to(std::uint32_t resource, const std::atomic<bool>& stop) override {
    const gpu::without_denormals fast;
    for (; epochs_ < resource; ++epochs_) {
      for (auto& m : members_) {
        if (!run_epoch(m, stop))
          return false;
      }
    }
    return true;
  }

  result<std::vector<float>> validate() override {
    std::vector<float> out(validation_.rows() * signature_.outputs());
    make_model()->predict(validation_.features, validation_.rows(), out);
    return out;
  }

  status save(checkpoint& c, const std::string& prefix) override {
    c.tensors.push_back(tensor::of(prefix + "epochs", std::vector<std::uint32_t>{epochs_}));
    for (std::size_t m = 0; m < members_.size(); ++m) {
      const auto name = prefix + "member" + std::to_string(m);
      c.tensors.push_back(tensor::of<float>(name + ".parameters", members_[m].network.parameters()));
      c.tensors.push_back(tensor::of(name + ".moment1", members_[m].moment1));
      c.tensors.push_back(tensor::of(name + ".moment2", members_[m].moment2));
    }
    return success();
  }

  status load(const checkpoint& c, const std::string& prefix) override {
    const auto* epochs = c.find(prefix + "epochs", tensor_type::u32);
    if (!epochs || epochs->bytes.size() != sizeof(std::uint32_t))
      return error{errc::invalid_format, "the checkpoint holds no network", prefix};
    epochs_ = epochs->to<std::uint32_t>().front();
    for (std::size_t m = 0; m < members_.size(); ++m) {
      const auto name = prefix + "member" + std::to_string(m);
      FLYWHEEL_CHECK(take(c, name + ".parameters", members_[m].network.parameters()));
      FLYWHEEL_CHECK(take(c, name + ".moment1", members_[m].moment1));
      FLYWHEEL_CHECK(take(c, name + ".moment2", members_[m].moment2));
    }
    return success();
  }

  result<std::shared_ptr<const tabular_model>> model() const override {
    return std::shared_ptr<const tabular_model>{make_model()};
  }

private:
  static status take(const checkpoint& c, const std::string& name, std::span<float> into) {
    const auto* t = c.find(name, tensor_type::f32);
    if (!t || t->bytes.size() != into.size_bytes())
      return error{errc::invalid_format, "the checkpoint's tensor is missing or of another size", name};
    std::ranges::copy(t->to<float>(), into.begin());
    return success();
  }

  std::shared_ptr<mlp_model> make_model() const {
    std::vector<gpu::tabular_network<float>> networks;
    for (const auto& m : members_)
      networks.push_back(m.network);
    return std::make_shared<mlp_model>(signature_, encoder_, std::move(networks), target_);
  }

  /// Once through all rows, in an order that depends on the epoch alone; false if stopped.
  bool run_epoch(member& m, const std::atomic<bool>& stop) {
    order_.resize(rows_);
    std::iota(order_.begin(), order_.end(), 0u);
    random_source::derive(m.seed, "epoch/" + std::to_string(epochs_)).shuffle(order_);
    for (std::size_t b = 0; b < batches_; ++b) {
      if (stop.load(std::memory_order_relaxed))
        return false;
      const std::size_t first = b * p_.batch;
      update(m, std::span{order_}.subspan(first, std::min<std::size_t>(p_.batch, rows_ - first)), epochs_ * batches_ + b);
    }
    return true;
  }

  void update(member& m, std::span<const std::uint32_t> rows, std::uint64_t step) {
    const auto batch = gather(rows);
    const gpu::dropout_plan plan{p_.dropout, gpu::philox_key{m.seed}, step};
    m.network.forward(batch, work_, plan);
    if (signature_.type == task_type::regression)
      gpu::squared_error<float>(work_.logits, batch_values_);
    else
      gpu::softmax_cross_entropy(work_.logits, batch_labels_, p_.label_smoothing);
    m.network.backward(batch, work_, plan, gradient_, gpu::gradient_write::over);
    gpu::clip_gradient<float>(gradient_, gradient_norm_max);
    const double rate = schedule_.at(step);
    const std::span<float> weights = m.network.parameters(), m1{m.moment1}, m2{m.moment2};
    // Neighbours that decay alike in one go: most blocks are a few numbers long.
    const auto& blocks = m.network.blocks();
    for (std::size_t first = 0, next = 0; first < blocks.size(); first = next) {
      while (next < blocks.size() && blocks[next].decays == blocks[first].decays)
        ++next;
      const std::size_t begin = blocks[first].offset, end = blocks[next - 1].offset + blocks[next - 1].size();
      const auto part = [&](auto all) { return all.subspan(begin, end - begin); };
      gpu::adamw<float>(part(weights), part(std::span<const float>{gradient_}), part(m1), part(m2), rate,
                        blocks[first].decays ? p_.weight_decay : 0, step + 1);
    }
  }

  gpu::tabular_batch<float> gather(std::span<const std::uint32_t> rows) {
    const std::size_t numbers = encoder_.numbers(), categories = encoder_.categories();
    batch_numbers_.clear(), batch_categories_.clear(), batch_labels_.clear(), batch_values_.clear();
    for (const auto row : rows) {
      const auto n = train_.numbers.begin() + static_cast<std::ptrdiff_t>(row * numbers);
      const auto c = train_.categories.begin() + static_cast<std::ptrdiff_t>(row * categories);
      batch_numbers_.insert(batch_numbers_.end(), n, n + static_cast<std::ptrdiff_t>(numbers));
      batch_categories_.insert(batch_categories_.end(), c, c + static_cast<std::ptrdiff_t>(categories));
      batch_labels_.push_back(labels_[row]);
      batch_values_.push_back(values_[row]);
    }
    return {{batch_numbers_.data(), rows.size(), numbers}, {batch_categories_.data(), rows.size(), categories}};
  }

  const model_signature& signature_;
  mlp_params p_;
  std::size_t inputs_;
  tabular_encoder encoder_;
  target_scale target_;
  std::size_t rows_, batches_ = 0;
  encoded_rows train_;
  learning_rows validation_;
  std::vector<std::uint32_t> labels_;
  std::vector<float> values_;
  std::vector<member> members_;
  gpu::cosine_schedule schedule_;
  std::uint32_t epochs_ = 0;
  // Room reused from batch to batch.
  gpu::tabular_workspace<float> work_;
  std::vector<float> gradient_, batch_numbers_, batch_values_;
  std::vector<std::uint32_t> order_, batch_categories_, batch_labels_;
};

} // namespace

result<std::unique_ptr<learner>> make_mlp_learner(learner_setup setup) {
  FLYWHEEL_TRY(const auto p, read_params(setup.spec));
  return std::unique_ptr<learner>{std::make_unique<mlp_learner>(std::move(setup), p)};
}

} // namespace flywheel
