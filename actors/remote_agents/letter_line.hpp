#pragma once
// Letters between two gates' "agents" services, as an actor of either side sends and takes them.

#include "actors/gate/access_policy.hpp"
#include "actors/protocol/agents.hpp"
#include "actors/remote_agents/letter_box.hpp"
#include "actors/protocol/text_or_bytes.hpp"
#include "cluster/base/json.hpp"

#include <memory>

namespace flywheel {

class letter_line {
public:
  explicit letter_line(gate_agent gate) : gate_(std::move(gate)) {}

  /// `failed(error)` is called at most once, in the actor's context, if the letter did not arrive, or may not have.
  template <class Self, class Failed> void send(Self* self, const std::string& peer, const nlohmann::json& letter, Failed failed) {
    const auto pieces = box_.pieces(letter);
    if (!pieces)
      return failed(pieces.error());
    const auto told = std::make_shared<bool>(false);
    const auto fail = [=](const error& e) {
      if (!std::exchange(*told, true))
        failed(e);
    };
    for (const auto& piece : *pieces)
      cafx::request(self, gate_, std::chrono::milliseconds{2 * wait_ms}, gate_ask{peer, std::string{gate::agents_service}, piece, wait_ms})
          .then(
              [fail](const gate_answer& a) {
                if (a.problem)
                  fail(a.problem.to_error());
              },
              [fail](const caf::error& e) { fail(error{errc::unreachable, cafx::render(e)}); });
  }
  /// Takes in a piece; the letter once it is whole.
  result<std::optional<nlohmann::json>> take(const gate_call& m) { return box_.take(m.peer, m.body); }
  void forget(const std::string& peer) { box_.forget(peer); }

private:
  static constexpr std::uint64_t wait_ms = 10'000;
  gate_agent gate_;
  letter_box box_;
};

// Fields of a letter; what is missing or of another type is empty.
inline std::string text_in(const nlohmann::json& letter, const char* key) {
  const auto i = letter.find(key);
  return i != letter.end() ? text_from(*i).value_or("") : std::string{};
}
inline std::uint64_t number_in(const nlohmann::json& letter, const char* key) {
  const auto i = letter.find(key);
  return i != letter.end() && i->is_number_unsigned() ? i->get<std::uint64_t>() : 0;
}
inline nlohmann::json map_in(const nlohmann::json& letter, const char* key) {
  const auto i = letter.find(key);
  return i != letter.end() && i->is_object() ? *i : nlohmann::json::object();
}

/// An answer to the letter `id`.
inline nlohmann::json answer_letter(std::uint64_t id, const fault& problem, const nlohmann::json& fields) {
  nlohmann::json letter{{"op", "answer"}, {"id", id}};
  if (problem)
    letter["problem"] = {{"code", std::string{name_of(static_cast<errc>(problem.code))}}, {"what", text_json(problem.what)}, {"where", text_json(problem.where)}, {"hint", text_json(problem.hint)}};
  else
    letter["fields"] = fields;
  return letter;
}

/// What an answer says, as a router hands it to whoever asked.
inline gate_answer read_answer(const nlohmann::json& letter) {
  gate_answer a;
  if (letter.contains("problem")) {
    const auto p = map_in(letter, "problem");
    a.problem = error{errc_from_name(text_in(p, "code")).value_or(errc::internal), text_in(p, "what"), text_in(p, "where"), text_in(p, "hint")};
  } else {
    nlohmann::json::to_msgpack(map_in(letter, "fields"), a.body);
  }
  return a;
}

/// An agent's message as a letter; `slots`: what the cluster has to offer now.
inline nlohmann::json message_letter(const agent_message& m, std::uint64_t id, std::uint64_t slots) {
  return {{"op", "message"}, {"from", m.from}, {"placement", m.placement}, {"to", m.to}, {"kind", m.kind}, {"id", id}, {"slots", slots},
          {"fields", nlohmann::json::from_msgpack(m.fields, true, false)}};
}

} // namespace flywheel
