#include "actors/gate/watchman_actor.hpp"

#include <cstdio>
#include <unistd.h>

namespace flywheel {

namespace {

constexpr int exit_fault = 70;

struct watchman_state {
  static inline const char* name = "watchman";
  cafx::monitors watch;
};

caf::behavior watchman(caf::stateful_actor<watchman_state>* self, const std::vector<std::pair<std::string, caf::actor>>& whom) {
  for (const auto& [name, actor] : whom)
    cafx::state(self).watch.add(self, actor, [name = name](const caf::error& reason) {
      if (reason == caf::exit_reason::user_shutdown || !reason)
        return;
      std::fprintf(stderr, "flywheel: the %s ended by a fault (%s); this process ends, start it again\n", name.c_str(), cafx::render(reason).c_str());
      ::_exit(exit_fault);
    });
  return {[](tick_atom) {}};
}

} // namespace

caf::actor spawn_watchman(caf::actor_system& system, std::vector<std::pair<std::string, caf::actor>> whom) { return system.spawn(watchman, std::move(whom)); }

} // namespace flywheel
