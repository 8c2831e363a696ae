#pragma once
// Random tokens to train on, and what follows them.

#include "cluster/base/random.hpp"
#include "gpu/models/transformer.hpp"

#include <cstdint>
#include <vector>

namespace flywheel::gpu::test {

struct tokens {
  std::vector<std::uint32_t> token, next;
  std::size_t sequences, time;

  tokens(std::size_t s, std::size_t t, std::uint32_t vocabulary, std::uint64_t seed = 3) : sequences(s), time(t) {
    random_source random{seed};
    for (std::size_t i = 0; i < s * t; ++i) {
      token.push_back(static_cast<std::uint32_t>(random.below(vocabulary)));
      next.push_back(static_cast<std::uint32_t>(random.below(vocabulary)));
    }
  }
  token_batch batch() const { return {token, next, sequences, time}; }
  /// Some of the sequences.
  token_batch batch(std::size_t first, std::size_t count) const {
    return {std::span{token}.subspan(first * time, count * time), std::span{next}.subspan(first * time, count * time), count, time};
  }
};

} // namespace flywheel::gpu::test
