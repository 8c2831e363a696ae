#pragma once
// Seeded randomness, passed in. Same seed, same history (I13), on every platform: no std distributions.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace flywheel {

/// xoshiro256** 1.0 (Blackman, Vigna, "Scrambled linear pseudorandom number generators", 2021), seeded by splitmix64.
/// Not thread-safe; not for secrets.
class random_source {
public:
  explicit random_source(std::uint64_t seed) noexcept;
  /// An independent stream for a named purpose, e.g. derive(seed, "trial/7/fold/2").
  static random_source derive(std::uint64_t seed, std::string_view label) noexcept;

  /// The generator's words: kept in a checkpoint, they go on with the same numbers. Not all zero.
  std::array<std::uint64_t, 4> state() const noexcept { return {state_[0], state_[1], state_[2], state_[3]}; }
  static random_source from_state(const std::array<std::uint64_t, 4>& words) noexcept {
    random_source r{0};
    for (std::size_t i = 0; i < words.size(); ++i)
      r.state_[i] = words[i];
    return r;
  }

  std::uint64_t next() noexcept;
  /// Uniform in [0, 1), 53 bits.
  double uniform() noexcept;
  double uniform(double low, double high) noexcept { return low + (high - low) * uniform(); }
  /// Uniform in [0, bound), without modulo bias (Lemire 2019). bound > 0.
  std::uint64_t below(std::uint64_t bound) noexcept;
  /// Standard normal by the polar method; keeps no spare, so that the stream position is predictable per call.
  double normal() noexcept;
  /// Fisher-Yates.
  template <class T> void shuffle(std::vector<T>& xs) noexcept {
    for (std::size_t i = xs.size(); i > 1; --i)
      std::swap(xs[i - 1], xs[static_cast<std::size_t>(below(i))]);
  }

private:
  std::uint64_t state_[4];
};

/// 64-bit hash of a label (FNV-1a, finished by splitmix64); stable for ever, used for seeds and traffic splits.
std::uint64_t stable_hash(std::string_view text, std::uint64_t seed = 0) noexcept;

} // namespace flywheel
