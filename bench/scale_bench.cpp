// What the head pays for each node, and what an agent costs. Parts that need no network; bench/scale.sh adds real nodes.
//   bench_scale NODES... prints one JSON object
// Times are of this process's CPU, since others may use the machine.

#include "actors/dispatcher/dispatch_table.hpp"
#include "actors/gate/gate_format.hpp"
#include "actors/protocol/agents.hpp"
#include "actors/protocol/control_format.hpp"
#include "cluster/base/clock.hpp"
#include "cluster/base/json.hpp"
#include "cluster/security/certificates.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <unistd.h>

using namespace flywheel;
using nlohmann::json;
using namespace std::chrono_literals;

namespace {

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "bench_scale: %s\n", what.c_str());
  std::exit(1);
}

double cpu_ns() { return static_cast<double>(std::clock()) * (1e9 / CLOCKS_PER_SEC); }

std::string name_of_node(std::size_t i) { return "node" + std::to_string(i); }

/// A head that knows `nodes`, each with eight slots.
dispatch_table head_of(std::size_t nodes, mono_time now) {
  dispatch_table table{{}, "head", 0, 0};
  for (std::size_t i = 0; i < nodes; ++i) {
    const auto name = name_of_node(i);
    if (!table.join({name, 1, 1}, now))
      fail(name + " may not join");
    std::vector<slot> slots;
    for (int s = 0; s < 8; ++s)
      slots.push_back({{name, "cpu" + std::to_string(s)}, slot_kind::cpu, "8 cores", 32ull << 30, s / 4});
    if (!table.sync(name, 1, slots, {}, now))
      fail(name + " may not offer slots");
  }
  (void)table.take_actions();
  return table;
}

