#pragma once
// What the pages of products share: vectors of 32 bytes, and squares of them turned. Only for code that runs inside
// vectorised() (vectorised.hpp): everything here is inlined there and compiled for the processor at hand.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace flywheel::gpu {

typedef float float_vector __attribute__((vector_size(32)));
typedef double double_vector __attribute__((vector_size(32)));
template <class T> struct vector_of;
template <> struct vector_of<float> { using type = float_vector; };
template <> struct vector_of<double> { using type = double_vector; };
template <class T> using vector = typename vector_of<T>::type;

template <class T> inline void load(vector<T>& v, const T* from) { std::memcpy(&v, from, sizeof v); }

template <class T> inline void store(const vector<T>& v, T* to) { std::memcpy(to, &v, sizeof v); }

template <class T> inline constexpr std::size_t lanes = sizeof(vector<T>) / sizeof(T);

/// Exchanges the upper right and the lower left of every square of 2 * Distance lanes; with Distance 1, 2, 4, .. in turn a
/// square of vectors is transposed (Eklundh, "A fast computer method for matrix transposing", 1972).
template <std::size_t Distance, class T> inline void exchange(vector<T> (&v)[lanes<T>]) {
  using integer = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  typedef integer mask __attribute__((vector_size(32)));
  mask upper{}, lower{};
  for (std::size_t e = 0; e < lanes<T>; ++e) {
    upper[e] = static_cast<integer>((e & Distance) == 0 ? e : lanes<T> + e - Distance);
    lower[e] = static_cast<integer>((e & Distance) == 0 ? e + Distance : lanes<T> + e);
  }
#pragma GCC unroll 8
  for (std::size_t i = 0; i < lanes<T>; ++i) {
    if ((i & Distance) != 0)
      continue;
    const vector<T> a = v[i], b = v[i + Distance];
    v[i] = __builtin_shuffle(a, b, upper);
    v[i + Distance] = __builtin_shuffle(a, b, lower);
  }
}

/// A square of vectors, rows to columns.
template <class T> inline void transpose(vector<T> (&v)[lanes<T>]) {
  exchange<1, T>(v);
  exchange<2, T>(v);
  if constexpr (lanes<T> > 4)
    exchange<4, T>(v);
}

} // namespace flywheel::gpu
