#include "actors/deployer/deployer_actor.hpp"

#include "actors/deployer/release_step.hpp"
#include "actors/deployer/rollout_step.hpp"
#include "actors/protocol/agent_directory.hpp"
#include "actors/protocol/blocking_job.hpp"
#include "cluster/base/json.hpp"
#include "cluster/goal/goal_parser.hpp"

#include <cstdio>

namespace flywheel {
namespace {

using nlohmann::json;

/// How often what was served is handed to the monitor.
constexpr std::chrono::milliseconds collect_every{500};

struct deployer_state {
  static inline const char* name = "deployer";
  const agent_context* context = nullptr;
  std::shared_ptr<serving_table> servers;
  step_jobs jobs;
  std::map<std::string, std::shared_ptr<std::atomic<bool>>> stops; ///< by goal

  /// A job must not go on for an agent that has died.
  ~deployer_state() {
    for (const auto& [goal, stop] : stops)
      *stop = true;
  }
};
using self_pointer = deployer_agent::stateful_pointer<deployer_state>;

/// The rollout runs on its own thread and speaks with the evaluator from there.
rollout_ports ports_of(self_pointer self) {
  auto* system = &self->home_system();
  auto* agents = self->state.context->agents;
  rollout_ports ports;
  ports.replay = [=](const replay_traffic& m) {
    return ask_and_wait<replay_report>(*system, agents->now().evaluator, std::chrono::seconds{60}, m, [](const caf::error& e) {
      replay_report out;
      out.problem = error{errc::interrupted, "the evaluator did not answer: " + cafx::render(e)};
      return out;
    });
  };
  ports.forward = [=](const served_batch& b) { cafx::anon_send(agents->now().monitor, b); };
  return ports;
}

caf::result<step_outcome> run(self_pointer self, const run_step& m) {
  auto& st = self->state;
  const auto* context = st.context;
  if (m.step == "release")
    return st.jobs.run_blocking(self, m, [=] { return outcome_of(release_model(*context, m)); });
  auto promise = self->make_response_promise<step_outcome>();
  st.jobs.run(m, promise, [=] {
    auto& state = self->state;
    auto stop = std::make_shared<std::atomic<bool>>(false);
    state.stops[m.goal] = stop;
    run_job(self, m, [=, servers = state.servers, ports = ports_of(self)] { return outcome_of(roll_out(*context, m, *servers, ports, *stop)); },
            [=](const step_outcome& out) { self->state.jobs.finish(m, out); });
  });
  return promise;
}

void collect(self_pointer self) {
  auto& st = self->state;
  for (const auto& [model, s] : st.servers->all()) {
    if (s.rolling)
      continue;
    const auto requests = s.server->take_requests();
    const auto labels = s.server->take_labels();
    if (!requests.empty() || !labels.empty())
      cafx::send(self, st.context->agents->now().monitor,
                 pack_batch(s.goal, s.server->routes().champion.version, requests, labels));
  }
  cafx::delayed_send(self, self, collect_every, tick_atom_v);
}

serve_report serve(self_pointer self, const serve_again& m) {
  auto& st = self->state;
  serve_report out;
  const auto spec = goal_from_json(json::parse(m.spec_json, nullptr, false));
  if (!spec) {
    out.problem = spec.error();
    return out;
  }
  auto report = serve_champion(*st.context, m.goal, *spec, *st.servers);
  if (!report) {
    out.problem = report.error();
    return out;
  }
  // Watching goes on, too: the monitor died with the process that served before.
  const scribe log{*st.context, "deployer"};
  if (const auto steps = steps_done(log, m.goal); steps && steps->contains("rollout")) {
    const auto& rollout = (*steps)["rollout"];
    cafx::send(self, st.context->agents->now().monitor,
               watch_model{m.goal, report->version, rollout.value("snapshot_folder", ""), rollout.value("model_folder", ""),
                           m.spec_json, rollout.value("evaluation", json::object()).dump()});
  }
  return *report;
}

deployer_agent::behavior_type deployer(self_pointer self, const agent_context* context, const deployer_options& options) {
  self->state.context = context;
  self->state.servers = std::make_shared<serving_table>(options.open_endpoint);
  if (const auto told = record_unrecorded(*context); !told)
    std::fprintf(stderr, "flywheel: the registry could not be compared with the journal: %s\n", told.error().to_string().c_str());
  cafx::delayed_send(self, self, collect_every, tick_atom_v);
  return {
      [=](const run_step& m) { return run(self, m); },
      [=](const rollback_model& m) {
        acknowledgement out;
        if (auto text = roll_back(*self->state.context, m, *self->state.servers); text)
          out.text = *text;
        else
          out.problem = text.error();
        return out;
      },
      [=](const serve_again& m) { return serve(self, m); },
      [=](tick_atom) { collect(self); },
      [=](const stop_step& m) {
        if (const auto i = self->state.stops.find(m.goal); i != self->state.stops.end())
          *i->second = true;
      },
  };
}

} // namespace

deployer_agent spawn_deployer(caf::actor_system& system, const agent_context& context, deployer_options options) {
  return spawn_on_own_thread(system, deployer, &context, std::move(options));
}

} // namespace flywheel
