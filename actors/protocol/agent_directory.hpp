#pragma once
// Who plays which part on this node right now. The supervisor fills it in and replaces an agent that died; agents ask it
// each time they send, so nobody keeps a handle to the dead. For an agent on another node the entry will be the gate's
// local proxy: the handle's type is the same and the asker cannot tell.

#include "actors/protocol/agents.hpp"
#include "actors/protocol/step_turns.hpp"

#include <memory>
#include <mutex>

namespace flywheel {

/// Thread-safe.
class agent_directory {
public:
  struct parts {
    conductor_agent conductor;
    data_steward_agent data_steward;
    architect_agent architect;
    hpo_agent hpo;
    trainer_agent trainer;
    evaluator_agent evaluator;
    deployer_agent deployer;
    monitor_agent monitor;
    learner_agent learner;
  };

  parts now() const {
    const std::lock_guard lock{mutex_};
    return parts_;
  }
  template <class Handle> void set(Handle parts::*part, Handle handle) {
    const std::lock_guard lock{mutex_};
    parts_.*part = std::move(handle);
  }
  /// Drops every handle, so that the actor system can end.
  void clear() {
    const std::lock_guard lock{mutex_};
    parts_ = {};
  }

  /// Of the steps that run beside agents of this node, whichever life of the agent began them.
  const std::shared_ptr<step_turns>& turns() const noexcept { return turns_; }

private:
  std::shared_ptr<step_turns> turns_ = std::make_shared<step_turns>();
  mutable std::mutex mutex_;
  parts parts_;
};

} // namespace flywheel
