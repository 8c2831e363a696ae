#pragma once
// What may be asked of a running node from outside, whichever way it comes: over the socket of its state folder, or through the gate.
// Operations in words: docs/control.md.

#include "actors/node/node.hpp"
#include "cluster/security/certificates.hpp"

#include <nlohmann/json_fwd.hpp>

#include <functional>
#include <string>

namespace flywheel {

/// Who asks. Of the socket in the state folder: its owner, who is believed when he names somebody else.
struct control_caller {
  bool local = true;
  std::string name;          ///< through the gate: as in the certificate
  role as = role::admin;
};

class control_desk {
public:
  control_desk(node& owner, std::function<void()> stop_requested) : owner_(&owner), stop_requested_(std::move(stop_requested)) {}
  /// Answers one request; blocks for as long as the agents take. Any thread but an agent's.
  nlohmann::json carry_out(const nlohmann::json& request, const control_caller& from) const;

private:
  node* owner_;
  std::function<void()> stop_requested_;
};

/// Whether `r` may do `op` (as in docs/control.md); unknown operations need an admin.
bool may_do(role r, std::string_view op) noexcept;

} // namespace flywheel
