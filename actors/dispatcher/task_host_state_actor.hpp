#pragma once
// What the parts of the task host share: task_host_actor.cpp keeps the lease, the connection and the pool, task_host_files_actor.cpp moves the
// files of a head that shares none, task_host_gangs_actor.cpp has ranks of gangs. All in the host's context; nobody else includes this.

#include "actors/dispatcher/dispatch_format.hpp"
#include "actors/dispatcher/gang_hands.hpp"
#include "actors/dispatcher/task_host_actor.hpp"
#include "cluster/base/json.hpp"
#include "cluster/membership/lease_watch.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace flywheel::hosting {

/// For an answer of the head's dispatcher.
inline constexpr std::uint64_t call_wait_ms = 10'000;
/// A task that tells no rungs (a final fit) has its checkpoints brought so often.
inline constexpr std::chrono::seconds save_every{5};

/// A task whose files are the head's alone.
struct away_task {
  std::uint64_t lease = 0;
  bool in_pool = false;
  std::string cancelled;      ///< why, if it was stopped before it ran
  std::optional<error> lost;  ///< its files could not be moved: it is handed back when its worker has gone
  nlohmann::json end;                   ///< of its worker, while the results are being brought
  std::uint64_t saves = 0;    ///< under way
};

struct host_state {
  static inline const char* name = "task host";
  task_host_options options;
  std::unique_ptr<pool_port> pool;
  std::uint64_t pool_number = 0;
  error pool_error{errc::ok, {}};
  std::string head;                               ///< its name while connected
  dispatch::welcome terms;
  bool shares_files = false, synced = false, leaving = false;
  std::optional<lease_watch> watch;
  std::shared_ptr<lease_page> page;               ///< what the workers know of it
  std::uint64_t beat = 0;
  std::map<std::string, std::uint64_t> running;   ///< task -> lease
  std::unique_ptr<transfer::task_courier> courier; ///< while it works for a head whose files it does not share
  std::uint64_t courier_number = 0;
  std::map<std::string, away_task> away;          ///< some of those running
  mono_time next_save;
  struct end { std::uint64_t lease = 0; nlohmann::json what; bool handed_back = false; };
  std::map<std::string, end> unreported;
  struct report { std::uint64_t lease = 0; nlohmann::json what; };
  std::map<std::uint64_t, report> reports;        ///< by the pool's number: waiting for a verdict
  struct hosted_gang { std::uint64_t lease = 0; std::unique_ptr<gang_hands> hands; bool asking = false; };
  std::map<std::string, hosted_gang> gangs;       ///< those with ranks here
  std::map<std::uint64_t, report> unsaved;        ///< their checkpoint is being brought first
  std::optional<mono_time> armed;
  mono_time next_beat;
  std::string last_trouble;

  mono_time now() const { return options.time->mono(); }
};
using self_pointer = task_host_agent::stateful_pointer<host_state>;

// ---- task_host_actor.cpp -----------------------------------------------------------------------------------------------------

/// Asks the head's dispatcher; no answer is an answer with errc::unreachable or timed_out.
void call_head(self_pointer self, const nlohmann::json& body, std::uint64_t wait_ms, std::function<void(const gate_answer&)> then);
/// Sets the next alarm.
void arm(self_pointer self);
/// Tells the head how a task ended, until it has taken it.
void tell_end(self_pointer self, const std::string& task);
/// Asks the head whether the worker that waits under `number` may go on.
void tell_report(self_pointer self, std::uint64_t number);

// ---- task_host_gangs_actor.cpp -------------------------------------------------------------------------------------------------

/// What the ranks here have shown. One question at a time for each gang; what could not be told is told again with the next connection.
void tell_seen(self_pointer self, const std::string& gang);
gate_answer start_gang(self_pointer self, const nlohmann::json& m);
gate_answer signal_gang(self_pointer self, const nlohmann::json& m);

// ---- task_host_files_actor.cpp -------------------------------------------------------------------------------------------------

/// Begins to fetch and bring files. Why that cannot be, for people; empty if it can.
std::string open_courier(self_pointer self);
/// What came of an errand.
void moved(self_pointer self, const files_moved& m);
/// Of tasks that tell no rungs, too, what they have done so far comes to the head.
void save_running(self_pointer self);
/// The worker of a task whose files are away has ended.
void ended_away(self_pointer self, const std::string& task, away_task& a, nlohmann::json end);

} // namespace flywheel::hosting
