#pragma once
// What agents say to each other. Values only; CAF appears in agents.hpp. Texts named *_json are compact JSON whose
// meaning is documented where it is written. No double crosses a node border as a plain field (caf.md 6.1): numbers
// travel inside JSON or packed as bytes.

#include "cluster/base/error.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace flywheel {

/// An error as a message field. code 0 is "no error".
struct fault {
  std::uint16_t code = 0;
  std::string what, where, hint;

  fault() = default;
  fault(const error& e) : code(static_cast<std::uint16_t>(e.code)), what(e.what), where(e.where), hint(e.hint) {}
  explicit operator bool() const noexcept { return code != 0; }
  error to_error() const { return {static_cast<errc>(code), what, where, hint}; }
};

// ---- client <-> conductor -----------------------------------------------------------------------------------------
/// Submit a goal under the client's own id. Same id and same body: acknowledged again. Same id, other body: refused (I2).
/// `origin`: "" from a person, "retrain" from the learner (the policy may then want a word before it begins).
struct submit_goal { std::string id, user, spec_json; bool approve_in_advance = false; std::string origin = {}; };
struct goal_ack { fault problem; std::string id; std::uint64_t seq = 0; bool existed = false; };
struct cancel_goal { std::string id, user, reason; };
/// A person's answer to an approval request.
struct answer_approval { std::string approval, user, reason; bool grant = false; };
struct acknowledgement { fault problem; std::string text; };

// ---- conductor <-> agents -----------------------------------------------------------------------------------------
/// One step of a goal's plan. `inputs_json`: {"<needed step>": <its outputs>}. Safe to send twice: the agent continues
/// from what the journal and the disk say was done.
struct run_step { std::string goal, step, user, spec_json, inputs_json; std::uint32_t attempt = 1; };
struct step_outcome { fault problem; std::string outputs_json; std::string summary; };
/// The key with which anyone may seal rows that only the evaluator can open: a seal_public_key as hex.
struct sealing_key { fault problem; std::string public_key; };
struct stop_step { std::string goal, step, reason; };
/// From the supervisor: this agent died and a new one has taken its place; what it was asked must be asked again.
struct agent_restarted { std::string agent, cause; };

// ---- architect <-> hpo ----------------------------------------------------------------------------------------------
/// Run studies one after the other; `order_json` per actors/protocol/study_order.hpp. Asked again: continues.
struct run_study { std::string goal, step, order_json; };
/// `studies_json`: per study how it ended and its trials (study_order.hpp).
struct study_report { fault problem; std::string studies_json; };

// ---- hpo <-> trainer -----------------------------------------------------------------------------------
/// Run one task in a worker: kind "trial" or "fit"; `task_json` per actors/trainer/task_format.hpp.
struct order_trial { std::string goal, step, trial, kind, task_json; std::uint32_t attempt = 1; std::uint64_t memory_max = 0, time_max_ms = 0; };
struct trial_ended { fault problem; std::string trial; std::uint32_t attempt = 1; std::string result_json; std::uint64_t milliseconds = 0, rss_peak_bytes = 0; };
/// End one running trial; its end is answered as usual.
struct stop_trial { std::string goal, trial, reason; std::uint32_t attempt = 1; };
/// An intermediate value; the worker waits for the verdict. Values as text of exact doubles (format_number).
struct trial_progress { std::string goal, trial; std::uint32_t attempt = 1, rung = 0; std::uint64_t resource = 0; std::string value, standard_error; };
struct trial_verdict { bool go_on = true; };

// ---- deployer <-> evaluator, monitor ------------------------------------------------------------------------------
/// Send held-out rows as traffic to a model server, labels afterwards as feedback. Only the evaluator can: it owns them.
struct replay_traffic { std::string goal, snapshot, url; std::uint64_t offset = 0, count = 0; };
struct replay_report { fault problem; std::uint64_t sent = 0, failed = 0, rows = 0; };
/// Answered requests, oldest first. features: float32, rows x inputs; outputs: float32, rows x outputs; packed.
struct served_batch { std::string goal, model; std::uint32_t rows = 0; std::string features, outputs, ids; std::string labels_json; };
/// Start (or, after a restart, continue) watching a released model of a goal.
struct watch_model { std::string goal, model, snapshot_folder, model_folder, spec_json, evaluation_json; };
/// What the monitor found and confirmed.
struct incident_found { std::string goal, incident, model, reason, evidence_json, spec_json, user; };
/// Move production back to an older version (0: the one before).
struct rollback_model { std::string model, user, reason; std::uint32_t to_version = 0; };
/// Put the champion of a finished goal back into service after a restart.
struct serve_again { std::string goal, spec_json; };
struct serve_report { fault problem; std::string url, version; };

