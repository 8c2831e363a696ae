#include "actors/node/supervisor_actor.hpp"

#include "actors/architect/architect_actor.hpp"
#include "actors/conductor/conductor_actor.hpp"
#include "actors/data_steward/data_steward_actor.hpp"
#include "actors/hpo/hpo_actor.hpp"
#include "actors/learner/learner_actor.hpp"
#include "actors/monitor/monitor_actor.hpp"
#include "actors/node/restart_policy.hpp"
#include "actors/protocol/agent_directory.hpp"
#include "actors/protocol/own_thread.hpp"
#include "cluster/base/json.hpp"

#include <cstdio>

namespace flywheel {
namespace {

/// How to make one agent and where it is entered.
struct role {
  std::string name;
  std::function<caf::actor()> start; ///< spawns, enters the handle in the directory, returns it untyped for watching
};

struct supervisor_state {
  static inline const char* name = "supervisor";
  const agent_context* context = nullptr;
  std::vector<role> roles;                    ///< in starting order
  std::map<std::string, caf::actor> running;
  cafx::monitors watch;
  restart_policy restarts;
  bool stopping = false;
  caf::typed_response_promise<acknowledgement> stopped;
};
using self_pointer = supervisor_agent::stateful_pointer<supervisor_state>;

template <class Handle>
role make_role(std::string name, agent_directory* directory, Handle agent_directory::parts::*part,
               std::function<Handle()> spawn) {
  return {std::move(name), [=] {
            auto handle = spawn();
            directory->set(part, handle);
            return caf::actor_cast<caf::actor>(handle);
          }};
}

/// One that may live on another node.
template <class Handle>
role make_placed_role(const std::string& name, agent_directory* directory, Handle agent_directory::parts::*part, std::function<Handle()> spawn,
                      const agent_seating& seating) {
  if (!seating)
    return make_role<Handle>(name, directory, part, std::move(spawn));
  return make_role<Handle>(name, directory, part,
                           [=] { return caf::actor_cast<Handle>(seating(name, [spawn] { return caf::actor_cast<caf::actor>(spawn()); })); });
}

void start_agent(self_pointer self, const role& r);

void tell_the_others(self_pointer self, const std::string& agent, const std::string& cause) {
  const auto parts = self->state.context->agents->now();
  const agent_restarted m{agent, cause};
  cafx::send(self, parts.conductor, m);
  if (agent == "trainer")
    cafx::send(self, parts.hpo, m);
  if (agent == "hpo")
    cafx::send(self, parts.architect, m);
}

void agent_ended(self_pointer self, const role& r, const caf::error& e) {
  auto& st = self->state;
  const bool node_went = e == caf::make_error(caf::exit_reason::remote_link_unreachable);
  const auto cause = node_went ? std::string{"its node went"} : cafx::render(e);
  st.running.erase(r.name);
  if (st.stopping) {
    if (st.running.empty()) {
      st.context->agents->clear();
      st.stopped.deliver(acknowledgement{});
      self->quit();
    }
    return;
  }
  const bool again = node_went || st.restarts.may_restart(r.name, st.context->time->mono()); // what happened to a node is no fault of its agents
  const scribe log{*st.context, "supervisor"};
  auto written = log.write(log.draft(event_kind::agent_state, {}, {}, r.name,
                                     "agent " + r.name + " ended (" + cause + ") and is " +
                                         (again ? "started again" : "given up: it died too often"),
                                     {{"state", again ? "restarted" : "gave_up"}, {"cause", cause}}));
  if (!written)
    std::fprintf(stderr, "flywheel: could not record the end of %s: %s\n", r.name.c_str(),
                 written.error().to_string().c_str());
  if (!again) {
    std::fprintf(stderr, "flywheel: agent %s died too often (%s); its goals wait until the next start\n",
                 r.name.c_str(), cause.c_str());
    return;
  }
  start_agent(self, r);
  tell_the_others(self, r.name, cause);
}

void start_agent(self_pointer self, const role& r) {
  auto& st = self->state;
  auto handle = r.start();
  st.running[r.name] = handle;
  st.watch.add(self, handle, [self, &r](const caf::error& e) { agent_ended(self, r, e); });
}

std::vector<role> roles_of(caf::actor_system& system, const agent_context& context, const agent_doors& doors) {
  const auto& seating = doors.seating;
  using parts = agent_directory::parts;
  auto* d = context.agents;
  // The conductor behind those it sends work to at once; the learner behind the conductor, to whom it submits what it
  // finds unanswered in the journal.
  return {
      make_placed_role<evaluator_agent>("evaluator", d, &parts::evaluator, [&, o = doors.evaluator] { return spawn_evaluator(system, context, o); }, seating),
      make_placed_role<data_steward_agent>("data_steward", d, &parts::data_steward, [&] { return spawn_data_steward(system, context); }, seating),
      make_role<trainer_agent>("trainer", d, &parts::trainer,
                               [&, o = doors.trainer] { return spawn_trainer(system, context, o); }),
      make_placed_role<hpo_agent>("hpo", d, &parts::hpo, [&] { return spawn_hpo(system, context); }, seating),
      make_placed_role<architect_agent>("architect", d, &parts::architect, [&] { return spawn_architect(system, context); }, seating),
      make_role<monitor_agent>("monitor", d, &parts::monitor, [&] { return spawn_monitor(system, context); }),
      make_role<deployer_agent>("deployer", d, &parts::deployer, [&, o = doors.deployer] { return spawn_deployer(system, context, o); }),
      make_role<conductor_agent>("conductor", d, &parts::conductor, [&] { return spawn_conductor(system, context); }),
      make_role<learner_agent>("learner", d, &parts::learner, [&] { return spawn_learner(system, context); }),
  };
}

supervisor_agent::behavior_type supervisor(self_pointer self, const agent_context* context, const agent_doors& doors) {
  auto& st = self->state;
  st.context = context;
  st.roles = roles_of(self->home_system(), *context, doors);
  return {
      [=](resume_atom) -> acknowledgement {
        for (const auto& r : self->state.roles)
          start_agent(self, r);
        return acknowledgement{};
      },
      [=](crash_atom, const std::string& name) -> acknowledgement {
        acknowledgement ack;
        const auto i = self->state.running.find(name);
        if (i == self->state.running.end())
          ack.problem = error{errc::not_found, "no agent is called '" + name + "'"};
        else
          self->send_exit(i->second, caf::exit_reason::kill);
        return ack;
      },
      [=](tick_atom) -> caf::result<acknowledgement> {
        auto& state = self->state;
        state.stopping = true;
        auto promise = self->make_response_promise<acknowledgement>();
        state.stopped = promise;
        for (const auto& [name, handle] : state.running)
          self->send_exit(handle, caf::exit_reason::user_shutdown);
        return promise;
      },
  };
}

} // namespace

supervisor_agent spawn_supervisor(caf::actor_system& system, const agent_context& context, agent_doors doors) {
  return spawn_on_own_thread(system, supervisor, &context, std::move(doors));
}

} // namespace flywheel
