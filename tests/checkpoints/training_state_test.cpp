// A training that is resumed goes on to the bit: a two-layer network under AdamW with a schedule, shuffled data and noise on
// its inputs, its weights and moments in slices over ranks.

#include "checkpoints/checkpoint_saver.hpp"
#include "checkpoints/training_state.hpp"
#include "tests/checkpoints/sample_checkpoint.hpp"
#include "tests/checkpoints/sharded_state.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>

using namespace flywheel;
namespace fs = std::filesystem;
using testing::HasSubstr;

namespace {

constexpr std::size_t inputs = 3, hidden = 5, samples = 24, batch = 5;

struct toy_training {
  std::map<std::string, std::vector<float>> weights{{"w1", std::vector<float>(hidden * inputs)}, {"w2", std::vector<float>(hidden)}};
  std::map<std::string, std::vector<float>> m = weights, v = weights;
  training_position at{0, 0, 0, 0, 99, 0};
  random_source noise{7};

  toy_training() {
    random_source random{1};
    for (auto& [name, w] : weights)
      for (auto& x : w)
        x = static_cast<float>(random.normal());
  }

  void step() {
    if (at.sample + batch > samples) {
      ++at.epoch;
      at.sample = 0;
    }
    std::vector<std::size_t> order(samples);
    std::iota(order.begin(), order.end(), std::size_t{0});
    auto shuffling = random_source::derive(at.data_seed, std::to_string(at.epoch));
    shuffling.shuffle(order);
    std::map<std::string, std::vector<float>> g{{"w1", std::vector<float>(hidden * inputs)}, {"w2", std::vector<float>(hidden)}};
    for (std::size_t b = 0; b < batch; ++b) {
      auto data = random_source::derive(3, std::to_string(order[at.sample + b]));
      float x[inputs], h[hidden], y = 0;
      for (auto& value : x)
        value = static_cast<float>(data.normal() + 0.1 * noise.normal());
      const float target = x[0] * x[1];
      for (std::size_t i = 0; i < hidden; ++i) {
        h[i] = std::tanh(std::inner_product(x, x + inputs, &weights["w1"][i * inputs], 0.0F));
        y += h[i] * weights["w2"][i];
      }
      for (std::size_t i = 0; i < hidden; ++i) {
        g["w2"][i] += (y - target) * h[i];
        for (std::size_t j = 0; j < inputs; ++j)
          g["w1"][i * inputs + j] += (y - target) * weights["w2"][i] * (1 - h[i] * h[i]) * x[j];
      }
    }
    at.sample += batch;
    ++at.step;
    ++at.schedule_step;
    const float rate = 0.05F / std::sqrt(static_cast<float>(at.schedule_step));
    const float c1 = 1 - std::pow(0.9F, static_cast<float>(at.step)), c2 = 1 - std::pow(0.99F, static_cast<float>(at.step));
    for (auto& [name, w] : weights)
      for (std::size_t i = 0; i < w.size(); ++i) {
        m[name][i] = 0.9F * m[name][i] + 0.1F * g[name][i];
        v[name][i] = 0.99F * v[name][i] + 0.01F * g[name][i] * g[name][i];
        w[i] -= rate * (m[name][i] / c1 / (std::sqrt(v[name][i] / c2) + 1e-8F) + 0.01F * w[i]);
      }
  }

  bool operator==(const toy_training& o) const {
    return weights == o.weights && m == o.m && v == o.v && at == o.at && noise.state() == o.noise.state();
  }

