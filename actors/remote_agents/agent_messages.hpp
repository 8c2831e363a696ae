#pragma once
// Which messages reach an agent on another node, and how: the table that proxies, head and host share. An agent whose messages all stand here
// can be placed.

#include "actors/protocol/blocking_job.hpp"
#include "actors/remote_agents/message_fields.hpp"

#include <tuple>

namespace flywheel::agent_messages {

/// For a message that nobody answers.
struct no_reply {};

template <class Message, class Reply> struct forwarded {
  using message = Message;
  using reply = Reply;
  const char* name;
};

inline constexpr std::tuple all{
    forwarded<run_step, step_outcome>{"run_step"},       forwarded<run_study, study_report>{"run_study"},
    forwarded<order_trial, trial_ended>{"order_trial"},  forwarded<trial_progress, trial_verdict>{"trial_progress"},
    forwarded<replay_traffic, replay_report>{"replay_traffic"}, forwarded<seal_key_atom, sealing_key>{"seal_key"},
    forwarded<stop_step, no_reply>{"stop_step"},         forwarded<stop_trial, no_reply>{"stop_trial"},
    forwarded<agent_restarted, no_reply>{"agent_restarted"}};

/// The agents that may live on another node than the head: what they say and hear is in the table, and all they know is in the journal.
inline constexpr const char* placeable[] = {"data_steward", "architect", "hpo", "evaluator"};

template <class M> nlohmann::json fields_of(const M& m) {
  if constexpr (std::is_same_v<M, seal_key_atom>)
    return nlohmann::json::object();
  else
    return message_fields::to_json(m);
}
template <class M> result<M> message_of(const nlohmann::json& fields) {
  if constexpr (std::is_same_v<M, seal_key_atom>)
    return M{};
  else
    return message_fields::from_json<M>(fields);
}

/// Gives the message `kind` with `fields` to a local agent; `then(fault, fields of the answer)` is called once, in the caller's context.
template <class Self, class Then>
void deliver(Self* self, const caf::actor& to, const std::string& kind, const nlohmann::json& fields, Then then) {
  const auto attempt = [&](const auto& entry) {
    using entry_type = std::decay_t<decltype(entry)>;
    using message = typename entry_type::message;
    using reply = typename entry_type::reply;
    if (kind != entry.name)
      return false;
    auto m = message_of<message>(fields);
    if (!m) {
      then(fault{m.error()}, nlohmann::json::object());
    } else if constexpr (std::is_same_v<reply, no_reply>) {
      cafx::anon_send(to, std::move(*m));
      then(fault{}, nlohmann::json::object());
    } else {
      cafx::request(self, to, step_time_max, std::move(*m))
          .then([then](const reply& r) { then(fault{}, fields_of(r)); },
                [then, kind](const caf::error& e) {
                  then(fault{error{errc::interrupted, "the agent did not answer " + kind + ": " + cafx::render(e)}}, nlohmann::json::object());
                });
    }
    return true;
  };
  if (!std::apply([&](const auto&... entries) { return (attempt(entries) || ...); }, all))
    then(fault{error{errc::unsupported, "no agent understands '" + kind + "'", {}, "use the same version of flywheel on all nodes"}}, nlohmann::json::object());
}

/// A behaviour that takes in every message of the table: `ask(message, kind, promise)` for one that is answered, `tell(message, kind)` for others;
/// and what `more` handlers take.
template <class Self, class Ask, class Tell, class... More> caf::behavior take_all(Self* self, Ask ask, Tell tell, More... more) {
  const auto handler = [=](const auto& entry) {
    using entry_type = std::decay_t<decltype(entry)>;
    using message = typename entry_type::message;
    using reply = typename entry_type::reply;
    const std::string kind = entry.name;
    if constexpr (std::is_same_v<reply, no_reply>) {
      return [=](const message& m) { tell(m, kind); };
    } else {
      return [=](const message& m) -> caf::result<reply> {
        auto promise = self->template make_response_promise<reply>();
        ask(m, kind, promise);
        return promise;
      };
    }
  };
  return std::apply([&](const auto&... entries) { return caf::behavior{handler(entries)..., more...}; }, all);
}

/// What an agent gets whose question died with the one it asked: the same as if both lived on one node.
inline caf::error answerer_lost() { return caf::make_error(caf::sec::request_receiver_down); }

} // namespace flywheel::agent_messages
