#pragma once
// The bounds of the system in one place, each with the failure it prevents.

#include <cstddef>
#include <cstdint>

namespace flywheel::limits {

inline constexpr std::size_t kib = 1024, mib = 1024 * kib, gib = 1024 * mib;

/// A goal file is written by a person; more is a mistake or an attack (alias bombs, memory).
inline constexpr std::size_t goal_file_bytes_max = 1 * mib;
inline constexpr std::size_t yaml_nodes_max = 50'000;
inline constexpr std::size_t yaml_depth_max = 32;
inline constexpr std::uint64_t trials_max = 100'000;
/// One journal event; a bigger one would stall group commit for everybody.
inline constexpr std::size_t journal_event_bytes_max = 1 * mib;
/// One message between node and worker; a worker that speaks garbage must not reserve more.
inline constexpr std::size_t worker_message_bytes_max = 8 * mib;
inline constexpr std::size_t worker_message_depth_max = 16;
/// One envelope between nodes (CAF: a bigger one delays heartbeats until they time out).
inline constexpr std::size_t gate_envelope_bytes_max = 1 * mib;
/// One HTTP request body on the model server.
inline constexpr std::size_t http_body_bytes_max = 4 * mib;
/// One cell of a data file; a longer one is an unterminated quote, and quarantined.
inline constexpr std::size_t data_cell_bytes_max = 1 * mib;
inline constexpr std::size_t data_columns_max = 4096;
/// Distinct values of a categorical column; beyond it the column is an identifier.
inline constexpr std::size_t categories_max = 65'536;

static_assert(worker_message_bytes_max >= journal_event_bytes_max, "a worker's report must fit an event and vice versa");
static_assert(gate_envelope_bytes_max <= 1 * mib, "measured: larger messages cause false alarms of CAF's liveness");

} // namespace flywheel::limits
