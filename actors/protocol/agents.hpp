#pragma once
// The table of contents: one interface per agent, one comment per message. Reading this file teaches the system.

#include "actors/protocol/caf_compat.hpp"
#include "actors/protocol/messages.hpp"

namespace flywheel {

CAFX_INSPECT(fault, code, what, where, hint)
CAFX_INSPECT(submit_goal, id, user, spec_json, approve_in_advance, origin)
CAFX_INSPECT(goal_ack, problem, id, seq, existed)
CAFX_INSPECT(cancel_goal, id, user, reason)
CAFX_INSPECT(answer_approval, approval, user, reason, grant)
CAFX_INSPECT(acknowledgement, problem, text)
CAFX_INSPECT(run_step, goal, step, user, spec_json, inputs_json, attempt)
CAFX_INSPECT(step_outcome, problem, outputs_json, summary)
CAFX_INSPECT(sealing_key, problem, public_key)
CAFX_INSPECT(stop_step, goal, step, reason)
CAFX_INSPECT(agent_restarted, agent, cause)
CAFX_INSPECT(order_trial, goal, step, trial, kind, task_json, attempt, memory_max, time_max_ms)
CAFX_INSPECT(trial_ended, problem, trial, attempt, result_json, milliseconds, rss_peak_bytes)
CAFX_INSPECT(run_study, goal, step, order_json)
CAFX_INSPECT(study_report, problem, studies_json)
CAFX_INSPECT(stop_trial, goal, trial, reason, attempt)
CAFX_INSPECT(trial_progress, goal, trial, attempt, rung, resource, value, standard_error)
CAFX_INSPECT(trial_verdict, go_on)
CAFX_INSPECT(replay_traffic, goal, snapshot, url, offset, count)
CAFX_INSPECT(replay_report, problem, sent, failed, rows)
CAFX_INSPECT(served_batch, goal, model, rows, features, outputs, ids, labels_json)
CAFX_INSPECT(watch_model, goal, model, snapshot_folder, model_folder, spec_json, evaluation_json)
CAFX_INSPECT(incident_found, goal, incident, model, reason, evidence_json, spec_json, user)
CAFX_INSPECT(rollback_model, model, user, reason, to_version)
CAFX_INSPECT(serve_again, goal, spec_json)
CAFX_INSPECT(serve_report, problem, url, version)
CAFX_INSPECT(gate_frame, bytes)
CAFX_INSPECT(gate_dial, host, port)
CAFX_INSPECT(gate_ask, peer, service, body, wait_ms)
CAFX_INSPECT(gate_answer, problem, body)
CAFX_INSPECT(gate_note, peer, service, body)
CAFX_INSPECT(gate_call, peer, role, service, body, wait_ms)
CAFX_INSPECT(peer_state, peer, role, text, incarnation, connected, dialled, problem)
CAFX_INSPECT(gate_renew, incarnation, greeting)
CAFX_INSPECT(agent_message, from, placement, to, kind, fields)
CAFX_INSPECT(seat_wish, agent)
CAFX_INSPECT(seat_given, problem, node, placement)
CAFX_INSPECT(seat_move, reason)
CAFX_INSPECT(letter_answer, peer, id, problem, body)
CAFX_INSPECT(place_task, runner, account, task)
CAFX_INSPECT(cancel_task, runner, task, reason)
CAFX_INSPECT(close_runner, runner)
CAFX_INSPECT(task_verdict, number, go_on)
CAFX_INSPECT(pool_report, pool, number, bytes)
CAFX_INSPECT(pool_end, pool, bytes)
CAFX_INSPECT(ask_gangs, op, user, body)
CAFX_INSPECT(gang_ready, gang, lease)
CAFX_INSPECT(gang_prepared, problem, gang, lease, body)
CAFX_INSPECT(files_moved, courier, bytes)
CAFX_INSPECT(drain_node, node, user)
CAFX_INSPECT(list_nodes, all)
CAFX_INSPECT(shut_down, user)

} // namespace flywheel

