#include "actors/data_steward/structure_scan.hpp"

#if defined(__x86_64__)

#include <bit>
#include <immintrin.h>

#define FLYWHEEL_WIDE __attribute__((target("avx2,pclmul,bmi,bmi2,lzcnt,popcnt")))

namespace flywheel {
namespace detail {
std::size_t last_record_end(const char* text, std::size_t from, bool open) noexcept;
}

namespace {

/// 64 bytes and the questions asked about them; bit i of an answer is about byte i.
struct chunk {
  __m256i low, high;
};

FLYWHEEL_WIDE inline chunk load(const char* text) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(text)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(text + 32))};
}

FLYWHEEL_WIDE inline std::uint64_t bits(__m256i low, __m256i high) {
  return static_cast<std::uint32_t>(_mm256_movemask_epi8(low)) |
         static_cast<std::uint64_t>(static_cast<std::uint32_t>(_mm256_movemask_epi8(high))) << 32;
}

FLYWHEEL_WIDE inline std::uint64_t equal(const chunk& c, char value) {
  const __m256i v = _mm256_set1_epi8(value);
  return bits(_mm256_cmpeq_epi8(c.low, v), _mm256_cmpeq_epi8(c.high, v));
}

/// Bit i of the answer is the parity of bits 0..i: the carry-less product with all ones.
FLYWHEEL_WIDE inline std::uint64_t prefix_parity(std::uint64_t quotes) {
  const __m128i product =
      _mm_clmulepi64_si128(_mm_set_epi64x(0, static_cast<long long>(quotes)), _mm_set1_epi8('\xff'), 0);
  return static_cast<std::uint64_t>(_mm_cvtsi128_si64(product));
}

/// The first `size` (< 64) bits.
FLYWHEEL_WIDE inline std::uint64_t first_bits(std::size_t size) { return _bzhi_u64(~std::uint64_t{0}, static_cast<unsigned>(size)); }

FLYWHEEL_WIDE quote_scan scan_quotes_wide(const char* text, std::size_t size, char separator) {
  quote_scan out;
  std::uint64_t open = 0;          // all ones: the chunk begins inside quotes
  std::uint64_t may_open = 1;      // bit 0: a quote at the chunk's first byte may open (record start, or after separator or pair)
  std::uint64_t closed = 0;        // bit 0: the byte before the chunk closed a cell
  std::uint64_t closed_cr = 0;     // bit 0: the byte before the chunk is a CR right after a closing quote
  for (std::size_t i = 0; i < size; i += 64) {
    const chunk c = load(text + i);
    const std::uint64_t valid = size - i >= 64 ? ~std::uint64_t{0} : first_bits(size - i);
    const std::uint64_t quotes = equal(c, '"') & valid;
    if ((quotes | closed | closed_cr) == 0) {
      if (open == 0) {
        const char last = text[i + 63]; // meaningful only if another chunk follows
        may_open = last == separator || last == '\n';
      }
      continue;
    }
    const std::uint64_t inside = prefix_parity(quotes) ^ open;
    const std::uint64_t newlines = equal(c, '\n'), returns = equal(c, '\r');
    const std::uint64_t ends = equal(c, separator) | newlines;
    const std::uint64_t opening = quotes & inside, closing = quotes & ~inside;
    const std::uint64_t after_closing = closing << 1 | closed;
    const std::uint64_t allowed_before = ((ends & ~inside) | closing) << 1 | may_open | closed;
    const std::uint64_t allowed_after = ends | quotes | returns;
    const std::uint64_t after_return = (after_closing & returns) << 1 | closed_cr;
    const std::uint64_t stray =
        ((opening & ~allowed_before) | (after_closing & ~allowed_after) | (after_return & ~newlines)) & valid;
    if (stray != 0) {
      out.stray = i + static_cast<std::size_t>(std::countr_zero(stray));
      break;
    }
    open = static_cast<std::uint64_t>(static_cast<std::int64_t>(inside) >> 63);
    may_open = (ends & ~inside) >> 63;
    closed = closing >> 63;
    closed_cr = (after_closing & returns) >> 63;
  }
  out.open = out.stray == nowhere && open != 0;
  out.records_end = detail::last_record_end(text, out.stray == nowhere ? size : out.stray, out.open);
  return out;
}

FLYWHEEL_WIDE separator_index index_wide(const char* text, std::size_t size, char separator, std::uint32_t* out) {
  separator_index index;
  std::uint64_t open = 0;
  std::uint32_t* to = out;
  __m256i seen = _mm256_setzero_si256(), least = _mm256_set1_epi8('\xff');
  const __m256i separators = _mm256_set1_epi8(separator), newlines = _mm256_set1_epi8('\n'),
                quote_marks = _mm256_set1_epi8('"');
  for (std::size_t i = 0; i < size; i += 64) {
    chunk c = load(text + i);
    if (size - i < 64) { // blanks for what lies behind the end
      alignas(32) char rest[64];
      for (std::size_t k = 0; k < 64; ++k)
        rest[k] = k < size - i ? text[i + k] : ' ';
      c = load(rest);
    }
    seen = _mm256_or_si256(seen, _mm256_or_si256(c.low, c.high));
    least = _mm256_min_epu8(least, _mm256_min_epu8(c.low, c.high));
    const __m256i nl_low = _mm256_cmpeq_epi8(c.low, newlines), nl_high = _mm256_cmpeq_epi8(c.high, newlines);
    const std::uint64_t nl = bits(nl_low, nl_high);
    std::uint64_t ends = bits(_mm256_or_si256(nl_low, _mm256_cmpeq_epi8(c.low, separators)),
                              _mm256_or_si256(nl_high, _mm256_cmpeq_epi8(c.high, separators)));
    const std::uint64_t quotes = bits(_mm256_cmpeq_epi8(c.low, quote_marks), _mm256_cmpeq_epi8(c.high, quote_marks));
    index.lines += static_cast<std::size_t>(_mm_popcnt_u64(nl));
    std::uint64_t record_ends = nl;
    if ((quotes | open) != 0) {
      const std::uint64_t inside = prefix_parity(quotes) ^ open;
      open = static_cast<std::uint64_t>(static_cast<std::int64_t>(inside) >> 63);
      ends &= ~inside;
      record_ends &= ~inside;
    }
    index.records += static_cast<std::size_t>(_mm_popcnt_u64(record_ends));
    // Eight positions are written whether or not there are so many: a loop of known length needs no guess per bit.
    const auto count = static_cast<std::size_t>(_mm_popcnt_u64(ends));
    const auto base = static_cast<std::uint32_t>(i);
    for (std::size_t k = 0; k < count; k += 8) {
      for (std::size_t j = 0; j < 8; ++j) {
        to[k + j] = base + static_cast<std::uint32_t>(_tzcnt_u64(ends));
        ends = _blsr_u64(ends);
      }
    }
    to += count;
  }
  index.count = static_cast<std::size_t>(to - out);
  index.non_ascii = _mm256_movemask_epi8(seen) != 0;
  index.nul = _mm256_movemask_epi8(_mm256_cmpeq_epi8(least, _mm256_setzero_si256())) != 0;
  return index;
}

constexpr structure_scanner wide{"avx2", scan_quotes_wide, index_wide};

} // namespace

const structure_scanner& best_scanner() noexcept {
  static const bool able = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("pclmul") &&
                           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  return able ? wide : plain_scanner();
}

} // namespace flywheel

#else

namespace flywheel {
const structure_scanner& best_scanner() noexcept { return plain_scanner(); }
} // namespace flywheel

#endif
