// bench_train_cpu describe MODEL            the number of parameters
// bench_train_cpu weights MODEL FILE        the initial weights, raw floats
// bench_train_cpu serve MODEL FILE THREADS  from those weights: each line "N" on standard input trains N steps and answers
//                                           with "SECONDS LOSS LOSS ..."
// MODEL is gpt2-124m or llama-30m. The data of step s are made by a formula that bench/train_cpu_peer.py repeats.

#include "cluster/base/clock.hpp"
#include "gpu/denormals.hpp"
#include "gpu/kernels/adamw.hpp"
#include "gpu/models/transformer.hpp"
#include "gpu/parallel.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <string>

using namespace flywheel::gpu;

namespace {

struct setting {
  transformer_shape shape;
  std::size_t sequences = 0, time = 0;
};

setting setting_of(const std::string& model) {
  if (model == "gpt2-124m")
    return {transformer_shape::gpt2(50257, 1024, 12, 768, 12), 4, 64};
  if (model == "llama-30m") {
    transformer_shape s;
    s.vocabulary = 8192, s.context = 256, s.layers = 8, s.width = 512, s.heads = 8, s.kv_heads = 4, s.hidden = 1536;
    return {s, 8, 256};
  }
  std::fprintf(stderr, "bench_train_cpu: '%s' is neither gpt2-124m nor llama-30m\n", model.c_str());
  std::exit(2);
}

std::uint64_t hashed(std::uint64_t n) {
  std::uint64_t z = n + 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

/// Frequent tokens are frequent, as in text: the square of a uniform number, stretched over the vocabulary.
std::uint32_t token_at(std::size_t step, std::size_t sequence, std::size_t t, std::uint32_t vocabulary) {
  const double u = static_cast<double>(hashed((step * 64 + sequence) * 2048 + t) >> 11) * 0x1p-53;
  return static_cast<std::uint32_t>(u * u * vocabulary);
}

int serve(const setting& s, const char* file, unsigned thread_count) {
  set_threads(thread_count);
  const without_denormals quick;
  transformer<float> network{s.shape, 1};
  const auto weights = network.parameters();
  std::ifstream from{file, std::ios::binary};
  from.read(reinterpret_cast<char*>(weights.data()), static_cast<std::streamsize>(weights.size_bytes()));
  if (!from) {
    std::fprintf(stderr, "bench_train_cpu: %s holds fewer than %zu floats\n", file, weights.size());
    return 1;
  }
  host_array<float> gradient{weights.size()}, moment1{weights.size()}, moment2{weights.size()};
  transformer_workspace<float> work;
  std::vector<std::uint32_t> token(s.sequences * s.time), next(token.size());
  std::size_t step = 0;
  for (std::size_t count; std::cin >> count;) {
    std::vector<double> losses;
    const auto start = flywheel::system_clock().mono();
    for (std::size_t n = 0; n < count; ++n, ++step) {
      for (std::size_t i = 0; i < token.size(); ++i) {
        token[i] = token_at(step, i / s.time, i % s.time, s.shape.vocabulary);
        next[i] = token_at(step, i / s.time, i % s.time + 1, s.shape.vocabulary);
      }
      // Each stretch of parameters is updated as soon as its gradient is there, while that is still in the cache.
      const auto update = [&](std::size_t offset, std::size_t size) {
        const auto part = [&](std::span<float> of) { return of.subspan(offset, size); };
        adamw<float>(part(weights), part(gradient.span()), part(moment1.span()), part(moment2.span()), 3e-4, 0, step + 1,
                     {0.9, 0.95, 1e-8});
      };
      losses.push_back(network.backward({token, next, s.sequences, s.time}, work, gradient.span(), {}, update));
    }
    const double seconds = std::chrono::duration<double>(flywheel::system_clock().mono() - start).count();
    std::printf("%.6f", seconds);
    for (const double l : losses)
      std::printf(" %.6f", l);
    std::printf("\n");
    std::fflush(stdout);
  }
  return 0;
}

} // namespace

int main(int argc, char** argv) {
  if (argc < 3)
    return std::fprintf(stderr, "usage: bench_train_cpu describe|weights|serve MODEL [FILE [THREADS]]\n"), 2;
  const auto s = setting_of(argv[2]);
  if (std::strcmp(argv[1], "serve") == 0 && argc == 5)
    return serve(s, argv[3], static_cast<unsigned>(std::atoi(argv[4])));
  const transformer<float> network{s.shape, 1};
  if (std::strcmp(argv[1], "weights") == 0 && argc == 4) {
    std::ofstream to{argv[3], std::ios::binary};
    to.write(reinterpret_cast<const char*>(network.parameters().data()), static_cast<std::streamsize>(network.parameters().size_bytes()));
    return to.flush() ? 0 : 1;
  }
  std::printf("%s: %zu parameters, batches of %zu x %zu tokens\n", argv[2], network.parameters().size(), s.sequences, s.time);
  return 0;
}