CAF_BEGIN_TYPE_ID_BLOCK(flywheel, first_custom_type_id)
  CAF_ADD_TYPE_ID(flywheel, (flywheel::fault))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::submit_goal))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::goal_ack))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::cancel_goal))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::answer_approval))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::acknowledgement))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::run_step))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::step_outcome))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::sealing_key))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::stop_step))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::agent_restarted))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::order_trial))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::trial_ended))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::run_study))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::study_report))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::stop_trial))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::trial_progress))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::trial_verdict))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::replay_traffic))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::replay_report))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::served_batch))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::watch_model))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::incident_found))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::rollback_model))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::serve_again))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::serve_report))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::gate_frame))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::gate_dial))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::gate_ask))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::gate_answer))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::gate_note))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::gate_call))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::peer_state))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::gate_renew))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::agent_message))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::seat_wish))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::seat_given))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::seat_move))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::letter_answer))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::place_task))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::cancel_task))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::close_runner))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::task_verdict))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::pool_report))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::pool_end))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::ask_gangs))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::gang_ready))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::gang_prepared))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::files_moved))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::drain_node))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::list_nodes))
  CAF_ADD_TYPE_ID(flywheel, (flywheel::shut_down))
  CAF_ADD_ATOM(flywheel, flywheel, tick_atom, "tick")
  CAF_ADD_ATOM(flywheel, flywheel, resume_atom, "resume")
  CAF_ADD_ATOM(flywheel, flywheel, crash_atom, "crash")
  CAF_ADD_ATOM(flywheel, flywheel, seal_key_atom, "seal_key")
  CAF_ADD_ATOM(flywheel, flywheel, dialled_atom, "dialled")
CAF_END_TYPE_ID_BLOCK(flywheel)

