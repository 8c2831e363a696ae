#include "actors/node/node.hpp"

#include "actors/node/cluster_head_actor.hpp"
#include "actors/node/supervisor_actor.hpp"
#include "actors/protocol/agent_directory.hpp"
#include "actors/protocol/control_format.hpp"
#include "cluster/base/json.hpp"
#include "cluster/content/publish.hpp"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

CAFX_UNIQUE_NODE_ID()

namespace flywheel {
namespace {

/// No middleman is loaded here: in embedded mode no port exists.
struct node_config : caf::actor_system_config {
  node_config() {
    cafx::add_types<caf::id_block::flywheel>(*this);
    cafx::use_sharing_scheduler(*this);
    cafx::set(*this, "scheduler.max-threads", std::size_t{2});
  }
};

using nlohmann::json;

constexpr std::chrono::seconds answer_within{60};

template <class Reply> Reply unreachable_reply(const caf::error& e) {
  Reply r;
  r.problem = error{errc::unreachable, "the agent did not answer: " + cafx::render(e)};
  return r;
}

} // namespace

struct node::impl {
  std::optional<state_directory> directory;
  std::unique_ptr<journal> log;
  agent_directory agents;
  agent_context context;
  node_config config;
  std::unique_ptr<caf::actor_system> system;
  supervisor_agent supervisor;
  std::unique_ptr<cluster_head> head;

  std::mutex mutex;
  std::condition_variable committed;
  std::vector<std::function<void()>> listeners;
  std::uint64_t last = 0;
  bool stopping = false;

