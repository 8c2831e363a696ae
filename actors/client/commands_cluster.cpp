// flywheel node, up, nodes, drain, down: many machines.

#include "actors/client/background_process.hpp"
#include "actors/client/cluster_certificates.hpp"
#include "actors/client/commands.hpp"
#include "actors/client/control_client.hpp"
#include "actors/client/control_route.hpp"
#include "actors/client/machine_slots.hpp"
#include "actors/client/stop_signals.hpp"
#include "actors/gate/tls_transport_actor.hpp"
#include "actors/node/member_node_actor.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/content/publish.hpp"
#include "cluster/journal/state_directory.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <iostream>

namespace flywheel {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using namespace std::chrono_literals;

constexpr unsigned local_nodes_max = 64;

std::vector<slot> wanted_slots(const command_context& c) {
  if (c.line.given("slots") && c.line.integer("slots") == 0)
    return {};
  return own_slots(static_cast<unsigned>(std::min<std::uint64_t>(c.line.given("slots") ? c.line.integer("slots") : 0, 4096)));
}

/// An authority, nodes and an administrator for a cluster of this machine; what is there and valid is kept.
status make_local_certificates(const fs::path& folder, const std::vector<std::string>& nodes) {
  const auto now = system_clock().wall();
  FLYWHEEL_CHECK(ensure_authority(folder, now));
  for (const auto& n : nodes)
    FLYWHEEL_CHECK(ensure_certificate(folder, n, role::node, {"127.0.0.1", "localhost"}, now));
  return ensure_certificate(folder, admin_name(user_name()), role::admin, {}, now);
}

result<json> cluster_file(const fs::path& state) {
  FLYWHEEL_TRY(const auto text, read_file(state_layout{state}.run() / "cluster.json", 4096));
  auto j = json::parse(text, nullptr, false);
  if (!j.is_object() || !j.contains("address") || !j["address"].is_string())
    return error{errc::invalid_format, "no address in it", (state_layout{state}.run() / "cluster.json").string()};
  return j;
}

void print_nodes(const command_context& c, const json& reply) {
  auto rows = reply.value("nodes", json::array());
  for (auto& r : rows) {
    r["role"] = r.value("head", false) ? "head" : "node";
    if (r.value("draining", false) && r.value("state", "") == "alive")
      r["state"] = "draining";
    r["use"] = std::to_string(r.value("busy", 0)) + "/" + std::to_string(r.value("slots", 0));
    std::string agents;
    for (const auto& a : r.value("agents", json::array()))
      agents += (agents.empty() ? "" : " ") + a.get<std::string>();
    r["who"] = agents;
  }
  auto o = print_options_for_stdout(c.style, !c.colour);
  o.name_key = "node";
  print_records(std::cout, {{"node", "node"}, {"role", "role"}, {"state", "state", false, true}, {"slots in use", "use", true}, {"agents", "who"}, {"epoch", "epoch", true}, {"reason", "reason"}}, rows, o);
}

} // namespace

result<int> work_for_head(const command_context& c, const std::string& address, const fs::path& certs, std::vector<slot> slots, std::optional<std::uint64_t> cache_bytes_max) {
  FLYWHEEL_TRY(const auto to, parse_address(address));
  FLYWHEEL_TRY(const auto files, tls_files_in(certs));
  stop_signals stop;
  const int ended = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (ended < 0)
    return error_from_errno(errno, "eventfd");
  member_options o;
  o.state = c.state;
  o.files = files;
  o.head_host = to.first;
  o.head_port = to.second;
  o.slots = std::move(slots);
  o.worker_command = own_program({"_worker"});
  o.code_version = "flywheel " FLYWHEEL_VERSION;
  o.cache_bytes_max = cache_bytes_max.value_or(o.cache_bytes_max);
  o.shut_down = [ended](const std::string& reason) {
    std::cerr << "ending: " << reason << std::endl;
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto n = ::write(ended, &one, sizeof one);
  };
  o.log = [quiet = c.line.quiet()](const std::string& sentence) {
    if (!quiet)
      std::cerr << to_iso8601(system_clock().wall()) << " " << sentence << std::endl;
  };
  auto n = member_node::start(std::move(o), system_clock());
  if (!n) {
    ::close(ended);
    return std::move(n).error();
  }
  if (!c.line.quiet())
    std::cerr << "node " << (*n)->name() << " dials " << address << "; Ctrl-C stops" << std::endl;
  pollfd wait[] = {{stop.fd(), POLLIN, 0}, {ended, POLLIN, 0}};
  while (::poll(wait, 2, -1) < 0 && errno == EINTR && !stop.requested()) {
  }
  (*n)->stop();
  ::close(ended);
  return 0;
}

