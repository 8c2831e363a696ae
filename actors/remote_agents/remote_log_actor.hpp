#pragma once
// The journal as an agent on another node has it: every call is a message to the head's desk, which lets in only the agent's present placement.

#include "actors/protocol/agents.hpp"
#include "cluster/journal/event_log.hpp"

namespace flywheel {

/// Errors of the line: unreachable or timed_out (it may or may not have been written), stale_epoch (the agent lives elsewhere now). Any thread
/// but that of an actor of the host.
class remote_log : public event_log {
public:
  /// `host` carries the messages. The system outlives this.
  remote_log(caf::actor_system& system, agent_host_agent host, std::string agent, std::uint64_t placement)
      : system_(&system), host_(std::move(host)), agent_(std::move(agent)), placement_(placement) {}
  using event_log::append;
  result<std::uint64_t> append(std::vector<event_draft> drafts) override;
  /// On a thread of its own.
  void append_async(std::vector<event_draft> drafts, std::function<void(result<std::uint64_t>)> done) override;
  result<std::vector<event>> read(const journal_filter& filter) const override;
  std::uint64_t last_seq() const noexcept override;

private:
  caf::actor_system* system_;
  agent_host_agent host_;
  std::string agent_;
  std::uint64_t placement_;
};

inline constexpr const char* journal_address = "journal"; ///< as the receiver of an agent_message
inline constexpr const char* append_kind = "append";      ///< {drafts} -> {seq}
inline constexpr const char* read_kind = "read";          ///< {filter} -> {events, more}

} // namespace flywheel
