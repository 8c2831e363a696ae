#pragma once
// One life of a node's process: an actor system on CAF's testing scheduler, with a clock of its own. Who runs when is agent_world's.

#include "actors/dispatcher/dispatcher_actor.hpp"
#include "actors/dispatcher/task_host_actor.hpp"
#include "actors/gate/service_directory.hpp"
#include "actors/node/supervisor_actor.hpp"
#include "actors/protocol/agent_directory.hpp"
#include "cluster/journal/state_directory.hpp"
#include "tests/simulation/simulated_journal.hpp"

#include <caf/scheduler/test_coordinator.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace flywheel::simulation {

struct testing_config : caf::actor_system_config {
  testing_config() {
    cafx::add_types<caf::id_block::flywheel>(*this);
    cafx::use_testing_scheduler(*this);
  }
};

/// CAF's clock for tests keeps its schedule to itself.
struct clock_peek : caf::detail::test_actor_clock {
  static std::optional<std::chrono::nanoseconds> first(caf::detail::test_actor_clock& c) {
    const auto& schedule = c.*&clock_peek::schedule_;
    return schedule.empty() ? std::nullopt : std::optional{std::chrono::nanoseconds{schedule.begin()->first.time_since_epoch()}};
  }
};

/// As one machine sees the time.
class machine_clock final : public time_source {
public:
  machine_clock(const stage& s, bool slow) : stage_(&s), began_(s.now), slow_(slow) {}
  wall_time wall() const override { return {1'700'000'000'000'000'000 + stage_->now.ns + skew.count()}; }
  mono_time mono() const override { return slow_ ? mono_time{began_.ns + (stage_->now.ns - began_.ns) / 2} : stage_->now; }
  nanoseconds skew{0};

private:
  const stage* stage_;
  mono_time began_;
  bool slow_;
};

/// Where jobs of a system go while one of its actors runs.
class turn_unit final : public caf::execution_unit {
public:
  turn_unit(caf::actor_system* system, caf::scheduler::test_coordinator* to) : caf::execution_unit(system), to_(to) {}
  void exec_later(caf::resumable* job) override { to_->jobs.push_back(job); }

private:
  caf::scheduler::test_coordinator* to_;
};

/// One life of a node's process.
struct machine {
  std::string name;
  bool is_head = false, frozen = false;
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
  mono_time frozen_at;
  std::unique_ptr<machine_clock> clock;
  testing_config config;
  service_directory services;
  std::unique_ptr<caf::actor_system> system;
  caf::scheduler::test_coordinator* scheduler = nullptr;
  std::unique_ptr<turn_unit> unit;
  mono_time clock_at;
  std::vector<std::unique_ptr<fiber>> waiting;
  gate_agent gate;
  // of a head
  std::optional<state_directory> directory;
  std::unique_ptr<simulated_journal> log;
  agent_directory agents;
  agent_context context;
  std::shared_ptr<std::atomic<unsigned>> usable = std::make_shared<std::atomic<unsigned>>(1);
  std::shared_ptr<task_channel> channel = std::make_shared<task_channel>();
  dispatcher_agent dispatcher;
  agent_desk_agent desk;
  supervisor_agent supervisor;
  // of a member
  task_host_agent host;
  agent_host_agent agent_host;
};

} // namespace flywheel::simulation