result<int> run_node(const command_context& c) {
  if (c.line.flag("head") == c.line.given("join"))
    return error{errc::invalid_argument, "a node is the head, or joins one", {}, "flywheel node --head, or flywheel node --join HOST:PORT"};
  if (c.line.given("join")) {
    if (!c.line.given("certs"))
      return error{errc::invalid_argument, "a node needs its certificate", {}, "--certs DIR, as flywheel certs issue NAME --role node made it"};
    std::optional<std::uint64_t> cache;
    if (c.line.given("cache")) {
      FLYWHEEL_TRY(cache, parse_bytes(c.line.text("cache")));
    }
    return work_for_head(c, c.line.text("join"), c.line.text("certs"), wanted_slots(c), cache);
  }
  if (!c.line.given("certs"))
    return error{errc::invalid_argument, "the head needs a node's certificate", {}, "--certs DIR, as flywheel certs issue NAME --role node made it"};
  cluster_options o;
  FLYWHEEL_TRY(o.files, tls_files_in(c.line.text("certs")));
  FLYWHEEL_TRY(const auto listen, parse_address(c.line.text("listen")));
  o.address = listen.first == "*" ? std::string{} : listen.first;
  o.port = listen.second;
  if (c.line.given("data-port")) {
    const auto port = c.line.integer("data-port");
    if (port > 65'535)
      return error{errc::invalid_argument, "--data-port takes a number up to 65535", {}, "0 for any free port"};
    o.data_port = static_cast<std::uint16_t>(port);
  }
  o.slots = wanted_slots(c);
  return own_state(c, std::move(o));
}

result<int> start_local_cluster(const command_context& c) {
  const auto count = c.line.integer("local");
  if (count < 1 || count > local_nodes_max)
    return error{errc::invalid_argument, "--local takes 1 to " + std::to_string(local_nodes_max) + " nodes", {}, "flywheel up --local 3"};
  if (const int pid = owner_pid(c.state); pid != 0)
    return error{errc::state_locked, "process " + std::to_string(pid) + " owns " + c.state.string() + " already", {}, "flywheel nodes shows it, flywheel down ends it"};
  if (auto made = state_directory::own(c.state); !made) // made as it must be, then left to the head
    return std::move(made).error();
  std::vector<std::string> names{"head"};
  for (std::uint64_t i = 1; i < count; ++i)
    names.push_back("node" + std::to_string(i));
  const auto certs = c.state / "certs";
  FLYWHEEL_CHECK(make_local_certificates(certs, names));
  const auto machine = own_slots(0);
  const auto slots = std::to_string(c.line.given("slots") ? c.line.integer("slots") : std::max<std::size_t>(1, machine.size() / count));
  const auto logs = state_layout{c.state}.log();

  const auto head_log = logs / "head.log";
  FLYWHEEL_TRY(const auto head, start_background(own_program({"node", "--head", "--listen", "127.0.0.1:0", "--certs", (certs / "head").string(), "--slots", slots,
                                                              "--state", c.state.string()}),
                                                 head_log));
  FLYWHEEL_CHECK(wait_until_ready(head, head_log, [&] {
    auto client = control_client::connect(c.state);
    return client && client->ask({{"op", "ping"}}, 2s) && cluster_file(c.state);
  }));
  FLYWHEEL_TRY(const auto cluster, cluster_file(c.state));
  const auto address = cluster.value("address", "");
  std::vector<std::pair<std::string, int>> started;
  for (std::size_t i = 1; i < names.size(); ++i) {
    FLYWHEEL_TRY(const auto pid, start_background(own_program({"node", "--join", address, "--certs", (certs / names[i]).string(), "--slots", slots, "--state",
                                                               (c.state / "nodes" / names[i]).string()}),
                                                  logs / (names[i] + ".log")));
    started.emplace_back(names[i], pid);
  }
  FLYWHEEL_TRY(auto client, control_client::connect(c.state));
  json reply;
  for (const auto& [name, pid] : started)
    FLYWHEEL_CHECK(wait_until_ready(pid, logs / (name + ".log"), [&] {
      auto answer = client.ask({{"op", "nodes"}}, 5s);
      if (!answer)
        return false;
      reply = *answer;
      for (const auto& n : reply["nodes"])
        if (n.value("node", "") == name && n.value("state", "") == "alive" && n.value("slots", 0) > 0)
          return true;
      return false;
    }));
  FLYWHEEL_TRY(reply, client.ask({{"op", "nodes"}}));
  print_nodes(c, reply);
  if (c.style == output_style::table && !c.line.quiet())
    std::cout << "\nthe head listens at " << address << "; to let it work:  flywheel submit GOAL\n"
              << "from elsewhere:  flywheel submit GOAL --cluster " << address << " --certs " << (certs / admin_name(user_name())).string() << "\n"
              << "to end it:  flywheel down\n";
  return 0;
}

result<int> list_nodes_of(const command_context& c) {
  FLYWHEEL_TRY(const auto route, open_route(c));
  FLYWHEEL_TRY(const auto reply, route->ask({{"op", "nodes"}}));
  print_nodes(c, reply);
  if (c.style == output_style::table && c.line.verbose())
    for (const auto& w : reply.value("waiting", json::array()))
      std::cout << w.value("task", "") << " waits: " << w.value("why", "") << "\n";
  return 0;
}

result<int> drain_one(const command_context& c) {
  FLYWHEEL_TRY(const auto route, open_route(c));
  FLYWHEEL_TRY(const auto reply, route->ask({{"op", "drain"}, {"node", c.line.argument("NODE")}, {"user", user_name()}}));
  std::cout << reply.value("text", "") << std::endl;
  return 0;
}

result<int> end_cluster(const command_context& c) {
  const bool here = !c.line.given("cluster");
  const int pid = here ? owner_pid(c.state) : 0;
  FLYWHEEL_TRY(const auto route, open_route(c));
  FLYWHEEL_TRY(const auto reply, route->ask({{"op", "down"}, {"user", user_name()}}));
  if (here && pid != 0) { // it is over when it no longer owns the state, or is gone altogether
    const auto over = wait_until_ready(pid, state_layout{c.state}.log() / "head.log", [&] { return owner_pid(c.state) == 0; });
    if (!over && over.error().code != errc::interrupted)
      return over.error();
  }
  std::cout << "the cluster is down (head: process " << reply.value("pid", 0) << ")" << std::endl;
  return 0;
}

} // namespace flywheel
