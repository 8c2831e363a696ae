#pragma once
// The matrix products of a training step, for bench/gemm and its peer: c = op(a) op(b), row-major, and how a program answers.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace flywheel::bench {

struct product_shape {
  const char* name;
  bool transpose_a, transpose_b;
  int m, n, k;
};

/// GPT-2 124M with 256 tokens, a Llama of 29M with 2,048.
inline constexpr product_shape products[] = {
    {"gpt2_up", false, false, 256, 3072, 768},          {"gpt2_up_input_gradient", false, true, 256, 768, 3072},
    {"gpt2_up_weight_gradient", true, false, 768, 3072, 256}, {"gpt2_qkv", false, false, 256, 2304, 768},
    {"gpt2_head", false, true, 256, 50257, 768},        {"gpt2_head_gradient", true, false, 50257, 768, 256},
    {"llama_up", false, false, 2048, 3072, 512},        {"llama_down", false, false, 2048, 512, 1536},
};

/// For each line "N" on standard input: every product N times; answers a line of "GFLOP/s CHECK" pairs, in order.
/// `run(shape, a, b, c)` computes one product.
template <class Run> int answer_turns(const Run& run) {
  std::vector<float> a, b, c;
  for (int rounds = 0; std::scanf("%d", &rounds) == 1;) {
    for (const auto& s : products) {
      const auto size = [](int x, int y) { return static_cast<std::size_t>(x) * static_cast<std::size_t>(y); };
      a.resize(size(s.m, s.k)), b.resize(size(s.k, s.n)), c.assign(size(s.m, s.n), 0.0f);
      for (std::size_t i = 0; i < a.size(); ++i)
        a[i] = static_cast<float>(i * 7919 % 1009) / 1009 - 0.5f;
      for (std::size_t i = 0; i < b.size(); ++i)
        b[i] = static_cast<float>(i * 104729 % 1013) / 1013 - 0.5f;
      run(s, a.data(), b.data(), c.data());
      const auto start = std::chrono::steady_clock::now();
      for (int r = 0; r < rounds; ++r)
        run(s, a.data(), b.data(), c.data());
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      double check = 0;
      for (std::size_t i = 0; i < c.size(); i += 37)
        check += static_cast<double>(c[i] < 0 ? -c[i] : c[i]);
      std::printf("%.3f %.6f ", 2.0 * s.m * s.n * s.k * rounds / seconds / 1e9, check);
    }
    std::printf("\n");
    std::fflush(stdout);
  }
  return 0;
}

} // namespace flywheel::bench
