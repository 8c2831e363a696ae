// bench_kernels [THREADS]: each CPU operation against what the machine can do: bytes a second of a plain pass over memory, or
// flops a second of fused multiply-adds in registers, both measured in turn with the operation. Shapes are those of GPT-2
// 124M, 4 x 64 tokens. One JSON line per figure; ratio is the fraction of the limit.

#include "cluster/base/clock.hpp"
#include "gpu/denormals.hpp"
#include "gpu/host_array.hpp"
#include "gpu/kernels/activation.hpp"
#include "gpu/kernels/adamw.hpp"
#include "gpu/kernels/attention.hpp"
#include "gpu/kernels/gemm.hpp"
#include "gpu/kernels/layer_norm.hpp"
#include "gpu/kernels/loss.hpp"
#include "gpu/kernels/vectorised.hpp"
#include "gpu/parallel.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

using namespace flywheel::gpu;

namespace {

constexpr int turns = 7;

double seconds_of(const std::function<void()>& f) {
  const auto start = flywheel::system_clock().mono();
  f();
  return std::chrono::duration<double>(flywheel::system_clock().mono() - start).count();
}

double median(std::vector<double> x) {
  std::ranges::nth_element(x, x.begin() + static_cast<std::ptrdiff_t>(x.size() / 2));
  return x[x.size() / 2];
}

/// 12 sums of 8 lanes: enough independent chains to fill two multiply-add units of latency 4 or 5.
double flops_of_registers() {
  using lanes [[gnu::vector_size(32)]] = float;
  constexpr std::size_t chains = 12, rounds = 4'000'000;
  const unsigned parts = threads();
  const double s = seconds_of([&] {
    parallel_for(parts, [&](std::size_t) {
      vectorised([&] {
        lanes x[chains] = {};
        for (std::size_t j = 0; j < chains; ++j)
          x[j] += static_cast<float>(j); // chains that are alike would be computed once
        const lanes factor = lanes{} + 0.999f, step = lanes{} + 0.001f;
        for (std::size_t n = 0; n < rounds; ++n) {
#pragma GCC unroll 12
          for (std::size_t j = 0; j < chains; ++j)
            x[j] = x[j] * factor + step;
        }
        float all = 0;
        for (const lanes& chain : x)
          all += chain[0];
        volatile float keep = all;
        static_cast<void>(keep);
      });
    });
  });
  return 2.0 * chains * 8 * rounds * parts / s;
}

/// x = 1.0001 x over 256 MiB: one read and one write an element.
double bytes_of_memory(host_array<float>& room) {
  const double s = seconds_of([&] {
    parallel_ranges(room.size(), 1u << 16, [&](std::size_t first, std::size_t last) {
      vectorised([&] {
        float* x = room.data();
        for (std::size_t i = first; i < last; ++i)
          x[i] *= 1.0001f;
      });
    });
  });
  return 8.0 * static_cast<double>(room.size()) / s;
}

struct operation {
  std::string name;
  double work;            ///< flops or bytes
  bool by_flops;
  std::function<void()> run;
};

} // namespace

int main(int argc, char** argv) {
  set_threads(argc > 1 ? static_cast<unsigned>(std::atoi(argv[1])) : 2);
  const without_denormals quick;
  constexpr std::size_t rows = 256, width = 768, hidden = 3072, heads = 12, vocabulary = 50257;
  host_array<float> memory{64u << 20}, a{rows * hidden}, b{hidden * width}, c{rows * hidden}, logits{rows * vocabulary};
  std::ranges::fill(a.span(), 0.1f), std::ranges::fill(b.span(), 0.02f);
  std::vector<std::uint32_t> label(rows, 7);
  std::vector<float> gain(width, 1), shift(width), mean(rows), inverse(rows), sums(heads * rows);
  // Moments of the size of a quarter of GPT-2: far beyond any cache.
  host_array<float> weights{32u << 20}, gradient{32u << 20}, moment1{32u << 20}, moment2{32u << 20};
  const auto view = [](host_array<float>& x, std::size_t r, std::size_t w) { return matrix_view<float>{x.data(), r, w}; };
  const double f = 1e9, elements = static_cast<double>(weights.size());
  const attention_shape attention{4, 64, heads, heads, 64};
  const std::vector<operation> operations{
      {"gemm_forward", 2.0 * rows * width * hidden, true,
       [&] { gemm<float>(op::plain, op::plain, 1, view(a, rows, width), view(b, width, hidden), 0, view(c, rows, hidden)); }},
      {"gemm_input_gradient", 2.0 * rows * width * hidden, true,
       [&] { gemm<float>(op::plain, op::transposed, 1, view(a, rows, hidden), view(b, width, hidden), 0, view(c, rows, width)); }},
      {"gemm_weight_gradient", 2.0 * rows * width * hidden, true,
       [&] { gemm<float>(op::transposed, op::plain, 1, view(c, rows, width), view(a, rows, hidden), 0, view(b, width, hidden)); }},
      {"attention_forward", 4.0 * 4 * heads * 64 * 64 * 64, true,
       [&] {
         const auto x = view(a, rows, hidden);
         attention_forward<float>(attention, x.columns_from(0, width), x.columns_from(width, width), x.columns_from(2 * width, width),
                                  view(c, rows, width), {sums.data(), heads, rows});
       }},
      {"softmax_cross_entropy", 4.0 * 4 * rows * vocabulary, false,
       [&] { softmax_cross_entropy<float>(view(logits, rows, vocabulary), label); }}, // read three times, written once
      {"adamw", 28.0 * elements, false,
       [&] { adamw<float>(weights.span(), gradient.span(), moment1.span(), moment2.span(), 1e-3, 0.1, 10); }},
      {"gelu_forward", 8.0 * rows * hidden, false,
       [&] { activation_forward<float>(activation::gelu, view(a, rows, hidden), view(c, rows, hidden)); }},
      {"layer_norm_forward", 8.0 * rows * width, false,
       [&] { layer_norm_forward<float>(view(a, rows, width), gain, shift, view(c, rows, width), mean, inverse); }},
  };
  std::printf("%u threads, fp32, shapes of GPT-2 124M with 256 tokens; medians of %d turns\n", threads(), turns);
  std::printf("  %-24s%12s%12s%10s\n", "", "measured", "limit", "fraction");
  std::string figures;
  for (const auto& o : operations) {
    std::vector<double> mine, limit;
    const int repeats = std::max(1, static_cast<int>(2e8 / o.work));
    o.run();
    for (int t = 0; t < turns; ++t) {
      mine.push_back(o.work * repeats / seconds_of([&] {
        for (int r = 0; r < repeats; ++r)
          o.run();
      }));
      limit.push_back(o.by_flops ? flops_of_registers() : bytes_of_memory(memory));
    }
    const double value = median(mine) / f, bound = median(limit) / f;
    const char* unit = o.by_flops ? "GFLOP/s" : "GB/s";
    std::printf("  %-24s%12.1f%12.1f%10.2f  %s\n", o.name.c_str(), value, bound, value / bound, unit);
    char line[256];
    std::snprintf(line, sizeof line, "{\"name\": \"kernel_%s\", \"value\": %.1f, \"unit\": \"%s\", \"peer\": \"%s\", \"peer_value\": %.1f, \"ratio\": %.3f}\n",
                  o.name.c_str(), value, unit, o.by_flops ? "multiply-adds in registers" : "a pass over memory", bound, value / bound);
    figures += line;
  }
  std::fputs(figures.c_str(), stdout);
}
