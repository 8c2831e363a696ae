#pragma once
// Which role may speak to which service of a node. What it may ask of that service, the service decides.

#include "cluster/security/certificates.hpp"

#include <string_view>

namespace flywheel::gate {

inline constexpr std::string_view cluster_service = "cluster"; ///< membership and work: between nodes
inline constexpr std::string_view agents_service = "agents";   ///< agents on other nodes than the head: between nodes
inline constexpr std::string_view control_service = "control"; ///< people and their programs

inline bool may_use(role r, std::string_view service) noexcept {
  if (service == control_service)
    return true;
  return (service == cluster_service || service == agents_service) && r == role::node;
}

} // namespace flywheel::gate