  template <class Reply, class Handle, class Message> Reply ask(const Handle& to, const Message& m) {
    if (!to)
      return unreachable_reply<Reply>(caf::make_error(caf::sec::runtime_error, "the node is stopping"));
    caf::scoped_actor self{*system};
    Reply reply;
    cafx::request(self.ptr(), to, answer_within, m)
        .receive([&](Reply& r) { reply = std::move(r); },
                 [&](caf::error& e) { reply = unreachable_reply<Reply>(e); });
    return reply;
  }
};

node::node() : impl_(std::make_unique<impl>()) {}
node::~node() { stop(); }

result<std::unique_ptr<node>> node::start(node_options options, const time_source& time) {
  std::unique_ptr<node> n{new node};
  auto& s = *n->impl_;
  FLYWHEEL_TRY(auto directory, state_directory::own(options.state));
  s.directory.emplace(std::move(directory));
  const auto& layout = s.directory->layout();
  for (const auto& folder : {layout.data(), layout.models(), layout.trials(), layout.sealed()}) {
    FLYWHEEL_TRY([[maybe_unused]] const auto swept, sweep_temporaries(folder));
  }
  FLYWHEEL_TRY(s.log, journal::open(layout.root, time));
  s.last = s.log->last_seq();
  s.log->listen([&s](const std::vector<event>& events) {
    std::vector<std::function<void()>> listeners;
    {
      const std::lock_guard lock{s.mutex};
      if (!events.empty())
        s.last = events.back().seq;
      listeners = s.listeners;
    }
    s.committed.notify_all();
    for (const auto& f : listeners)
      f();
  });
  const unsigned machine = std::max(1u, std::thread::hardware_concurrency());
  s.context = {layout, s.directory->epoch(), s.log.get(), &time, &s.agents, options.code_version,
               options.cores == 0 ? machine : options.cores};
  cafx::init_types<caf::id_block::flywheel>();
  agent_doors doors;
  doors.trainer = {options.worker_command, s.context.cores, {}};
  if (options.cluster) {
    FLYWHEEL_TRY(s.head, cluster_head::prepare(*options.cluster, s.config, s.context));
    s.context.cluster_slots = s.head->usable_slots();
  }
  s.system = std::make_unique<caf::actor_system>(s.config);
  if (s.head)
    doors.trainer.runner = s.head->start(*s.system, s.context, options.worker_command);
  if (s.head)
    doors.seating = [&head = *s.head](const std::string& agent, std::function<caf::actor()> start_here) { return head.seat(agent, std::move(start_here)); };
  s.supervisor = spawn_supervisor(*s.system, s.context, std::move(doors));
  caf::scoped_actor self{*s.system};
  error failed{errc::ok, {}};
  cafx::request(self.ptr(), s.supervisor, answer_within, resume_atom_v)
      .receive([](acknowledgement&) {},
               [&](caf::error& e) { failed = error{errc::internal, "the agents did not start: " + cafx::render(e)}; });
  if (failed.code != errc::ok)
    return failed;
  if (s.head) // whoever joins finds the agents at work
    FLYWHEEL_CHECK(s.head->open(layout));
  return n;
}

goal_ack node::submit(const submit_goal& m) { return impl_->ask<goal_ack>(impl_->agents.now().conductor, m); }
acknowledgement node::cancel(const cancel_goal& m) {
  return impl_->ask<acknowledgement>(impl_->agents.now().conductor, m);
}
acknowledgement node::answer(const answer_approval& m) {
  return impl_->ask<acknowledgement>(impl_->agents.now().conductor, m);
}
acknowledgement node::rollback(const rollback_model& m) {
  return impl_->ask<acknowledgement>(impl_->agents.now().deployer, m);
}
serve_report node::serve(const serve_again& m) { return impl_->ask<serve_report>(impl_->agents.now().deployer, m); }

namespace {
fault no_cluster() { return error{errc::unsupported, "this Flywheel is not the head of a cluster", {}, "start one: flywheel node --head, or flywheel up"}; }
} // namespace

gate_answer node::nodes() {
  gate_answer none;
  none.problem = no_cluster();
  if (!impl_->head)
    return none;
  auto listed = impl_->ask<gate_answer>(impl_->head->dispatcher(), list_nodes{});
  const auto seats = impl_->ask<gate_answer>(impl_->head->agents(), list_nodes{});
  auto body = control::decode(listed.body);
  const auto where = json::parse(seats.body, nullptr, false);
  if (listed.problem || !body || !where.is_object())
    return listed;
  for (auto& n : (*body)["nodes"]) {
    n["agents"] = n["head"] == true ? json::array({"conductor", "deployer", "learner", "monitor", "trainer"}) : json::array(); // these stay with the journal
    for (const auto& [agent, at] : where.items())
      if (at == (n["head"].get<bool>() ? "" : n["node"].get<std::string>()))
        n["agents"].push_back(agent);
  }
  listed.body = control::encode(*body);
  return listed;
}
gate_answer node::gangs(const ask_gangs& m) {
  gate_answer none;
  none.problem = no_cluster();
  return impl_->head ? impl_->ask<gate_answer>(impl_->head->dispatcher(), m) : none;
}
acknowledgement node::drain(const drain_node& m) {
  return impl_->head ? impl_->ask<acknowledgement>(impl_->head->dispatcher(), m) : acknowledgement{no_cluster(), {}};
}
acknowledgement node::shut_down_nodes(const shut_down& m) {
  return impl_->head ? impl_->ask<acknowledgement>(impl_->head->dispatcher(), m) : acknowledgement{no_cluster(), {}};
}
const std::string& node::cluster_address() const noexcept {
  static const std::string none;
  return impl_->head ? impl_->head->address() : none;
}
void node::open_desk(std::function<void()> stop_requested) {
  if (impl_->head)
    impl_->head->open_desk(*this, std::move(stop_requested));
}

const std::filesystem::path& node::state() const noexcept { return impl_->context.layout.root; }
journal& node::log() noexcept { return *impl_->log; }

std::uint64_t node::wait_after(std::uint64_t seq, nanoseconds wait) {
  std::unique_lock lock{impl_->mutex};
  impl_->committed.wait_for(lock, wait, [&] { return impl_->last > seq || impl_->stopping; });
  return impl_->last;
}

void node::on_commit(std::function<void()> f) {
  const std::lock_guard lock{impl_->mutex};
  impl_->listeners.push_back(std::move(f));
}

result<std::uint64_t> node::record(event_draft d) {
  d.epoch = impl_->context.epoch;
  return impl_->log->append(std::move(d));
}

status node::crash_agent(const std::string& name) {
  caf::scoped_actor self{*impl_->system};
  acknowledgement ack;
  cafx::request(self.ptr(), impl_->supervisor, answer_within, crash_atom_v, name)
      .receive([&](acknowledgement& a) { ack = std::move(a); },
               [&](caf::error& e) { ack = unreachable_reply<acknowledgement>(e); });
  if (ack.problem)
    return ack.problem.to_error();
  return success();
}

void node::stop() {
  auto& s = *impl_;
  if (!s.system)
    return;
  {
    const std::lock_guard lock{s.mutex};
    s.stopping = true;
    s.listeners.clear();
  }
  s.committed.notify_all();
  {
    caf::scoped_actor self{*s.system};
    cafx::request(self.ptr(), s.supervisor, answer_within, tick_atom_v)
        .receive([](acknowledgement&) {}, [](caf::error&) {});
  }
  s.supervisor = nullptr;
  s.agents.clear();
  if (s.head)
    s.head->stop();
  s.system->await_actors_before_shutdown(false);
  s.system.reset();
  s.log.reset();
  s.directory.reset();
}

} // namespace flywheel
