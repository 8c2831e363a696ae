// bench_train_cpu describe MODEL            the number of parameters
// bench_train_cpu weights MODEL FILE        the initial weights, raw floats
// bench_train_cpu serve MODEL FILE THREADS  from those weights: each line "N" on standard input trains N steps and answers
//                                           with "SECONDS LOSS LOSS ..."
// MODEL is gpt2-124m or llama-30m. The data of step s are made by a formula that bench/train_cpu_peer.py repeats.

#include "bench/train_model.hpp"
#include "cluster/base/clock.hpp"
#include "gpu/denormals.hpp"
#include "gpu/kernels/adamw.hpp"
#include "gpu/parallel.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <string>

using namespace flywheel::bench;

namespace {

int serve(const setting& s, const char* file, unsigned thread_count) {
  set_threads(thread_count);
  const without_denormals quick;
  transformer<float> network{s.shape, 1};
  const auto weights = network.parameters();
  read_floats(file, weights);
  host_array<float> gradient{weights.size()}, moment1{weights.size()}, moment2{weights.size()};
  transformer_workspace<float> work;
  made_batch data{s};
  std::size_t step = 0;
  for (std::size_t count; std::cin >> count;) {
    std::vector<double> losses;
    const auto start = flywheel::system_clock().mono();
    for (std::size_t n = 0; n < count; ++n, ++step) {
      const auto batch = data.fill(s, step);
      // Each stretch of parameters is updated as soon as its gradient is there, while that is still in the cache.
      const auto update = [&](std::size_t offset, std::size_t size) {
        const auto part = [&](std::span<float> of) { return of.subspan(offset, size); };
        adamw<float>(part(weights), part(gradient.span()), part(moment1.span()), part(moment2.span()), 3e-4, 0, step + 1,
                     {0.9, 0.95, 1e-8});
      };
      losses.push_back(network.backward(batch, work, gradient.span(), {}, update));
    }
    print_turn(std::chrono::duration<double>(flywheel::system_clock().mono() - start).count(), losses);
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
