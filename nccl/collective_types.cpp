#include "nccl/collective_types.hpp"

namespace flywheel::nccl {

std::size_t bytes_of(element type) noexcept {
  switch (type) {
  case element::f32: return 4;
  case element::f64: return 8;
  case element::bf16: return 2;
  case element::i64: return 8;
  }
  return 1;
}

std::string_view name_of(element type) noexcept {
  switch (type) {
  case element::f32: return "f32";
  case element::f64: return "f64";
  case element::bf16: return "bf16";
  case element::i64: return "i64";
  }
  return "unknown";
}

std::string_view name_of(reduction op) noexcept {
  switch (op) {
  case reduction::sum: return "sum";
  case reduction::max: return "max";
  case reduction::avg: return "avg";
  }
  return "unknown";
}

std::string_view name_of(collective what) noexcept {
  switch (what) {
  case collective::join: return "join";
  case collective::barrier: return "barrier";
  case collective::all_reduce: return "all_reduce";
  case collective::reduce_scatter: return "reduce_scatter";
  case collective::all_gather: return "all_gather";
  case collective::broadcast: return "broadcast";
  }
  return "unknown";
}

std::string_view name_of(failure_kind kind) noexcept {
  switch (kind) {
  case failure_kind::none: return "none";
  case failure_kind::peer_lost: return "peer lost";
  case failure_kind::timed_out: return "timed out";
  case failure_kind::aborted: return "aborted";
  case failure_kind::mismatch: return "mismatch";
  case failure_kind::library: return "library";
  }
  return "unknown";
}

errc code_of(failure_kind kind) noexcept {
  switch (kind) {
  case failure_kind::none: return errc::ok;
  case failure_kind::peer_lost: return errc::worker_lost;
  case failure_kind::timed_out: return errc::timed_out;
  case failure_kind::aborted: return errc::cancelled;
  case failure_kind::mismatch: return errc::protocol_violation;
  case failure_kind::library: return errc::library_failed;
  }
  return errc::internal;
}

} // namespace flywheel::nccl
