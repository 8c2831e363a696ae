#pragma once
// Who answers what comes through the gate. Filled by whoever starts the services, asked by the gate for each message: nobody keeps a
// handle to the dead.

#include "actors/protocol/agents.hpp"

#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace flywheel {

/// Thread-safe.
class service_directory {
public:
  void set(const std::string& name, gate_service handle) {
    const std::lock_guard lock{mutex_};
    services_[name] = std::move(handle);
  }
  /// Empty if nobody serves that.
  gate_service find(const std::string& name) const {
    const std::lock_guard lock{mutex_};
    const auto i = services_.find(name);
    return i == services_.end() ? gate_service{} : i->second;
  }
  std::vector<gate_service> all() const {
    const std::lock_guard lock{mutex_};
    std::vector<gate_service> handles;
    for (const auto& [name, handle] : services_)
      handles.push_back(handle);
    return handles;
  }
  void clear() {
    const std::lock_guard lock{mutex_};
    services_.clear();
  }

private:
  mutable std::mutex mutex_;
  std::map<std::string, gate_service> services_;
};

} // namespace flywheel
