#include "actors/node/cluster_client_actor.hpp"

#include "actors/gate/access_policy.hpp"
#include "actors/gate/gate_actor.hpp"
#include "actors/gate/tls_transport_actor.hpp"
#include "cluster/base/ids.hpp"
#include "cluster/content/publish.hpp"

#include <condition_variable>
#include <mutex>

namespace flywheel {

namespace {

constexpr std::size_t pem_bytes_max = 64 << 10;

struct client_config : caf::actor_system_config {
  client_config() {
    cafx::add_types<caf::id_block::flywheel>(*this);
    cafx::use_sharing_scheduler(*this);
    cafx::set(*this, "scheduler.max-threads", std::size_t{1});
  }
};

/// What became of the connection.
struct arrival {
  std::mutex mutex;
  std::condition_variable changed;
  std::string head;
  fault problem;
};

gate_service::behavior_type listen(gate_service::pointer, std::shared_ptr<arrival> a) {
  return {
      [](const gate_call&) {
        gate_answer no;
        no.problem = error{errc::unsupported, "this is no node"};
        return no;
      },
      [](const gate_note&) {},
      [a](const peer_state& m) {
        const std::lock_guard lock{a->mutex};
        a->head = m.connected ? m.peer : std::string{};
        a->problem = m.problem;
        a->changed.notify_all();
        return gate_answer{};
      },
  };
}

} // namespace

struct cluster_client::impl {
  client_config config;
  service_directory services;
  std::shared_ptr<arrival> state = std::make_shared<arrival>();
  std::unique_ptr<caf::actor_system> system;
  gate_agent gate;
  gate_service ears;
};

cluster_client::cluster_client() : impl_(std::make_unique<impl>()) {}

result<std::unique_ptr<cluster_client>> cluster_client::connect(const std::string& address, const tls_files& files, const time_source& time,
                                                                nanoseconds within) {
  FLYWHEEL_TRY(const auto to, parse_address(address));
  std::unique_ptr<cluster_client> c{new cluster_client};
  auto& s = *c->impl_;
  FLYWHEEL_TRY([[maybe_unused]] const auto who, use_tls(s.config, {files}, time.wall()));
  gate_options g;
  FLYWHEEL_TRY(g.credentials.certificate, read_file(files.certificate, pem_bytes_max));
  FLYWHEEL_TRY(g.credentials.authority, read_file(files.authority, pem_bytes_max));
  g.credentials.sign = [files](std::string_view bytes) { return sign(files, bytes); };
  g.credentials.draw = os_entropy;
  g.credentials.incarnation = static_cast<std::uint64_t>(time.wall().ns);
  g.services = &s.services;
  g.time = &time;
  g.connect = dial_port;
  cafx::init_types<caf::id_block::flywheel>();
  s.system = std::make_unique<caf::actor_system>(s.config);
  s.ears = s.system->spawn(listen, s.state);
  s.services.set(std::string{gate::cluster_service}, s.ears);
  s.gate = spawn_gate(*s.system, std::move(g));
  cafx::anon_send(s.gate, gate_dial{to.first, to.second});
  std::unique_lock lock{s.state->mutex};
  const auto decided = [&] { return !s.state->head.empty() || s.state->problem; };
  if (!s.state->changed.wait_for(lock, within, decided))
    return error{errc::unreachable, "no answer from the cluster's head", address, "is that the head's address? flywheel nodes on the head's machine tells it"};
  if (s.state->head.empty())
    return s.state->problem.to_error();
  return c;
}

result<std::string> cluster_client::ask(const std::string& request, nanoseconds wait) {
  auto& s = *impl_;
  std::string head;
  {
    const std::lock_guard lock{s.state->mutex};
    head = s.state->head;
  }
  if (head.empty())
    return error{errc::unreachable, "the connection to the head is lost", {}, "try again"};
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(wait);
  caf::scoped_actor self{*s.system};
  result<std::string> out = error{errc::internal, "no answer"};
  cafx::request(self.ptr(), s.gate, ms + std::chrono::seconds{5},
                gate_ask{head, std::string{gate::control_service}, request, static_cast<std::uint64_t>(ms.count())})
      .receive(
          [&](gate_answer& a) {
            if (a.problem)
              out = a.problem.to_error();
            else
              out = std::move(a.body);
          },
          [&](caf::error& e) { out = error{errc::timed_out, "no answer: " + cafx::render(e)}; });
  return out;
}

cluster_client::~cluster_client() {
  auto& s = *impl_;
  if (!s.system)
    return;
  s.services.clear();
  if (s.gate) {
    caf::scoped_actor self{*s.system};
    for (const auto& a : {caf::actor_cast<caf::actor>(s.gate), caf::actor_cast<caf::actor>(s.ears)})
      self->send_exit(a, caf::exit_reason::user_shutdown);
  }
  s.gate = nullptr;
  s.ears = nullptr;
  s.system->await_actors_before_shutdown(false);
}

} // namespace flywheel