namespace flywheel {

/// Turns goals into plans and plans into steps run by the others; the only one that decides what happens next.
using conductor_agent = caf::typed_actor<
    cafx::sig<goal_ack, submit_goal>,           ///< durable when answered (I1)
    cafx::sig<acknowledgement, cancel_goal>,    ///< stops running steps
    cafx::sig<acknowledgement, answer_approval>,
    cafx::sig<void, agent_restarted>,           ///< its running steps are started again
    cafx::sig<void, tick_atom, std::string>>;   ///< a goal's retry or approval is due

/// Ingests, checks, splits and seals data.           step: ingest
using data_steward_agent = caf::typed_actor<
    cafx::sig<step_outcome, run_step>,
    cafx::sig<void, stop_step>>;

/// Chooses families by cheap trials.                 step: explore
using architect_agent = caf::typed_actor<
    cafx::sig<step_outcome, run_step>,
    cafx::sig<void, agent_restarted>,           ///< hpo's: our studies are asked for again
    cafx::sig<void, stop_step>>;

/// Searches hyper-parameters within a budget.        step: search
using hpo_agent = caf::typed_actor<
    cafx::sig<step_outcome, run_step>,
    cafx::sig<study_report, run_study>,         ///< the architect's cheap looks
    cafx::sig<trial_verdict, trial_progress>,   ///< asked by the trainer at each rung
    cafx::sig<void, agent_restarted>,           ///< the trainer's: running trials are asked for again
    cafx::sig<void, tick_atom, std::string, std::uint64_t>, ///< look at a goal's studies again
    cafx::sig<void, stop_step>>;

/// Runs trials and fits in workers.                  step: train
using trainer_agent = caf::typed_actor<
    cafx::sig<step_outcome, run_step>,
    cafx::sig<trial_ended, order_trial>,        ///< answered once, when the worker's task has ended
    cafx::sig<void, stop_trial>,
    cafx::sig<void, trial_progress>,            ///< from the worker pool
    cafx::sig<void, trial_ended>,             ///< from the worker pool
    cafx::sig<void, stop_step>>;

/// Owns held-out data; judges.                       steps: baseline, evaluate
using evaluator_agent = caf::typed_actor<
    cafx::sig<step_outcome, run_step>,
    cafx::sig<sealing_key, seal_key_atom>,      ///< asked by the data steward before it seals held-out rows
    cafx::sig<replay_report, replay_traffic>,
    cafx::sig<void, stop_step>>;

/// Watches what is served; confirms shifts.          step: watch
using monitor_agent = caf::typed_actor<
    cafx::sig<step_outcome, run_step>,
    cafx::sig<void, watch_model>,
    cafx::sig<void, served_batch>,
    cafx::sig<void, stop_step>>;

/// Decides what to do about a confirmed incident: a bounded retrain goal, waiting, or a person.
using learner_agent = caf::typed_actor<
    cafx::sig<void, incident_found>>;

/// Registers, serves, rolls out and back.            steps: release, rollout
using deployer_agent = caf::typed_actor<
    cafx::sig<step_outcome, run_step>,
    cafx::sig<acknowledgement, rollback_model>,
    cafx::sig<serve_report, serve_again>,
    cafx::sig<void, tick_atom>,                 ///< collect what was served
    cafx::sig<void, stop_step>>;

/// All that one gate sees of another.
using gate_port = caf::typed_actor<cafx::sig<void, gate_frame>>;

/// The one door between nodes: proves who is there, keeps order and credit, fails what waits when a peer goes.
using gate_agent = caf::typed_actor<
    cafx::sig<void, gate_frame>,                ///< from another node's gate
    cafx::sig<void, gate_dial>,
    cafx::sig<void, dialled_atom, std::string, fault, caf::actor>, ///< from a dialling job: what came of it
    cafx::sig<gate_answer, gate_ask>,
    cafx::sig<void, gate_note>,
    cafx::sig<void, gate_renew>,
    cafx::sig<void, tick_atom>>;                ///< look at what is due

/// What may be asked through the gate; entered in the gate's service_directory under a name.
using gate_service = caf::typed_actor<
    cafx::sig<gate_answer, gate_call>,
    cafx::sig<void, gate_note>,
    cafx::sig<gate_answer, peer_state>>;

/// Carries messages to agents that live elsewhere. Service "agents" of a node's gate.
using agent_router = gate_service::extend<
    cafx::sig<gate_answer, agent_message>>;     ///< body: the fields of the answer

/// Knows where each agent lives; on the head.
using agent_desk_agent = agent_router::extend<
    cafx::sig<seat_given, seat_wish>,           ///< from a seat; the agent is started there when it is answered
    cafx::sig<void, letter_answer>,             ///< from its own jobs
    cafx::sig<gate_answer, list_nodes>,         ///< body: JSON, {"<agent>": "<node>"}
    cafx::sig<acknowledgement, drain_node>,     ///< its agents move when nobody waits for them
    cafx::sig<void, tick_atom>>;

/// Runs the agents that the head placed here; on every other node.
using agent_host_agent = agent_router;

/// Knows who is in the cluster and which task runs where; on the head. Service "cluster" of the head's gate.
using dispatcher_agent = gate_service::extend<
    cafx::sig<void, place_task>,                ///< from a task runner
    cafx::sig<void, cancel_task>,
    cafx::sig<void, close_runner>,
    cafx::sig<void, task_verdict>,
    cafx::sig<void, pool_report>,               ///< of the head's own workers
    cafx::sig<void, pool_end>,
    cafx::sig<gate_answer, list_nodes>,         ///< body: JSON
    cafx::sig<gate_answer, ask_gangs>,
    cafx::sig<void, gang_ready>,                ///< of the head's own ranks
    cafx::sig<void, gang_prepared>,
    cafx::sig<acknowledgement, drain_node>,
    cafx::sig<acknowledgement, shut_down>,
    cafx::sig<void, tick_atom>>;

/// Runs what the head's dispatcher sends; on every other node. Service "cluster" of its gate.
using task_host_agent = gate_service::extend<
    cafx::sig<void, pool_report>,
    cafx::sig<void, pool_end>,
    cafx::sig<void, gang_ready>,                ///< from the hands of a gang
    cafx::sig<void, files_moved>,
    cafx::sig<acknowledgement, shut_down>,      ///< say goodbye: the node goes
    cafx::sig<void, tick_atom>>;

} // namespace flywheel
