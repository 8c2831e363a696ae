#pragma once
// Long work beside an agent: a one-shot detached actor runs it, so that the agent goes on answering.

#include "actors/protocol/agent_context.hpp"
#include "actors/protocol/agent_directory.hpp"
#include "actors/protocol/own_thread.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

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

/// Runs `work` for a step on its own thread and tells `done` in the agent's context (`self->state.context`). An exception in `work` is an
/// internal error of that step, not the end of the agent. A job outlives its agent: the next one's waits until it has ended.
template <class Self>
void run_job(Self* self, const run_step& m, std::function<step_outcome()> work, std::function<void(const step_outcome&)> done) {
  auto work_actor = spawn_on_own_thread(self->home_system(), [work = std::move(work), turns = cafx::state(self).context->agents->turns(),
                                                              key = m.goal + "/" + m.step](caf::event_based_actor* me) {
    return caf::behavior{[work, turns, key, me](tick_atom) -> step_outcome {
      step_outcome out;
      const step_turns::turn mine{me->home_system(), *turns, key};
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
  cafx::request(self, work_actor, step_time_max, tick_atom_v)
      .then([done](const step_outcome& out) { done(out); },
            [done](const caf::error& e) {
              step_outcome out;
              out.problem = error{errc::internal, "the step's job ended without an answer: " + cafx::render(e)};
              done(out);
            });
}

/// The steps that run beside an agent. One that is asked for again while it runs (whoever asked has died, and was started again) does not run
/// twice at a time: everybody gets its answer. If it was being stopped, it begins anew for those who asked later. In the agent's context.
class step_jobs {
public:
  using asker = caf::typed_response_promise<step_outcome>;
  /// `start` begins the step and sees to it that finish() is called.
  void run(const run_step& m, asker p, std::function<void()> start) {
    auto& asked = open_[{m.goal, m.step}];
    asked.promises.push_back(std::move(p));
    asked.start = std::move(start);
    if (asked.promises.size() == 1)
      std::function<void()>{asked.start}(); // it may end at once
  }
  void finish(const run_step& m, const step_outcome& outcome) {
    const auto i = open_.find({m.goal, m.step});
    if (i == open_.end())
      return;
    auto over = std::move(i->second);
    open_.erase(i);
    if (outcome.problem && outcome.problem.to_error().code == errc::cancelled && over.promises.size() > 1) {
      over.promises.front().deliver(outcome);
      over.promises.erase(over.promises.begin());
      open_[{m.goal, m.step}] = over;
      return over.start();
    }
    for (auto& p : over.promises)
      p.deliver(outcome);
  }
  /// As run, with work on a thread of its own. `self->state.jobs` is this.
  template <class Self> caf::result<step_outcome> run_blocking(Self* self, const run_step& m, std::function<step_outcome()> work) {
    auto promise = self->template make_response_promise<step_outcome>();
    run(m, promise, [self, m, work = std::move(work)] {
      run_job(self, m, work, [self, m](const step_outcome& out) { cafx::state(self).jobs.finish(m, out); });
    });
    return promise;
  }

private:
  struct job {
    std::vector<asker> promises;
    std::function<void()> start; ///< of whoever asked last
  };
  std::map<std::pair<std::string, std::string>, job> open_;
};

} // namespace flywheel
