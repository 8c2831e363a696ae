// A linear model trained by 1 to 4 real processes: the gang learns what one rank with the whole batch learns, in the same bits every
// time, and sharding the optimiser's state changes nothing.

#include "cluster/base/random.hpp"
#include "gpu/kernels/adamw.hpp"
#include "nccl/sharded_optimizer.hpp"
#include "tests/nccl/gang_fixture.hpp"

#include <cmath>
#include <cstring>
#include <numeric>
#include <thread>

namespace flywheel::testing {
namespace {

// y = sum over groups of w_g . x_g: each group of weights is a parameter; odd sizes, one empty, the last the bias.
const std::vector<std::size_t> parameter_sizes{37, 1, 0, 64, 5, 130, 1};
constexpr std::size_t weights_total = 238;
constexpr std::size_t rows = 24; // a multiple of 1, 2, 3 and 4
constexpr int steps = 10;
constexpr double rate = 0.02, decay = 0.01;

struct data_set {
  std::vector<std::vector<float>> x;
  std::vector<float> y;
  data_set() {
    random_source random{5};
    std::vector<float> truth(weights_total);
    for (auto& t : truth)
      t = static_cast<float>(random.normal());
    for (std::size_t i = 0; i < rows; ++i) {
      x.emplace_back(weights_total);
      for (auto& v : x.back())
        v = static_cast<float>(random.normal());
      y.push_back(std::inner_product(x.back().begin(), x.back().end(), truth.begin(), 0.0F));
    }
  }
};

using weights = std::array<float, weights_total>; ///< parameters one after the other
using get_parameter = std::function<std::span<float>(std::size_t)>;

/// The mean gradient of the squared error over rows [first, last); done(p) after each parameter, in the order `order`.
void backward(const data_set& data, std::size_t first, std::size_t last, const get_parameter& weight, const get_parameter& gradient,
              const std::vector<std::size_t>& order, const std::function<void(std::size_t)>& done) {
  std::vector<float> wrong;
  for (std::size_t i = first; i < last; ++i) {
    float sum = -data.y[i];
    for (std::size_t p = 0, at = 0; p < parameter_sizes.size(); at += parameter_sizes[p++])
      for (std::size_t k = 0; k < parameter_sizes[p]; ++k)
        sum += weight(p)[k] * data.x[i][at + k];
    wrong.push_back(2 * sum / static_cast<float>(last - first));
  }
  std::vector<std::size_t> start(parameter_sizes.size());
  std::exclusive_scan(parameter_sizes.begin(), parameter_sizes.end(), start.begin(), std::size_t{0});
  for (const auto p : order) {
    for (std::size_t k = 0; k < parameter_sizes[p]; ++k) {
      float g = 0;
      for (std::size_t i = first; i < last; ++i)
        g += wrong[i - first] * data.x[i][start[p] + k];
      gradient(p)[k] = g;
    }
    done(p);
  }
}

/// Backward makes the last gradients first; a different order for every seed but 0.
std::vector<std::size_t> order_of(std::uint64_t seed) {
  std::vector<std::size_t> order(parameter_sizes.size());
  std::iota(order.rbegin(), order.rend(), std::size_t{0});
  if (seed != 0)
    random_source{seed}.shuffle(order);
  return order;
}

weights initial() {
  weights w;
  random_source random{9};
  for (auto& x : w)
    x = static_cast<float>(random.normal() * 0.1);
  return w;
}

void load(const weights& w, const get_parameter& parameter) {
  for (std::size_t p = 0, at = 0; p < parameter_sizes.size(); at += parameter_sizes[p++])
    std::copy_n(w.begin() + static_cast<std::ptrdiff_t>(at), parameter_sizes[p], parameter(p).begin());
}
void save(weights& w, const get_parameter& parameter) {
  for (std::size_t p = 0, at = 0; p < parameter_sizes.size(); at += parameter_sizes[p++])
    std::copy_n(parameter(p).begin(), parameter_sizes[p], w.begin() + static_cast<std::ptrdiff_t>(at));
}

/// Plain AdamW over replicated state, gradients averaged in buckets.
std::string train_replicated(communicator& c, std::uint64_t arrival_seed, weights& out) {
  const data_set data;
  communication_thread thread{c};
  auto made = gradient_buckets::make(thread, parameter_sizes, 64 * sizeof(float), bucket_reduction::all_ranks, plenty);
  GANG_CHECK(made, made ? "" : made.error().to_string());
  auto& buckets = **made;
  const auto n = buckets.plan().elements;
  std::vector<float> flat(n), m(n), v(n);
  const get_parameter weight = [&](std::size_t p) { return std::span{flat}.subspan(buckets.plan().parameters[p].begin, parameter_sizes[p]); };
  load(initial(), weight);
  const std::size_t share = rows / static_cast<std::size_t>(c.size()), first = share * static_cast<std::size_t>(c.rank());
  for (int step = 1; step <= steps; ++step) {
    const auto seed = arrival_seed == 0 ? 0 : arrival_seed + static_cast<std::uint64_t>(step * 10 + c.rank());
    backward(data, first, first + share, weight, [&](std::size_t p) { return buckets.gradient(p); }, order_of(seed),
             [&](std::size_t p) { buckets.ready(p); });
    GANG_OK(buckets.finish());
    gpu::adamw<float>(flat, buckets.flat(), m, v, rate, decay, static_cast<std::uint64_t>(step));
  }
  save(out, weight);
  return {};
}

std::string train_sharded(communicator& c, std::uint64_t arrival_seed, weights& out) {
  const data_set data;
  communication_thread thread{c};
  auto made = gradient_buckets::make(thread, parameter_sizes, 64 * sizeof(float), bucket_reduction::own_part, plenty);
  GANG_CHECK(made, made ? "" : made.error().to_string());
  auto& buckets = **made;
  auto sharded = sharded_optimizer::make(buckets);
  GANG_CHECK(sharded, sharded ? "" : sharded.error().to_string());
  auto& zero = **sharded;
  std::vector<float> m(zero.state_elements()), v(zero.state_elements());
  const get_parameter weight = [&](std::size_t p) { return zero.parameter(p); };
  if (c.rank() == 0)
    load(initial(), weight);
  GANG_OK(zero.spread_parameters());
  const std::size_t share = rows / static_cast<std::size_t>(c.size()), first = share * static_cast<std::size_t>(c.rank());
  for (int step = 1; step <= steps; ++step) {
    const auto seed = arrival_seed == 0 ? 0 : arrival_seed + static_cast<std::uint64_t>(step * 10 + c.rank());
    backward(data, first, first + share, weight, [&](std::size_t p) { return buckets.gradient(p); }, order_of(seed),
             [&](std::size_t p) { buckets.ready(p); });
    GANG_OK(zero.step([&](std::span<float> w, std::span<const float> g, std::size_t at) {
      gpu::adamw<float>(w, g, std::span{m}.subspan(at, w.size()), std::span{v}.subspan(at, w.size()), rate, decay,
                        static_cast<std::uint64_t>(step));
    }));
  }
  save(out, weight);
  return {};
}

using trainer = std::string (*)(communicator&, std::uint64_t, weights&);

/// Trains with a gang; all ranks must end with the same bits.
weights trained(int ranks, backend use, trainer train, std::uint64_t arrival_seed) {
  shared_value<std::array<weights, 4>> ends;
  gang_of_processes gang{ranks, use};
  gang.run([&](int rank) {
    return gang.joined(rank, [&](communicator& c) { return train(c, arrival_seed, (*ends)[static_cast<std::size_t>(c.rank())]); });
  });
  for (int r = 1; r < ranks; ++r)
    EXPECT_EQ(std::memcmp(&(*ends)[0], &(*ends)[static_cast<std::size_t>(r)], sizeof(weights)), 0) << "rank " << r << " differs from rank 0";
  return (*ends)[0];
}

bool same_bits(const weights& a, const weights& b) { return std::memcmp(&a, &b, sizeof(a)) == 0; }

class training : public ::testing::TestWithParam<int> {};

TEST_P(training, equals_one_rank_with_the_whole_batch_to_the_bound_of_the_arithmetic) {
  const auto one = trained(1, backend::shared_memory, train_replicated, 0);
  const auto gang = trained(GetParam(), backend::shared_memory, train_replicated, 0);
  EXPECT_FALSE(same_bits(one, initial())) << "something was learnt";
  // AdamW divides by the root of the second moment: a gradient near zero may turn the sign of a step of `rate`. Elsewhere rounding
  // differs by a few units in the last place a step.
  for (std::size_t i = 0; i < weights_total; ++i)
    EXPECT_NEAR(gang[i], one[i], 1e-4) << i;
}

TEST_P(training, gives_the_same_bits_in_every_run_whatever_gradient_is_ready_first) {
  const auto first = trained(GetParam(), backend::shared_memory, train_replicated, 0);
  EXPECT_TRUE(same_bits(first, trained(GetParam(), backend::shared_memory, train_replicated, 0)));
  EXPECT_TRUE(same_bits(first, trained(GetParam(), backend::shared_memory, train_replicated, 1234))) << "another order of arrival on every rank";
}

TEST_P(training, over_gloo_gives_the_bits_of_shared_memory) {
  EXPECT_TRUE(same_bits(trained(GetParam(), backend::shared_memory, train_replicated, 0), trained(GetParam(), backend::gloo, train_replicated, 77)));
}

TEST_P(training, with_sharded_state_equals_plain_adamw_to_the_bit) {
  const auto plain = trained(GetParam(), backend::shared_memory, train_replicated, 0);
  EXPECT_TRUE(same_bits(plain, trained(GetParam(), backend::shared_memory, train_sharded, 0)));
  EXPECT_TRUE(same_bits(plain, trained(GetParam(), backend::gloo, train_sharded, 99)));
}

INSTANTIATE_TEST_SUITE_P(gangs, training, ::testing::Values(1, 2, 3, 4), [](const auto& p) { return "of_" + std::to_string(p.param); });

TEST(sharded_optimizer, state_is_divided_and_says_what_it_belongs_to) {
  shared_value<std::array<std::atomic<std::size_t>, 3>> elements;
  gang_of_processes gang{3, backend::shared_memory};
  gang.run_joined([&](communicator& c) {
    communication_thread thread{c};
    const std::vector<std::size_t> sizes{10'000, 1, 5000};
    auto buckets = gradient_buckets::make(thread, sizes, 4096, bucket_reduction::own_part, plenty);
    GANG_CHECK(buckets, "buckets");
    auto zero = sharded_optimizer::make(**buckets);
    GANG_CHECK(zero, "sharded");
    std::size_t sum = 0;
    for (const auto& r : (*zero)->owned())
      sum += r.count;
    GANG_CHECK(sum == (*zero)->state_elements(), "owned ranges and state agree");
    (*elements)[static_cast<std::size_t>(c.rank())] = sum;
    return std::string{};
  });
  EXPECT_EQ((*elements)[0] + (*elements)[1] + (*elements)[2], 15'001u);
  for (const auto& e : *elements)
    EXPECT_LT(e, 15'001u / 3 + 200);
}

TEST(gradient_buckets, a_lost_rank_ends_the_step_with_its_name) {
  gang_of_processes gang{2, backend::shared_memory};
  for (int r : {0, 1})
    gang.start(r, [&](int rank) {
      return gang.joined(rank, [&](communicator& c) {
        communication_thread thread{c};
        auto buckets = gradient_buckets::make(thread, parameter_sizes, 256, bucket_reduction::all_ranks, plenty);
        GANG_CHECK(buckets, "buckets");
        for (std::size_t p = parameter_sizes.size(); p-- > 0;) {
          if (rank == 1 && p == 3)
            ::raise(SIGKILL);
          (*buckets)->ready(p);
        }
        const auto outcome = (*buckets)->finish();
        GANG_CHECK(!outcome && outcome.error().code == errc::worker_lost, outcome ? "no error" : outcome.error().to_string());
        GANG_CHECK(c.failure()->rank == 1, outcome.error().to_string());
        return std::string{};
      });
    });
  EXPECT_EQ(gang.wait(1), "killed");
  EXPECT_EQ(gang.wait(0), "");
}

} // namespace
} // namespace flywheel::testing
