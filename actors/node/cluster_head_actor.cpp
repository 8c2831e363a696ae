#include "actors/node/cluster_head_actor.hpp"

#include "actors/gate/access_policy.hpp"
#include "actors/gate/gate_actor.hpp"
#include "actors/gate/tls_transport_actor.hpp"
#include "actors/gate/watchman_actor.hpp"
#include "actors/node/control_desk.hpp"
#include "actors/protocol/control_format.hpp"
#include "actors/protocol/own_thread.hpp"
#include "actors/remote_agents/agent_desk_actor.hpp"
#include "actors/remote_agents/agent_proxy_actor.hpp"
#include "cluster/base/ids.hpp"
#include "cluster/base/json.hpp"
#include "cluster/content/publish.hpp"

#include <cstdio>
#include <unistd.h>

namespace flywheel {
namespace {

using nlohmann::json;

constexpr std::size_t pem_bytes_max = 64 << 10;
/// A person's `wait` comes back at the latest then, and asks again.
constexpr std::chrono::seconds wait_max{60};

/// So many refusals a minute are written down; whoever makes more only makes a number grow.
class refusal_rate {
public:
  bool record(mono_time now) {
    if (now - minute_ >= std::chrono::minutes{1}) {
      minute_ = now;
      count_ = 0;
    }
    if (++count_ <= 30)
      return true;
    ++missed_;
    return false;
  }
  std::uint64_t take_missed() { return std::exchange(missed_, 0); }

private:
  mono_time minute_;
  std::uint64_t count_ = 0, missed_ = 0;
};

constexpr int jobs_max = 64; ///< of the desk at once: each has a thread

gate_answer answer(node& owner, const control_desk& rules, const gate_call& m) {
  gate_answer out;
  const auto request = control::decode(m.body);
  const control_caller from{false, m.peer.substr(0, m.peer.find('#')), role_from_name(m.role).value_or(role::viewer)};
  json reply;
  if (!request) {
    reply = control::failure(request.error());
  } else if (request->value("op", json{}) == "wait" && may_do(from.as, "wait")) {
    const auto number = [&](const char* key) { return request->contains(key) && (*request)[key].is_number_unsigned() ? (*request)[key].get<std::uint64_t>() : 0; };
    const std::chrono::milliseconds asked{static_cast<std::int64_t>(std::min<std::uint64_t>(number("timeout_ms"), 60'000))};
    reply = {{"ok", true}, {"seq", owner.wait_after(number("after"), std::min<nanoseconds>(asked, wait_max))}};
  } else {
    reply = rules.carry_out(*request, from);
  }
  out.body = control::encode(reply);
  return out;
}

/// Each request on a thread of its own: the node's agents may take long, and a `wait` waits.
gate_service::behavior_type desk(gate_service::pointer self, node* owner, const control_desk& rules) {
  const auto open = std::make_shared<int>(0);
  return {
      [=](const gate_call& m) -> caf::result<gate_answer> {
        if (*open >= jobs_max) {
          gate_answer busy;
          busy.problem = error{errc::no_capacity, std::to_string(*open) + " requests of people are being answered", {}, "try again in a moment"};
          return busy;
        }
        ++*open;
        auto promise = self->make_response_promise<gate_answer>();
        auto job = spawn_on_own_thread(self->home_system(), [=](caf::event_based_actor* me) {
          return caf::behavior{[=](tick_atom) {
            me->quit();
            return answer(*owner, rules, m);
          }};
        });
        cafx::request(self, job, 2 * wait_max, tick_atom_v)
            .then(
                [promise, open](gate_answer& a) mutable {
                  --*open;
                  promise.deliver(std::move(a));
                },
                [promise, open](const caf::error& e) mutable {
                    --*open;
                    gate_answer failed;
                    failed.problem = error{errc::internal, "the desk did not answer: " + cafx::render(e)};
                    promise.deliver(std::move(failed));
                  });
        return promise;
      },
      [](const gate_note&) {},
      [](const peer_state&) { return gate_answer{}; },
  };
}

} // namespace

result<std::unique_ptr<cluster_head>> cluster_head::prepare(const cluster_options& options, caf::actor_system_config& config, const agent_context& context) {
  std::unique_ptr<cluster_head> h{new cluster_head};
  FLYWHEEL_TRY(const auto who, use_tls(config, {options.files}, context.time->wall(), role::node));
  h->options_ = options;
  h->name_ = who.name;
  for (auto s : options.slots) {
    s.id.node = who.name;
    h->slots_.push_back(std::move(s));
  }
  h->token_ = make_id("t", context.time->wall(), os_entropy()) + std::to_string(os_entropy());
  FLYWHEEL_CHECK(publish_file(context.layout.run() / "cluster.token", h->token_));
  transfer::server_options files;
  files.address = options.address;
  files.port = options.data_port;
  auto server = transfer::file_server::start(files, h->grants_);
  if (server)
    h->files_ = std::move(*server);
  else if (server.error().code != errc::unsupported)
    return std::move(server).error().in("the port for files");
  else
    std::fprintf(stderr, "flywheel: only nodes that share %s get work: %s\n", context.layout.root.c_str(), server.error().to_string().c_str());
  return h;
}

std::function<result<std::unique_ptr<task_runner>>(worker_pool_events)> cluster_head::start(caf::actor_system& system, const agent_context& context,
                                                                                             const std::vector<std::string>& worker_command) {
  system_ = &system;
  gate_options g;
  const auto certificate = read_file(options_.files.certificate, pem_bytes_max), authority = read_file(options_.files.authority, pem_bytes_max);
  g.credentials.certificate = certificate ? *certificate : std::string{};
  g.credentials.authority = authority ? *authority : std::string{};
  g.credentials.sign = [files = options_.files](std::string_view bytes) { return sign(files, bytes); };
  g.credentials.draw = os_entropy;
  g.credentials.incarnation = context.epoch;
  g.services = &services_;
  g.time = context.time;
  g.denied = [&context, rate = std::make_shared<refusal_rate>()](const std::string& who, const error& why) {
    if (!rate->record(context.time->mono()))
      return;
    const scribe log{context, "gate"};
    auto draft = log.draft(event_kind::note, {}, {}, who, "refused " + who + " at the cluster's port: " + why.what,
                           {{"code", std::string{name_of(why.code)}}, {"what", why.what}, {"where", why.where}, {"not_recorded_before", rate->take_missed()}});
    context.log->append_async({std::move(draft)}, [](const result<std::uint64_t>&) {}); // the gate does not wait for a disk
  };
  gate_ = spawn_gate(system, std::move(g));
  dispatcher_options d;
  d.head = name_;
  d.slots = slots_;
  d.pool.socket = context.layout.run() / "workers.sock";
  d.pool.command = worker_command;
  d.keeper_command = {worker_command.empty() ? "/proc/self/exe" : worker_command.front(), "_keep"}; // the same program
  d.address = reachable_address();
  d.gate = gate_;
  d.channel = channel_;
  d.usable_slots = usable_slots_;
  d.shared_token = token_;
  agents_ = spawn_agent_desk(system, {gate_, &context});
  services_.set(std::string{gate::agents_service}, agents_);
  d.node_gone = [agents = agents_](const std::string& node, const std::string& reason) {
    peer_state gone;
    gone.peer = node;
    gone.problem = error{errc::unreachable, reason, node};
    cafx::anon_send(agents, std::move(gone));
  };
  d.node_drains = [agents = agents_](const std::string& node) { cafx::anon_send(agents, drain_node{node, {}}); };
  if (files_) {
    d.grants = grants_;
    d.data_port = files_->port();
    d.data_key = files_->public_key();
  }
  usable_slots_->store(std::max(1u, static_cast<unsigned>(slots_.size())));
  dispatcher_ = spawn_dispatcher(system, context, std::move(d));
  services_.set(std::string{gate::cluster_service}, dispatcher_);
  watchman_ = spawn_watchman(system, {{"gate", caf::actor_cast<caf::actor>(gate_)}, {"dispatcher", caf::actor_cast<caf::actor>(dispatcher_)},
                                        {"agent desk", caf::actor_cast<caf::actor>(agents_)}});
  return [dispatcher = dispatcher_, channel = channel_](worker_pool_events events) -> result<std::unique_ptr<task_runner>> {
    return make_cluster_runner(dispatcher, channel, std::move(events));
  };
}

caf::actor cluster_head::seat(const std::string& agent, std::function<caf::actor()> start_here) {
  return spawn_agent_seat(*system_, {agent, agents_, std::move(start_here)});
}

std::string cluster_head::reachable_address() const {
  char name[256] = {};
  return !options_.address.empty() ? options_.address : ::gethostname(name, sizeof name - 1) == 0 ? name : "localhost";
}

status cluster_head::open(const state_layout& layout) {
  FLYWHEEL_TRY(const auto port, open_port(gate_, options_.address, options_.port));
  const auto host = reachable_address();
  address_ = (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + std::to_string(port);
  return publish_file(layout.run() / "cluster.json", json{{"address", address_}, {"head", name_}, {"pid", ::getpid()}}.dump() + "\n");
}

void cluster_head::open_desk(node& owner, std::function<void()> stop_requested) {
  desk_ = system_->spawn(desk, &owner, control_desk{owner, std::move(stop_requested)});
  services_.set(std::string{gate::control_service}, desk_);
}

void cluster_head::stop() {
  services_.clear();
  files_.reset();
  for (const auto& a : {caf::actor_cast<caf::actor>(gate_), caf::actor_cast<caf::actor>(dispatcher_), caf::actor_cast<caf::actor>(agents_), caf::actor_cast<caf::actor>(desk_), watchman_})
    if (a) {
      caf::scoped_actor self{*system_};
      self->send_exit(a, caf::exit_reason::user_shutdown);
      self->wait_for(a);
    }
  gate_ = nullptr;
  dispatcher_ = nullptr;
  agents_ = nullptr;
  desk_ = nullptr;
  watchman_ = nullptr;
}

} // namespace flywheel
