#include "actors/node/member_node_actor.hpp"

#include "actors/architect/architect_actor.hpp"
#include "actors/data_steward/data_steward_actor.hpp"
#include "actors/dispatcher/dispatch_format.hpp"
#include "actors/dispatcher/task_host_actor.hpp"
#include "actors/evaluator/evaluator_actor.hpp"
#include "actors/gate/access_policy.hpp"
#include "actors/gate/gate_actor.hpp"
#include "actors/gate/tls_transport_actor.hpp"
#include "actors/gate/watchman_actor.hpp"
#include "actors/hpo/hpo_actor.hpp"
#include "actors/remote_agents/agent_host_actor.hpp"
#include "cluster/base/ids.hpp"
#include "cluster/content/publish.hpp"
#include "cluster/journal/state_directory.hpp"

#include <atomic>

namespace flywheel {

namespace {
constexpr std::size_t pem_bytes_max = 64 << 10;
constexpr std::chrono::seconds goodbye_within{10};
/// Incarnations of one life of the process: enough for one a second for eleven days.
constexpr unsigned lives_bits = 20;

struct member_config : caf::actor_system_config {
  member_config() {
    cafx::add_types<caf::id_block::flywheel>(*this);
    cafx::use_sharing_scheduler(*this);
    cafx::set(*this, "scheduler.max-threads", std::size_t{2});
  }
};
/// Agents that may live here: those of agent_messages::placeable.
agent_host_options host_of_agents() {
  const auto untyped = [](const auto& handle) { return caf::actor_cast<caf::actor>(handle); };
  agent_host_options a;
  a.make["data_steward"] = [=](caf::actor_system& system, const agent_context& context) { return untyped(spawn_data_steward(system, context)); };
  a.make["architect"] = [=](caf::actor_system& system, const agent_context& context) { return untyped(spawn_architect(system, context)); };
  a.make["hpo"] = [=](caf::actor_system& system, const agent_context& context) { return untyped(spawn_hpo(system, context)); };
  a.make["evaluator"] = [=](caf::actor_system& system, const agent_context& context) { return untyped(spawn_evaluator(system, context)); };
  a.shares_files = [](const std::string& welcome) { return shares_files(welcome); };
  return a;
}
} // namespace

struct member_node::impl {
  std::optional<state_directory> directory;
  std::string name;
  member_config config;
  service_directory services;
  std::shared_ptr<std::vector<std::shared_ptr<void>>> worlds; ///< of agents; until the system has ended
  std::unique_ptr<caf::actor_system> system;
  gate_agent gate;
  agent_host_agent agents;
  task_host_agent host;
  caf::actor watchman;
};

member_node::member_node() : impl_(std::make_unique<impl>()) {}
member_node::~member_node() { stop(); }
const std::string& member_node::name() const noexcept { return impl_->name; }

result<std::unique_ptr<member_node>> member_node::start(member_options options, const time_source& time) {
  std::unique_ptr<member_node> n{new member_node};
  auto& s = *n->impl_;
  FLYWHEEL_TRY(auto directory, state_directory::own(options.state));
  s.directory.emplace(std::move(directory));
  FLYWHEEL_TRY(const auto who, use_tls(s.config, {options.files}, time.wall(), role::node));
  s.name = who.name;
  for (auto& slot : options.slots)
    slot.id.node = who.name;
  FLYWHEEL_TRY(const auto certificate, read_file(options.files.certificate, pem_bytes_max));
  FLYWHEEL_TRY(const auto authority, read_file(options.files.authority, pem_bytes_max));
  cafx::init_types<caf::id_block::flywheel>();
  s.system = std::make_unique<caf::actor_system>(s.config);

  // The directory's epoch is durable and grows with each process; each process counts its own lives behind it.
  const auto lives = std::make_shared<std::atomic<std::uint64_t>>(s.directory->epoch() << lives_bits);
  const auto next_incarnation = [lives] { return ++*lives; };
  gate_options g;
  g.credentials.certificate = certificate;
  g.credentials.authority = authority;
  g.credentials.sign = [files = options.files](std::string_view bytes) { return sign(files, bytes); };
  g.credentials.draw = os_entropy;
  g.credentials.incarnation = next_incarnation();
  auto keys = transfer::curve_keys::make();
  if (!keys)
    options.log("this node cannot fetch files of its head: " + keys.error().to_string());
  g.greeting = dispatch::to_text({1, keys ? keys->public_key() : std::string{}});
  g.services = &s.services;
  g.time = &time;
  g.denied = [log = options.log](const std::string& peer, const error& why) { log("refused " + peer + ": " + why.to_string()); };
  g.connect = dial_port;
  task_host_options h;
  h.node = who.name;
  h.slots = options.slots;
  h.pool.socket = s.directory->layout().run() / "workers.sock";
  h.pool.command = options.worker_command;
  h.keeper_command = {options.worker_command.empty() ? "/proc/self/exe" : options.worker_command.front(), "_keep"}; // the same program
  h.head_host = options.head_host;
  h.head_port = options.head_port;
  h.time = &time;
  h.incarnation = g.credentials.incarnation;
  h.greeting = g.greeting;
  if (keys)
    h.keys = std::make_shared<const transfer::curve_keys>(std::move(*keys));
  h.folder = s.directory->layout().root / "files";
  h.cache_bytes_max = options.cache_bytes_max;
  h.next_incarnation = next_incarnation;
  h.shut_down = options.shut_down;
  h.log = options.log;
  s.gate = spawn_gate(*s.system, std::move(g));
  h.gate = s.gate;
  s.host = spawn_task_host(*s.system, std::move(h));
  s.services.set(std::string{gate::cluster_service}, s.host);
  auto a = host_of_agents();
  a.gate = s.gate;
  a.time = &time;
  a.code = options.code_version;
  a.cores = std::max(1u, static_cast<unsigned>(options.slots.size()));
  a.log = options.log;
  s.worlds = a.worlds;
  s.agents = spawn_agent_host(*s.system, std::move(a));
  s.services.set(std::string{gate::agents_service}, s.agents);
  s.watchman = spawn_watchman(*s.system, {{"gate", caf::actor_cast<caf::actor>(s.gate)}, {"task host", caf::actor_cast<caf::actor>(s.host)},
                                          {"agent host", caf::actor_cast<caf::actor>(s.agents)}});
  cafx::anon_send(s.gate, gate_dial{options.head_host, options.head_port});
  return n;
}

void member_node::stop() {
  auto& s = *impl_;
  if (!s.system)
    return;
  {
    caf::scoped_actor self{*s.system};
    cafx::request(self.ptr(), s.host, goodbye_within, shut_down{}).receive([](acknowledgement&) {}, [](caf::error&) {});
    s.services.clear();
    for (const auto& a : {caf::actor_cast<caf::actor>(s.agents), caf::actor_cast<caf::actor>(s.host), caf::actor_cast<caf::actor>(s.gate), s.watchman}) {
      self->send_exit(a, caf::exit_reason::user_shutdown);
      self->wait_for(a);
    }
  }
  s.host = nullptr;
  s.agents = nullptr;
  s.gate = nullptr;
  s.watchman = nullptr;
  s.system->await_actors_before_shutdown(false);
  s.system.reset();
  s.worlds.reset();
  s.directory.reset();
}

} // namespace flywheel