/// One beat of each node and one look at the table, again and again: nanoseconds a beat, in the table alone and with its bytes.
json beats(std::size_t nodes) {
  manual_clock clock;
  auto table = head_of(nodes, clock.mono());
  const std::size_t rounds = std::max<std::size_t>(4, 400'000 / nodes);
  const auto measure = [&](bool with_bytes) {
    const double begin = cpu_ns();
    for (std::size_t r = 0; r < rounds; ++r) {
      clock.advance(500ms);
      for (std::size_t i = 0; i < nodes; ++i) {
        const auto name = name_of_node(i);
        if (with_bytes) {
          gate::envelope e;
          e.kind = gate::envelope_kind::call;
          e.incarnation = 1;
          e.sequence = e.call = r + 1;
          e.wait_ms = 1000;
          e.service = "cluster";
          e.body = control::encode({{"op", "beat"}, {"n", r}});
          const auto arrived = gate::decode(gate::encode(e)); // also what the node pays: the head decodes one and encodes the other
          const auto m = arrived ? control::decode(arrived->body) : result<json>{arrived.error()};
          if (!m || m->value("op", "") != "beat")
            fail("a beat did not arrive");
        }
        if (!table.heartbeat(name, 1, clock.mono()))
          fail(name + " is refused");
      }
      table.tick(clock.mono());
      if (!table.take_actions().empty())
        fail("nobody was silent");
    }
    return (cpu_ns() - begin) / static_cast<double>(rounds * nodes);
  };
  const double plain = measure(false), bytes = measure(true);
  return {{"nodes", nodes}, {"ns", plain}, {"ns_with_bytes", bytes}};
}

/// As many trials as slots: nanoseconds until each has its lease.
json placement(std::size_t nodes) {
  manual_clock clock;
  auto table = head_of(nodes, clock.mono());
  const double begin = cpu_ns();
  for (std::size_t i = 0; i < nodes; ++i) {
    worker_task t;
    t.task = {"trial-" + std::to_string(i), 1, "trial", "{}"};
    t.time_max = 1h;
    if (!table.submit("goal", std::move(t), clock.mono()))
      fail("a trial is refused");
  }
  const double spent = cpu_ns() - begin;
  const auto actions = table.take_actions();
  if (static_cast<std::size_t>(std::count_if(actions.begin(), actions.end(), [](const auto& a) { return a.is == dispatch_action::what::start; })) != nodes)
    fail("not every trial was placed");
  return {{"nodes", nodes}, {"trials", nodes}, {"ns", spent / static_cast<double>(nodes)}};
}

double certificates_ms() {
  char folder[] = "/tmp/fw-scale-XXXXXX";
  const std::filesystem::path at = ::mkdtemp(folder);
  const auto now = system_clock().wall();
  if (!certificate_authority::create(at / "ca", "scale", now))
    fail("no authority");
  const auto ca = certificate_authority::open(at / "ca");
  if (!ca)
    fail(ca.error().to_string());
  constexpr int n = 64;
  const auto begin = system_clock().mono();
  for (int i = 0; i < n; ++i)
    if (!ca->issue({name_of_node(static_cast<std::size_t>(i)), role::node, {"127.0.0.1"}, 1}, at / std::to_string(i), now))
      fail("no certificate");
  const auto spent = system_clock().mono() - begin;
  std::filesystem::remove_all(at);
  return static_cast<double>(spent.count()) * 1e-6 / n;
}

// ---- agents --------------------------------------------------------------------------------------------------------
struct agent_config : caf::actor_system_config {
  agent_config() {
    cafx::add_types<caf::id_block::flywheel>(*this);
    cafx::use_sharing_scheduler(*this);
    cafx::set(*this, "scheduler.max-threads", std::size_t{1});
  }
};

struct idle_state {
  static inline const char* name = "idle";
  std::uint64_t asked = 0;
};
/// An agent as ours are: typed, with a state of its own.
learner_agent::behavior_type idle(learner_agent::stateful_pointer<idle_state> self) {
  return {[self](const incident_found&) { ++self->state.asked; }};
}

std::size_t resident_bytes() {
  std::ifstream in{"/proc/self/statm"};
  std::size_t all = 0, resident = 0;
  in >> all >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

double idle_agent_bytes(caf::actor_system& system) {
  constexpr std::size_t n = 20'000;
  std::vector<learner_agent> agents;
  agents.reserve(n);
  const auto before = resident_bytes();
  for (std::size_t i = 0; i < n; ++i)
    agents.push_back(system.spawn(idle));
  return static_cast<double>(resident_bytes() - before) / n;
}

using asked_agent = caf::typed_actor<cafx::sig<acknowledgement, drain_node>>;
asked_agent::behavior_type answers_typed(asked_agent::stateful_pointer<idle_state> self) {
  return {[self](const drain_node&) {
    ++self->state.asked;
    return acknowledgement{};
  }};
}
caf::behavior answers_raw(caf::event_based_actor*) {
  return {[](const drain_node&) { return acknowledgement{}; }};
}

constexpr int asked_max = 200'000;
/// Asks again with each answer; by our spelling, or by CAF's own.
template <bool ours, class Handle> caf::behavior asker(caf::event_based_actor* self, Handle to) {
  const auto ask = std::make_shared<std::function<void(int)>>();
  *ask = [self, to, next = std::weak_ptr{ask}](int left) {
    if (left == 0)
      return self->quit();
    const auto then = [self, again = next.lock(), left](const acknowledgement&) { (*again)(left - 1); };
    const auto lost = [](caf::error&) { fail("no answer"); };
    if constexpr (ours)
      cafx::request(self, to, 10s, drain_node{"node1", "maria"}).then(then, lost);
    else
      self->request(to, 10s, drain_node{"node1", "maria"}).then(then, lost);
  };
  self->attach_functor([ask] {}); // lives as long as the asker
  (*ask)(asked_max);
  return {[](tick_atom) {}};
}

template <bool ours, class Handle> double message_ns(caf::actor_system& system, const Handle& to) {
  const double begin = cpu_ns();
  auto who = system.spawn(asker<ours, Handle>, to);
  caf::scoped_actor self{system};
  self->wait_for(who);
  return (cpu_ns() - begin) / asked_max;
}

json agents() {
  cafx::init_types<caf::id_block::flywheel>();
  agent_config config;
  caf::actor_system system{config};
  json out{{"idle_agent_bytes", idle_agent_bytes(system)}};
  const auto typed = system.spawn(answers_typed);
  const auto raw = system.spawn(answers_raw);
  (void)message_ns<true>(system, typed); // warm
  json ours = json::array(), caf_own = json::array();
  for (int pair = 0; pair < 5; ++pair) {
    ours.push_back(message_ns<true>(system, typed));
    caf_own.push_back(message_ns<false>(system, raw));
  }
  out["message_ns"] = ours;
  out["raw_message_ns"] = caf_own;
  caf::scoped_actor self{system};
  self->send_exit(typed, caf::exit_reason::user_shutdown);
  self->send_exit(raw, caf::exit_reason::user_shutdown);
  return out;
}

} // namespace

int main() {
  json out{{"beats", json::array()}, {"placement", json::array()}, {"certificate_ms", certificates_ms()}};
  for (int pair = 0; pair < 5; ++pair)
    for (const std::size_t nodes : {10, 100, 1000}) {
      out["beats"].push_back(beats(nodes));
      out["placement"].push_back(placement(nodes));
    }
  out["agents"] = agents();
  std::printf("%s\n", out.dump().c_str());
  std::fflush(stdout);
  ::_exit(0); // thousands of idle agents end with the process
}
