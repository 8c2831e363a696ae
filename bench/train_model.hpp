#pragma once
// The models that the training benches train, and their data: made by a formula that bench/train_cpu_peer.py repeats, so that
// losses can be compared.

#include "gpu/models/transformer.hpp"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

namespace flywheel::bench {

using namespace flywheel::gpu;

struct setting {
  transformer_shape shape;
  std::size_t sequences = 0, time = 0;
};

/// The model's shape and batch; ends the program on an unknown one.
inline setting setting_of(const std::string& model) {
  if (model == "gpt2-124m")
    return {transformer_shape::gpt2(50257, 1024, 12, 768, 12), 4, 64};
  if (model == "llama-30m") {
    transformer_shape s;
    s.vocabulary = 8192, s.context = 256, s.layers = 8, s.width = 512, s.heads = 8, s.kv_heads = 4, s.hidden = 1536;
    return {s, 8, 256};
  }
  std::fprintf(stderr, "'%s' is neither gpt2-124m nor llama-30m\n", model.c_str());
  std::exit(2);
}

inline std::uint64_t hashed(std::uint64_t n) {
  std::uint64_t z = n + 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

/// Frequent tokens are frequent, as in text: the square of a uniform number, stretched over the vocabulary.
inline std::uint32_t token_at(std::size_t step, std::size_t sequence, std::size_t t, std::uint32_t vocabulary) {
  const double u = static_cast<double>(hashed((step * 64 + sequence) * 2048 + t) >> 11) * 0x1p-53;
  return static_cast<std::uint32_t>(u * u * vocabulary);
}

/// The batch of one step; made anew by fill().
struct made_batch {
  std::vector<std::uint32_t> token, next;
  explicit made_batch(const setting& s) : token(s.sequences * s.time), next(token.size()) {}
  token_batch fill(const setting& s, std::size_t step) {
    for (std::size_t i = 0; i < token.size(); ++i) {
      token[i] = token_at(step, i / s.time, i % s.time, s.shape.vocabulary);
      next[i] = token_at(step, i / s.time, i % s.time + 1, s.shape.vocabulary);
    }
    return {token, next, s.sequences, s.time};
  }
};

/// Raw floats from a file into `to`; ends the program if there are fewer.
inline void read_floats(const char* file, std::span<float> to) {
  std::ifstream from{file, std::ios::binary};
  from.read(reinterpret_cast<char*>(to.data()), static_cast<std::streamsize>(to.size_bytes()));
  if (!from) {
    std::fprintf(stderr, "%s holds fewer than %zu floats\n", file, to.size());
    std::exit(1);
  }
}

/// "SECONDS LOSS LOSS ...", a turn's answer to bench/train_*_compare.py.
inline void print_turn(double seconds, const std::vector<double>& losses) {
  std::printf("%.6f", seconds);
  for (const double l : losses)
    std::printf(" %.6f", l);
  std::printf("\n");
  std::fflush(stdout);
}

} // namespace flywheel::bench
