#pragma once
// Long work beside an agent: a one-shot detached actor runs it, so that the agent goes on answering.

#include "actors/protocol/agents.hpp"
#include "actors/protocol/own_thread.hpp"

#include <chrono>
#include <functional>

namespace flywheel {

/// A step may take long, but never for ever: every request has a finite time-out (caf.md 2.9).
inline constexpr std::chrono::minutes step_time_max{7 * 24 * 60}; // CAF 0.17 has no hours

/// A step's result as the message that answers it.
inline step_outcome outcome_of(result<step_outcome> r) {
  if (r)
    return std::move(*r);
  step_outcome out;
  out.problem = r.error();
  return out;
}

/// Runs `work` on its own thread and answers `promise` with its outcome. An exception in `work` is an internal error of
/// that step, not the end of the agent. Call in the agent's context.
template <class Self>
void run_blocking(Self* self, caf::typed_response_promise<step_outcome> promise, std::function<step_outcome()> work) {
  auto job = spawn_on_own_thread(self->home_system(), [work = std::move(work)](caf::event_based_actor* me) {
    return caf::behavior{[work, me](tick_atom) -> step_outcome {
      step_outcome out;
      try {
        out = work();
      } catch (const std::bad_alloc&) {
        out.problem = error{errc::out_of_memory, "while running a step", {}, "lower the memory limits or free memory"};
      } catch (const std::exception& e) {
        out.problem = error{errc::internal, e.what()};
      }
      me->quit();
      return out;
    }};
  });
  cafx::request(self, job, step_time_max, tick_atom_v)
      .then([promise](step_outcome& out) mutable { promise.deliver(std::move(out)); },
            [promise](const caf::error& e) mutable {
              step_outcome out;
              out.problem = error{errc::internal, "the step's job ended without an answer: " + cafx::render(e)};
              promise.deliver(std::move(out));
            });
}

/// The same for the agent's current request: call from a handler and return the promise.
template <class Self>
caf::typed_response_promise<step_outcome> run_blocking(Self* self, std::function<step_outcome()> work) {
  auto promise = self->template make_response_promise<step_outcome>();
  run_blocking(self, promise, std::move(work));
  return promise;
}

} // namespace flywheel