  /// Every tensor with its whole memory.
  std::vector<std::pair<std::string, std::span<float>>> tensors() {
    std::vector<std::pair<std::string, std::span<float>>> all;
    for (auto& [name, w] : weights) {
      all.emplace_back(weight_name(name), w);
      all.emplace_back(slot_name("adamw", "m", name), m[name]);
      all.emplace_back(slot_name("adamw", "v", name), v[name]);
    }
    return all;
  }
};

/// A rank holds its even share of every tensor; the first also position and random state.
std::vector<tensor_part> parts_of(toy_training& t, std::uint32_t rank, std::uint32_t ranks) {
  std::vector<tensor_part> parts;
  for (const auto& [name, memory] : t.tensors())
    parts.push_back({name, tensor_type::f32, {memory.size()}, even_share(memory.size(), rank, ranks)});
  if (rank == 0) {
    parts.push_back(position_part());
    parts.push_back(tensor_part::whole(random_name("noise"), tensor_type::u64, {4}));
  }
  return parts;
}

class gang {
public:
  gang(const sharded_store& store, toy_training& t, std::uint32_t ranks) : t_(t) {
    for (std::uint32_t rank = 0; rank < ranks; ++rank) {
      saver_options o;
      o.rank = rank;
      o.ranks = ranks;
      savers_.push_back(checkpoint_saver::start(store, parts_of(t, rank, ranks), o).value());
    }
  }
  status save() {
    const auto ranks = static_cast<std::uint32_t>(savers_.size());
    for (std::uint32_t rank = 0; rank < ranks; ++rank) {
      std::vector<std::span<const std::byte>> state;
      for (const auto& [name, memory] : t_.tensors()) {
        const auto share = even_share(memory.size(), rank, ranks);
        state.push_back(std::as_bytes(memory.subspan(share.begin, share.size())));
      }
      const auto position = position_bytes(t_.at);
      const auto words = t_.noise.state();
      if (rank == 0) {
        state.emplace_back(position);
        state.push_back(std::as_bytes(std::span{words}));
      }
      FLYWHEEL_CHECK(savers_[rank]->save(t_.at.step, "{}", state));
    }
    for (auto& saver : savers_)
      FLYWHEEL_CHECK(saver->wait());
    return success();
  }

private:
  toy_training& t_;
  std::vector<std::unique_ptr<checkpoint_saver>> savers_;
};

toy_training restored(const sharded_checkpoint& c) {
  toy_training t;
  for (auto& [name, memory] : t.tensors())
    std::fill(memory.begin(), memory.end(), NAN);
  std::vector<read_request> requests;
  for (auto& [name, memory] : t.tensors())
    requests.push_back({name, {0, memory.size()}, std::as_writable_bytes(memory)});
  std::array<std::uint64_t, 4> words{};
  requests.push_back({random_name("noise"), {0, 4}, std::as_writable_bytes(std::span{words})});
  EXPECT_TRUE(c.read(requests));
  t.at = read_position(c).value();
  t.noise = random_source::from_state(words);
  return t;
}

} // namespace

TEST(training_state, resumed_at_every_step_by_any_number_of_ranks_it_ends_at_the_same_bits) {
  constexpr std::uint64_t steps = 12;
  toy_training whole;
  for (std::uint64_t s = 0; s < steps; ++s)
    whole.step();
  EXPECT_GT(whole.at.epoch, 1u) << "the data went round";
  test::scratch_folder folder;
  std::uint64_t attempt = 1;
  for (std::uint64_t stop = 1; stop < steps; ++stop) {
    // It stops after every step and goes on with another number of ranks, as a new attempt.
    auto t = stop == 1 ? toy_training{} : restored(*find_newest_sharded(folder.path())->newest);
    gang g{sharded_store::begin(folder.path(), attempt).value(), t, static_cast<std::uint32_t>(1 + attempt % 3)};
    ++attempt;
    t.step();
    ASSERT_EQ(t.at.step, stop);
    const auto saved = g.save();
    ASSERT_TRUE(saved) << saved.error().to_string();
    const auto c = *find_newest_sharded(folder.path())->newest;
    const std::string_view slots[] = {"m", "v"};
    ASSERT_TRUE(check_resumable(c.contents(), "adamw", slots));
    // From here to the end in one go.
    auto rest = restored(c);
    for (std::uint64_t s = stop; s < steps; ++s)
      rest.step();
    ASSERT_TRUE(rest == whole) << "resumed after step " << stop;
  }
}

TEST(training_state, says_what_is_missing_before_training_goes_on_without_it) {
  checkpoint_manifest m;
  const std::string_view slots[] = {"m", "v"};
  const auto add = [&](const std::string& name, std::vector<std::uint64_t> shape) {
    m.tensors.push_back({name, tensor_type::f32, std::move(shape), {}});
    std::sort(m.tensors.begin(), m.tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  };
  EXPECT_THAT(check_resumable(m, "adamw", slots).error().what, HasSubstr("state.position"));
  add("state.position", {6});
  EXPECT_TRUE(check_resumable(m, "adamw", slots));
  add("weight.w", {2, 3});
  add("adamw.m.w", {2, 3});
  EXPECT_THAT(check_resumable(m, "adamw", slots).error().what, HasSubstr("adamw.v.w is missing"));
  add("adamw.v.w", {3, 2});
  EXPECT_THAT(check_resumable(m, "adamw", slots).error().what, HasSubstr("another shape"));
  EXPECT_TRUE(check_resumable(m, "sgd", {})) << "an optimiser without memory";
  EXPECT_EQ(master_name("w"), "master.w");
}
