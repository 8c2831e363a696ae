// bench_tabular weights FILE            the initial parameters, raw floats
// bench_tabular serve FILE THREADS      from those: each line "N" on standard input trains N steps and answers with
//                                       "SECONDS LOSS" (of the last step)
// The network of models/mlp: 20 numbers in 16 segments each, two residual blocks of 128, batches of 256 rows, AdamW. The
// data of step s are made by a formula that bench/tabular_peer.py repeats.

#include "cluster/base/clock.hpp"
#include "gpu/denormals.hpp"
#include "gpu/kernels/adamw.hpp"
#include "gpu/kernels/loss.hpp"
#include "gpu/models/tabular_network.hpp"
#include "gpu/parallel.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>

using namespace flywheel::gpu;

namespace {

constexpr std::size_t rows = 256, features = 20, segments = 16, batches = 16;

tabular_network_shape shape() {
  tabular_network_shape s;
  std::vector<double> edges;
  for (std::size_t k = 0; k <= segments; ++k)
    edges.push_back(static_cast<double>(k) / segments);
  s.edges.assign(features, edges);
  return s;
}

double hashed(std::uint64_t n) {
  std::uint64_t z = n + 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

struct data {
  std::vector<float> numbers;
  std::vector<std::uint32_t> label;
};

/// Uniform numbers; the label says whether the first two add up to more than 1.
data batch_of(std::size_t b) {
  data d{std::vector<float>(rows * features), std::vector<std::uint32_t>(rows)};
  for (std::size_t i = 0; i < d.numbers.size(); ++i)
    d.numbers[i] = static_cast<float>(hashed(b * rows * features + i));
  for (std::size_t i = 0; i < rows; ++i)
    d.label[i] = d.numbers[i * features] + d.numbers[i * features + 1] > 1.0f ? 1 : 0;
  return d;
}

int serve(const char* file, unsigned thread_count) {
  set_threads(thread_count);
  const without_denormals quick;
  tabular_network<float> network{shape(), 1};
  const auto weights = network.parameters();
  std::ifstream from{file, std::ios::binary};
  from.read(reinterpret_cast<char*>(weights.data()), static_cast<std::streamsize>(weights.size_bytes()));
  if (!from)
    return std::fprintf(stderr, "bench_tabular: %s holds fewer than %zu floats\n", file, weights.size()), 1;
  std::vector<data> all;
  for (std::size_t b = 0; b < batches; ++b)
    all.push_back(batch_of(b));
  std::vector<float> gradient(weights.size()), moment1(weights.size()), moment2(weights.size());
  tabular_workspace<float> work;
  std::uint64_t step = 0;
  for (std::size_t count; std::cin >> count;) {
    double loss = 0;
    const auto start = flywheel::system_clock().mono();
    for (std::size_t n = 0; n < count; ++n, ++step) {
      const auto& d = all[step % batches];
      const tabular_batch<float> batch{{d.numbers.data(), rows, features}, {}};
      network.forward(batch, work, {});
      loss = softmax_cross_entropy<float>(work.logits, d.label);
      network.backward(batch, work, {}, gradient, gradient_write::over);
      adamw<float>(weights, gradient, moment1, moment2, 1e-3, 0, step + 1);
    }
    std::printf("%.6f %.6f\n", std::chrono::duration<double>(flywheel::system_clock().mono() - start).count(), loss);
    std::fflush(stdout);
  }
  return 0;
}

} // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::strcmp(argv[1], "serve") == 0)
    return serve(argv[2], static_cast<unsigned>(std::atoi(argv[3])));
  if (argc == 3 && std::strcmp(argv[1], "weights") == 0) {
    const tabular_network<float> network{shape(), 1};
    std::ofstream to{argv[2], std::ios::binary};
    to.write(reinterpret_cast<const char*>(network.parameters().data()), static_cast<std::streamsize>(network.parameters().size_bytes()));
    return to.flush() ? 0 : 1;
  }
  return std::fprintf(stderr, "usage: bench_tabular weights FILE | serve FILE THREADS\n"), 2;
}
