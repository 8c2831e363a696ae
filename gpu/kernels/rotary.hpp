#pragma once
// Rotary positions (Su et al., "RoFormer", 2021): in each head, the pair (x_i, x_{i + w/2}) of a query or key at position
// t is turned by the angle t * base^(-2i/w). Halves rather than neighbours are paired, as in Llama's published weights.

#include "gpu/matrix_view.hpp"

#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

namespace flywheel::gpu {

/// The angles' cosines and sines, length x head_width / 2 each; somebody else's memory.
template <class T> struct rotary_angles {
  std::size_t length = 0, head_width = 0; ///< head_width is even
  const T *cosines = nullptr, *sines = nullptr;
};

/// cos and sin of every position below `length`, computed in double. Immutable.
template <class T> class rotary_table {
public:
  /// `head_width` is even.
  rotary_table(std::size_t length, std::size_t head_width, double base = 10000);

  std::size_t length() const noexcept { return length_; }
  std::size_t head_width() const noexcept { return 2 * half_; }
  std::span<const T> cosines() const noexcept { return cosines_; }
  std::span<const T> sines() const noexcept { return sines_; }
  operator rotary_angles<T>() const noexcept { return {length_, head_width(), cosines_.data(), sines_.data()}; }

private:
  std::size_t length_ = 0, half_ = 0;
  std::vector<T> cosines_, sines_;
};

enum class turn : bool { forward, back };

/// In place: x is (sequences * time) x (heads * head_width), and row i is at position i % time. `turn::back` is the
/// inverse, which is also what backward does to a gradient.
template <class T> void rotary(matrix_view<T> x, std::size_t time, const std::type_identity_t<rotary_angles<T>>& angles, turn direction);

} // namespace flywheel::gpu
