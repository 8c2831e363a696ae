#pragma once
// What a service of the gate answers with.

#include "actors/protocol/agents.hpp"
#include "actors/protocol/control_format.hpp"
#include "cluster/base/json.hpp"

namespace flywheel {

/// A MessagePack map.
inline gate_answer answer_of(const nlohmann::json& body) {
  gate_answer a;
  a.body = control::encode(body);
  return a;
}

inline gate_answer failure(const error& e) {
  gate_answer a;
  a.problem = e;
  return a;
}

} // namespace flywheel
