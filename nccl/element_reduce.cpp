#include "nccl/element_reduce.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <type_traits>

namespace flywheel::nccl {
namespace {

// Each type has a form in memory and one it is summed in.
struct f32_form {
  using stored = float;
  using summed = float;
  static float widen(float x) { return x; }
  static float narrow(float x) { return x; }
};
struct f64_form {
  using stored = double;
  using summed = double;
  static double widen(double x) { return x; }
  static double narrow(double x) { return x; }
};
struct bf16_form {
  using stored = std::uint16_t;
  using summed = float;
  static float widen(std::uint16_t x) { return from_bf16(x); }
  static std::uint16_t narrow(float x) { return to_bf16(x); }
};
struct i64_form { // summed without sign: wrapping is defined
  using stored = std::int64_t;
  using summed = std::uint64_t;
  static std::uint64_t widen(std::int64_t x) { return static_cast<std::uint64_t>(x); }
  static std::int64_t narrow(std::uint64_t x) { return static_cast<std::int64_t>(x); }
};

template <class Form, reduction Op> typename Form::summed combine(typename Form::summed a, typename Form::summed b) {
  if constexpr (Op != reduction::max)
    return a + b;
  else if constexpr (std::is_same_v<Form, i64_form>)
    return static_cast<std::int64_t>(b) > static_cast<std::int64_t>(a) ? b : a;
  else
    return b > a || b != b ? b : a; // a NaN in `a` compares false and stays
}

template <class Form, reduction Op> typename Form::stored finish(typename Form::summed x, std::size_t ranks) {
  if constexpr (Op != reduction::avg)
    return Form::narrow(x);
  else if constexpr (std::is_same_v<Form, i64_form>)
    return static_cast<std::int64_t>(x) / static_cast<std::int64_t>(ranks);
  else
    return Form::narrow(x / static_cast<typename Form::summed>(ranks));
}

/// Two sources that are also the two targets, the commonest case by far: one pass, nothing in between.
template <class Form, reduction Op>
void reduce_pair(typename Form::stored* __restrict a, typename Form::stored* __restrict b, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const auto x = finish<Form, Op>(combine<Form, Op>(Form::widen(a[i]), Form::widen(b[i])), 2);
    a[i] = x;
    b[i] = x;
  }
}

template <class Form, reduction Op>
void reduce(std::span<const void* const> sources, std::span<void* const> targets, std::size_t count) {
  using stored = typename Form::stored;
  using summed = typename Form::summed;
  if (sources.size() == 2 && targets.size() == 2 && sources[0] != sources[1] &&
      ((sources[0] == targets[0] && sources[1] == targets[1]) || (sources[0] == targets[1] && sources[1] == targets[0])))
    return reduce_pair<Form, Op>(static_cast<stored*>(targets[sources[0] == targets[0] ? 0 : 1]),
                                 static_cast<stored*>(targets[sources[0] == targets[0] ? 1 : 0]), count);
  constexpr std::size_t block = 1024; // sums and results stay in the first-level cache
  std::array<summed, block> sum;
  std::array<stored, block> out;
  for (std::size_t at = 0; at < count; at += block) {
    const std::size_t n = std::min(block, count - at);
    const auto* first = static_cast<const stored*>(sources[0]) + at;
    for (std::size_t i = 0; i < n; ++i)
      sum[i] = Form::widen(first[i]);
    for (std::size_t r = 1; r < sources.size(); ++r) {
      const auto* next = static_cast<const stored*>(sources[r]) + at;
      for (std::size_t i = 0; i < n; ++i)
        sum[i] = combine<Form, Op>(sum[i], Form::widen(next[i]));
    }
    for (std::size_t i = 0; i < n; ++i)
      out[i] = finish<Form, Op>(sum[i], sources.size());
    for (void* target : targets)
      std::memcpy(static_cast<stored*>(target) + at, out.data(), n * sizeof(stored));
  }
}

template <class Form>
void reduce_by(reduction op, std::span<const void* const> sources, std::span<void* const> targets, std::size_t count) {
  switch (op) {
  case reduction::sum: return reduce<Form, reduction::sum>(sources, targets, count);
  case reduction::max: return reduce<Form, reduction::max>(sources, targets, count);
  case reduction::avg: return reduce<Form, reduction::avg>(sources, targets, count);
  }
}

} // namespace

std::uint16_t to_bf16(float x) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto rounded = static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U);
  const auto quiet = static_cast<std::uint16_t>((bits >> 16U) | 0x40U);
  return x != x ? quiet : rounded;
}

float from_bf16(std::uint16_t bits) noexcept { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U); }

void reduce_in_order(element type, reduction op, std::span<const void* const> sources, std::span<void* const> targets,
                     std::size_t count) noexcept {
  switch (type) {
  case element::f32: return reduce_by<f32_form>(op, sources, targets, count);
  case element::f64: return reduce_by<f64_form>(op, sources, targets, count);
  case element::bf16: return reduce_by<bf16_form>(op, sources, targets, count);
  case element::i64: return reduce_by<i64_form>(op, sources, targets, count);
  }
}

} // namespace flywheel::nccl
