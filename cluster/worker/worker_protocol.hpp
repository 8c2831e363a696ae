#pragma once
// What node and worker say to each other over ZeroMQ: MessagePack maps, version 1. Bytes in docs/worker-protocol.md,
// pinned by golden tests. The same for Flywheel's own worker and for a script in any language.
//
// worker -> node: hello, heartbeat, report, log, done, failed
// node -> worker: welcome, task, verdict, stop
// One worker runs one task at a time; a worker that has spoken garbage is killed, never argued with.

#include "cluster/base/error.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace flywheel::wire {

inline constexpr std::uint32_t protocol_version = 1;

struct hello { std::uint32_t version = protocol_version; std::string worker; std::string token; std::uint32_t pid = 0; };
struct welcome { std::uint32_t version = protocol_version; std::uint32_t heartbeat_ms = 500; };
/// `kind`: "trial" "fit" or a user's; `body`: JSON, its meaning belongs to the kind (actors/trainer/task_format.hpp).
struct task { std::string id; std::uint32_t attempt = 1; std::string kind; std::string body; };
struct heartbeat { std::string task; std::uint64_t step = 0; std::uint64_t rss_bytes = 0; };
/// An intermediate value; the worker waits for the verdict before it goes on.
struct report { std::string task; std::uint32_t attempt = 1; std::uint32_t rung = 0; std::uint64_t resource = 0;
                double value = 0; double standard_error = 0; };
struct verdict { std::string task; std::uint32_t rung = 0; bool go_on = true; };
struct log { std::string task; std::string level; std::string text; };
struct done { std::string task; std::uint32_t attempt = 1; std::string body; };
struct failed { std::string task; std::uint32_t attempt = 1; std::string code; std::string what; std::string hint; };
/// `task`: which one to end soon (the worker answers with done or failed); empty: the worker itself, which then exits.
/// A stop for a task that is not running is ignored: it crossed the task's end on the way.
struct stop { std::string task; std::string reason; };

using message = std::variant<hello, welcome, task, heartbeat, report, verdict, log, done, failed, stop>;

/// "hello", "welcome", ... as on the wire.
std::string_view name_of(const message& m) noexcept;

/// Texts must be UTF-8 (printable() makes any text so).
std::string encode(const message& m);
/// protocol_violation / too_large / incompatible_version with the offset and what was expected. Checks size and nesting
/// before reserving memory; unknown map keys are ignored (forward compatible), missing or mistyped ones are errors.
result<message> decode(std::string_view bytes);

} // namespace flywheel::wire
