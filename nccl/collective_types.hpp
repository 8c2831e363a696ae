#pragma once
// The words of a gang's communication: what is moved, how it is combined, and how it fails. Values only.

#include "cluster/base/error.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace flywheel::nccl {

enum class element : std::uint8_t { f32, f64, bf16, i64 };
std::size_t bytes_of(element type) noexcept;
std::string_view name_of(element type) noexcept;

/// How the ranks' values of one element become one. On CPU backends values are always combined in the order of the ranks
/// (((x0 + x1) + x2) + ...), so the same values give the same bits, whatever arrives first:
/// f32 and f64 in their own precision; bf16 summed in f32 and rounded once, to nearest even; i64 wraps around.
/// avg is that sum divided by the number of ranks (i64: truncated towards zero). max keeps a NaN if there is one.
enum class reduction : std::uint8_t { sum, max, avg };
std::string_view name_of(reduction op) noexcept;

enum class collective : std::uint8_t { join, barrier, all_reduce, reduce_scatter, all_gather, broadcast };
std::string_view name_of(collective what) noexcept;

/// `count` elements at `data`, in memory the backend can reach (communicator::memory()). Owns nothing.
struct array_view {
  void* data = nullptr;
  std::size_t count = 0;
  element type = element::f32;

  std::size_t bytes() const noexcept { return count * bytes_of(type); }
  array_view() = default;
  array_view(void* d, std::size_t n, element t) : data(d), count(n), type(t) {}
  array_view(std::span<float> x) : data(x.data()), count(x.size()), type(element::f32) {}
  array_view(std::span<double> x) : data(x.data()), count(x.size()), type(element::f64) {}
  array_view(std::span<std::int64_t> x) : data(x.data()), count(x.size()), type(element::i64) {}
};
/// The bit patterns of bfloat16 values (the upper half of a float).
inline array_view bf16_view(std::span<std::uint16_t> x) { return {x.data(), x.size(), element::bf16}; }

/// One collective as a backend gets it: arguments checked, `sequence` the same on all ranks.
struct collective_call {
  collective what = collective::barrier;
  array_view data;
  reduction op = reduction::sum;
  int root = 0;
  std::uint64_t sequence = 0;
};

enum class failure_kind : std::uint8_t {
  none,
  peer_lost,  ///< a rank's process ended or its connection broke: errc::worker_lost
  timed_out,  ///< a rank did not come within the deadline; it may be frozen or slow: errc::timed_out
  aborted,    ///< somebody called abort(): errc::cancelled
  mismatch,   ///< the ranks called different collectives; a bug of the caller: errc::protocol_violation
  library,    ///< Gloo, NCCL or the kernel refused: errc::library_failed
};
std::string_view name_of(failure_kind kind) noexcept;

/// Why a gang can no longer communicate. The first failure that is noticed is the gang's; ranks that notice later take it over
/// where the backend can tell them, so that the survivors name the same cause.
struct gang_failure {
  failure_kind kind = failure_kind::none;
  int rank = -1;              ///< at fault: who is lost, late, aborted or called something else; -1: not known
  int seen_by = -1;           ///< which rank noticed
  std::uint64_t sequence = 0; ///< number of the collective during which it was noticed, on the rank that noticed
  std::string what;           ///< details for people; may be empty
};

/// The code for a kind, as in the table above.
errc code_of(failure_kind kind) noexcept;

} // namespace flywheel::nccl
