#pragma once
// What the parts of the dispatcher share: dispatcher_actor.cpp carries out what the table decides for tasks, dispatcher_gangs_actor.cpp for
// gangs, dispatcher_nodes_actor.cpp answers nodes and people. All in the dispatcher's context; nobody else includes this.

#include "actors/dispatcher/dispatcher_actor.hpp"
#include "actors/dispatcher/gang_hands.hpp"
#include "actors/protocol/agent_context.hpp"

#include <nlohmann/json_fwd.hpp>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace flywheel::dispatching {

struct dispatcher_state {
  static inline const char* name = "dispatcher";
  const agent_context* context = nullptr;
  dispatcher_options options;
  std::optional<scribe> log;
  std::optional<dispatch_table> table;
  std::unique_ptr<pool_port> pool;
  std::map<std::string, std::uint64_t> runners;                 ///< of tasks that are not over
  std::vector<std::pair<place_task, std::string>> parked;      ///< an older attempt must end first; and the id
  struct remote_report { caf::typed_response_promise<gate_answer> promise; };
  std::map<std::uint64_t, std::variant<std::uint64_t, remote_report>> verdicts; ///< by number: the local pool's number, or who waits
  std::uint64_t last_verdict = 0;
  std::map<std::string, std::uint64_t> incarnations;            ///< of connected peers
  std::map<std::string, std::string> addresses;                 ///< of nodes, for ranks on others
  struct own_ranks { std::uint64_t lease = 0; std::unique_ptr<gang_hands> hands; };
  std::map<std::string, own_ranks> own_gangs;                   ///< by gang: those of its ranks that are here
  std::optional<mono_time> armed;                               ///< when the next look is due
  std::optional<error> join_unrecorded;                         ///< why the last admission did not become durable

  mono_time now() const { return context->time->mono(); }
};
using self_pointer = dispatcher_agent::stateful_pointer<dispatcher_state>;

// ---- dispatcher_actor.cpp ----------------------------------------------------------------------------------------------------

/// Carries out everything that the tables want done now, and sets the next alarm. After each change of a table.
void act(self_pointer self);
/// An operator should see it.
void warn(const std::string& text);
/// Durable when it returns.
status record(self_pointer self, event_draft d);
/// In order with everything else that is written, but not waited for: a slow disk must not make the nodes look silent.
void record_later(self_pointer self, event_draft d);
/// Asks a node's task host; no answer is an answer with errc::unreachable or timed_out.
void call_node(self_pointer self, const std::string& node, const nlohmann::json& body, std::function<void(const gate_answer&)> then);
/// The end of a task that counts, for whoever ordered it.
void finish(self_pointer self, const task_end& e);
/// Passes a report on; `waits` is who gets the verdict.
void pass_report(self_pointer self, const wire::report& r, std::variant<std::uint64_t, dispatcher_state::remote_report> waits);

// ---- dispatcher_gangs_actor.cpp ------------------------------------------------------------------------------------------------

void act_on_gangs(self_pointer self);
gate_answer about_gangs(self_pointer self, const ask_gangs& m);
/// What runs and waits, with what only the head knows of why.
nlohmann::json gang_list(self_pointer self);
/// What the journal says of gangs that were not over when the head ended.
void restore_gangs(self_pointer self);
void own_gang_ready(self_pointer self, const gang_ready& m);
void gang_is_prepared(self_pointer self, const gang_prepared& m);

// ---- dispatcher_nodes_actor.cpp ------------------------------------------------------------------------------------------------

gate_answer admit(self_pointer self, const peer_state& m);
caf::result<gate_answer> from_node(self_pointer self, const gate_call& m);
gate_answer list(self_pointer self);
acknowledgement drain(self_pointer self, const drain_node& m);
caf::result<acknowledgement> shut_down_all(self_pointer self, const shut_down& m);
/// What the journal says of members: those that had not gone when the head ended, and those that must not come back as they were.
void restore_members(self_pointer self, dispatch_table& table);
/// That was ever given to a node, by the journal.
std::uint64_t largest_epoch(self_pointer self);

} // namespace flywheel::dispatching
