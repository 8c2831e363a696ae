#pragma once
// Actors that block (on a disk, on another actor's answer) have a thread of their own. Under CAF's testing scheduler nobody has: there the
// simulation (tests/simulation) decides who runs when, and these doors lead to it.

#include "actors/protocol/caf_compat.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <utility>

namespace flywheel {

/// Whoever runs actors without threads, by this thread: lets others run until `ready`. Empty in every process but a simulation's.
inline thread_local std::function<void(const std::function<bool()>& ready)> let_others_run;

/// Spawns as system.spawn does, on a thread of its own.
template <class... Arguments> auto spawn_on_own_thread(caf::actor_system& system, Arguments&&... arguments) {
  if (cafx::has_threads(system))
    return system.spawn<caf::detached>(std::forward<Arguments>(arguments)...);
  return system.spawn(std::forward<Arguments>(arguments)...);
}

/// Blocks until `to` has answered `m`, or `lost` says what no answer is to be taken for. Only from a thread of one's own.
template <class Reply, class Handle, class Rep, class Period, class Message>
Reply ask_and_wait(caf::actor_system& system, const Handle& to, std::chrono::duration<Rep, Period> within, const Message& m,
                   const std::function<Reply(const caf::error&)>& lost) {
  if (cafx::has_threads(system)) {
    std::optional<Reply> got;
    caf::scoped_actor self{system};
    cafx::request(self.ptr(), to, within, m).receive([&](Reply& r) { got = std::move(r); }, [&](caf::error& e) { got = lost(e); });
    return std::move(*got);
  }
  const auto got = std::make_shared<std::optional<Reply>>();
  system.spawn([=](caf::event_based_actor* self) {
    cafx::request(self, to, within, m).then([=](Reply& r) { *got = std::move(r); }, [=](const caf::error& e) { *got = lost(e); });
  });
  let_others_run([&] { return got->has_value(); });
  return std::move(**got);
}

} // namespace flywheel
