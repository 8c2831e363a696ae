#pragma once
// What one agent needs to live in a test: a state directory, its journal, an actor system and a directory in which the
// test enters stand-ins for the other agents.

#include "actors/protocol/agent_context.hpp"
#include "actors/protocol/agent_directory.hpp"
#include "cluster/base/clock.hpp"
#include "cluster/journal/journal.hpp"
#include "cluster/journal/state_directory.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace flywheel::testing {

class agent_workbench {
public:
  agent_workbench() {
    std::string pattern = (std::filesystem::temp_directory_path() / "flywheel-agent-XXXXXX").string();
    root = ::mkdtemp(pattern.data());
    auto owned = state_directory::own(root / "state");
    EXPECT_TRUE(owned);
    directory.emplace(std::move(*owned));
    auto opened = journal::open(directory->layout().root, system_clock());
    EXPECT_TRUE(opened);
    log = std::move(*opened);
    context = {directory->layout(), directory->epoch(), log.get(), &system_clock(), &agents, "test", 2};
    cafx::init_types<caf::id_block::flywheel>();
    system = std::make_unique<caf::actor_system>(config);
  }
  /// Ends every agent first: they use all that follows. As the supervisor does, by a message: an agent that still waits
  /// for an answer keeps itself alive.
  ~agent_workbench() {
    agents.clear();
    {
      caf::scoped_actor self{*system};
      for (const auto& agent : spawned)
        self->send_exit(agent, caf::exit_reason::user_shutdown);
    }
    spawned.clear();
    system->await_actors_before_shutdown(false);
    system.reset();
    log.reset();
    directory.reset();
    std::error_code ignored;
    std::filesystem::remove_all(root, ignored);
  }
  agent_workbench(const agent_workbench&) = delete;
  agent_workbench& operator=(const agent_workbench&) = delete;

  /// An agent of the test, or a stand-in for one: ended with the bench.
  template <class Handle> Handle keep(Handle agent) {
    spawned.push_back(caf::actor_cast<caf::actor>(agent));
    return agent;
  }

  std::filesystem::path root;
  agent_directory agents;
  agent_context context;
  std::unique_ptr<caf::actor_system> system;

private:
  struct plain_config : caf::actor_system_config {
    plain_config() {
      cafx::add_types<caf::id_block::flywheel>(*this);
      cafx::use_sharing_scheduler(*this);
    }
  };
  std::vector<caf::actor> spawned;
  plain_config config;
  std::optional<state_directory> directory;
  std::unique_ptr<journal> log;
};

} // namespace flywheel::testing