// ---- node <-> node, through the gate ------------------------------------------------------------------------------
/// One envelope (actors/gate/gate_format.hpp); the only message that crosses a border between nodes.
struct gate_frame { std::string bytes; };
/// Keep a connection to the node that listens there, for ever: dial again when it breaks.
struct gate_dial { std::string host; std::uint16_t port = 0; };
/// Ask a service of a peer. Answered with unreachable when the connection breaks: it may or may not have been done.
struct gate_ask { std::string peer, service, body; std::uint64_t wait_ms = 10'000; };
struct gate_answer { fault problem; std::string body; };
/// Tell a service of a peer, or (arriving) told by one. Lost if the connection breaks.
struct gate_note { std::string peer, service, body; };
/// A peer asks. `role`: what its certificate says, proven.
struct gate_call { std::string peer, role, service, body; std::uint64_t wait_ms = 0; };
/// A peer came or went. `dialled`: we had dialled it; `text` is what it greeted or welcomed us with (JSON). A peer that dialled us
/// is let in only if the answer has no problem; the answer's body is our welcome. `problem`: why it went, or refused us.
struct peer_state { std::string peer, role, text; std::uint64_t incarnation = 0; bool connected = false, dialled = false; fault problem = {}; };
/// From now on we are this incarnation: every connection is closed and dialled again, with this greeting.
struct gate_renew { std::uint64_t incarnation = 0; std::string greeting; };

// ---- agents on other nodes (actors/remote_agents) -------------------------------------------------------------------------
/// A message of one agent to another, on its way: `kind` and `fields` (MessagePack) per agent_messages.hpp. `from` and `placement`: who sends it,
/// if that one was placed here by the head. Answered with the fields of the answer.
struct agent_message { std::string from; std::uint64_t placement = 0; std::string to, kind, fields; };
/// A seat asks where its agent is to live; what it had before is ended.
struct seat_wish { std::string agent; };
/// `node` empty: on the head itself.
struct seat_given { fault problem; std::string node; std::uint64_t placement = 0; };
/// Ask for another place as soon as nobody waits for the agent's answer.
struct seat_move { std::string reason; };
/// What a job found out for a peer's letter: `body` is the answer's fields.
struct letter_answer { std::string peer; std::uint64_t id = 0; fault problem; std::string body; };

// ---- whoever orders tasks -> dispatcher; worker pool -> dispatcher, task host ----------------------------------------
/// `task`: a worker_task as MessagePack (actors/dispatcher/dispatch_format.hpp). `runner`: who is told (task_channel).
struct place_task { std::uint64_t runner = 0; std::string account, task; };
struct cancel_task { std::uint64_t runner = 0; std::string task, reason; };
/// Everything that `runner` ordered is ended and told to nobody.
struct close_runner { std::uint64_t runner = 0; };
/// The answer to a report: `number` as it was asked with.
struct task_verdict { std::uint64_t number = 0; bool go_on = true; };
/// From the pool's thread. `bytes`: a report or an end as MessagePack. `pool` tells a pool from the one that took its place.
struct pool_report { std::uint64_t pool = 0, number = 0; std::string bytes; };
struct pool_end { std::uint64_t pool = 0; std::string bytes; };
/// About gangs (actors/dispatcher/gang_format.hpp), for the program of a person: `op` is "launch", "cancel" or "show"; `body` and the answer's
/// body are MessagePack maps.
struct ask_gangs { std::string op, user, body; };
/// From the thread of a gang's hands on this node: there is something to take.
struct gang_ready { std::string gang; std::uint64_t lease = 0; };
/// The fence of a gang's next attempt stands, and its ranks can meet: `body` as MessagePack.
struct gang_prepared { fault problem; std::string gang; std::uint64_t lease = 0; std::string body; };
/// From a courier's thread. `bytes`: what was moved, or why not (actors/dispatcher/task_courier). `courier` as `pool` above.
struct files_moved { std::uint64_t courier = 0; std::string bytes; };
struct drain_node { std::string node, user; };
struct list_nodes { bool all = false; };
/// End every node of the cluster; the head's own process ends by itself.
struct shut_down { std::string user; };

} // namespace flywheel
