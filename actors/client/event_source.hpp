#pragma once
// Where a command reads what has happened: the journal in the state folder, whether or not anybody runs it; or the head's (cluster_events.hpp).

#include "cluster/base/clock.hpp"
#include "cluster/journal/event_log.hpp"

#include <filesystem>
#include <functional>
#include <memory>

namespace flywheel {

class event_source {
public:
  virtual ~event_source() = default;
  /// Calls `visit` in order (or newest first) until it returns false. Returns the journal's last seq. not_found: there is no journal yet;
  /// unreachable: what was visited stays visited, so whoever follows goes on from the last seq it saw.
  virtual result<std::uint64_t> read(const journal_filter& filter, const std::function<bool(const event&)>& visit) = 0;
  /// Returns when the journal has grown beyond `seq`, or after `at_most`. unreachable: nobody runs it (now).
  virtual status wait(std::uint64_t seq, nanoseconds at_most) = 0;
  /// Whether somebody else keeps the journal, who may be away for a while and come back.
  virtual bool is_remote() const noexcept = 0;
};

/// The state folder's.
std::unique_ptr<event_source> local_events(std::filesystem::path state);

} // namespace flywheel
