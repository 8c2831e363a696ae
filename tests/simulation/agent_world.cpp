#include "tests/simulation/agent_world.hpp"

#include "actors/architect/architect_actor.hpp"
#include "actors/data_steward/data_steward_actor.hpp"
#include "actors/dispatcher/dispatch_format.hpp"
#include "actors/gate/access_policy.hpp"
#include "actors/gate/gate_actor.hpp"
#include "actors/hpo/hpo_actor.hpp"
#include "actors/protocol/approvals.hpp"
#include "actors/protocol/own_thread.hpp"
#include "actors/remote_agents/agent_desk_actor.hpp"
#include "actors/remote_agents/agent_host_actor.hpp"
#include "actors/remote_agents/agent_proxy_actor.hpp"
#include "cluster/base/json.hpp"
#include "cluster/chaos/promise_evidence_store.hpp"
#include "cluster/content/publish.hpp"
#include "cluster/goal/goal_parser.hpp"
#include "cluster/journal/journal.hpp"
#include "cluster/security/certificates.hpp"
#include "tests/simulation/simulated_network.hpp"
#include "tests/simulation/simulated_serving.hpp"
#include "tests/simulation/simulated_workers.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <set>

extern "C" void omp_set_num_threads(int) __attribute__((weak)); // of libgomp, which XGBoost brings

namespace flywheel::simulation {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds silence_max{3};       ///< CAF closes a connection that says nothing for so long
constexpr std::uint64_t turns_max = 3'000'000;

class agent_world {
public:
  agent_world(std::uint64_t seed, const history_rules& r, fs::path folder, fs::path certificates)
      : rules_(r), seed_(seed), stage_(seed), shop_(stage_, {r.seeded == flaw::workers_outlive_lease, r.seeded == flaw::workers_outlive_lease}), market_(stage_), network_(stage_),
        root_(std::move(folder)), certificates_(std::move(certificates)) {
    disk_.lies = r.seeded == flaw::disk_lies;
    let_others_run = [](const std::function<bool()>& ready) { fiber::wait(ready); };
    write_data();
    links_.resize(static_cast<std::size_t>(r.members));
    incarnations_.resize(static_cast<std::size_t>(r.members), 0);
    members_.resize(static_cast<std::size_t>(r.members));
  }

  history run() {
    start_head();
    for (int i = 0; i < rules_.members; ++i)
      start_member(i);
    for (int g = 0; g < rules_.goals; ++g)
      stage_.after(stage_.between(milliseconds{100}, seconds{12}), [this, g] { submit("goal-" + std::to_string(g)); });
    for (int f = 0; f < rules_.faults; ++f)
      stage_.after(stage_.between(seconds{1}, seconds{32}), [this] { break_something(); });
    boss_looks();
    for (int g = 0; g < rules_.goals; ++g)
      if (stage_.chance(6))
        stage_.after(stage_.between(seconds{3}, seconds{25}), [this, g] { change_mind("goal-" + std::to_string(g)); });
    if (stage_.chance(4))
      stage_.after(stage_.between(seconds{2}, seconds{25}), [this] { drain("n" + std::to_string(stage_.random.below(static_cast<std::uint64_t>(rules_.members)))); });
    rough_until_ = stage_.now + seconds{34};
    const auto calm = stage_.now + seconds{40}, late = stage_.now + seconds{900};
    while (found_.empty() && stage_.now < late && !(stage_.now > calm && all_over()))
      step();
    const auto quiet = stage_.now + seconds{15};
    while (found_.empty() && stage_.now < quiet)
      step();
    if (found_.empty())
      judge();
    h_.found = found_;
    h_.events = disk_.events.size();
    h_.virtual_seconds = static_cast<double>(stage_.now.ns - 1'000'000'000) / 1e9;
    h_.tasks = shop_.tasks_ended;
    std::string all;
    for (const auto& e : disk_.events)
      all += std::string{name_of(e.kind)} + "|" + e.goal + "|" + e.step + "|" + e.subject + "|" + e.key + "|" + std::to_string(e.time.ns) + "\n";
    h_.fingerprint = digest_of(all).hex();
    return h_;
  }

private:
  void find(const std::string& text) {
    found_.push_back("seed " + std::to_string(seed_) + ", " + std::to_string((stage_.now.ns - 1'000'000'000) / 1'000'000) + " ms: " + text);
  }
  void tell(const std::string& text) const {
    if (rules_.tell)
      std::printf("%8.3f s  %s\n", static_cast<double>(stage_.now.ns - 1'000'000'000) / 1e9, text.c_str());
  }
  bool seeded(flaw f) const { return rules_.seeded == f; }

  // ---- turns ---------------------------------------------------------------------------------------------------------------

  std::vector<machine*> machines() {
    std::vector<machine*> all;
    if (head_)
      all.push_back(head_.get());
    for (const auto& m : members_)
      if (m)
        all.push_back(m.get());
    return all;
  }

  void begin_job(machine& m, std::size_t index) {
    auto* const job = m.scheduler->jobs[index];
    m.scheduler->jobs.erase(m.scheduler->jobs.begin() + static_cast<std::ptrdiff_t>(index));
    auto* const scheduler = m.scheduler;
    auto* const unit = m.unit.get();
    auto f = fiber::start([job, scheduler, unit] {
      switch (job->resume(unit, 1)) {
      case caf::resumable::resume_later: scheduler->jobs.push_back(job); break;
      case caf::resumable::done:
      case caf::resumable::awaiting_message: caf::intrusive_ptr_release(job); break;
      case caf::resumable::shutdown_execution_unit: break;
      }
    });
    if (f)
      m.waiting.push_back(std::move(f));
  }

  /// One turn of somebody who can go on. False: nobody can before time passes.
  bool turn() {
    std::vector<std::function<void()>> choices = shop_.turns();
    for (auto* m : machines()) {
      if (m->frozen)
        continue;
      for (std::size_t i = 0; i < m->scheduler->jobs.size(); ++i)
        choices.push_back([this, m, i] { begin_job(*m, i); });
      for (std::size_t i = 0; i < m->waiting.size(); ++i)
        if (m->waiting[i]->ready()())
          choices.push_back([m, i] {
            auto f = std::move(m->waiting[i]);
            m->waiting.erase(m->waiting.begin() + static_cast<std::ptrdiff_t>(i));
            if (f = fiber::resume(std::move(f)); f)
              m->waiting.push_back(std::move(f));
          });
    }
    if (choices.empty())
      return false;
    choices[stage_.random.below(choices.size())]();
    if (++h_.turns > turns_max)
      find("nothing comes to rest (" + std::to_string(turns_max) + " turns)");
    return true;
  }

  void step() {
    while (found_.empty() && turn())
      ;
    check();
    auto next = stage_.next();
    for (auto* m : machines())
      if (!m->frozen)
        if (const auto first = clock_peek::first(m->scheduler->clock())) {
          const mono_time at{m->clock_at.ns + (*first - std::chrono::nanoseconds{m->scheduler->clock().current_time.time_since_epoch()}).count()};
          next = next ? std::min(*next, at) : at;
        }
    const auto longest = stage_.now + seconds{1};
    stage_.now = std::max(stage_.now, next ? std::min(*next, longest) : longest);
    stage_.run_due();
    for (auto* m : machines())
      if (!m->frozen) {
        const auto passed = stage_.now - m->clock_at;
        m->clock_at = stage_.now;
        if (passed.count() > 0)
          m->scheduler->clock().advance_time(passed);
      }
  }

  // ---- machines ------------------------------------------------------------------------------------------------------------

  std::unique_ptr<machine> make_machine(const std::string& name, bool slow) {
    auto m = std::make_unique<machine>();
    m->name = name;
    m->clock = std::make_unique<machine_clock>(stage_, slow);
    m->clock_at = stage_.now;
    m->system = std::make_unique<caf::actor_system>(m->config);
    m->scheduler = static_cast<caf::scheduler::test_coordinator*>(&m->system->scheduler());
    m->unit = std::make_unique<turn_unit>(m->system.get(), m->scheduler);
    return m;
  }
  gate_options gate_of(machine& m, std::uint64_t incarnation) {
    gate_options o;
    const auto folder = certificates_ / m.name;
    const tls_files files{folder / (m.name + ".pem"), folder / (m.name + ".key"), folder / "ca.pem"};
    o.credentials.certificate = read_file(files.certificate, 1 << 16).value();
    o.credentials.authority = read_file(files.authority, 1 << 16).value();
    o.credentials.sign = [files](std::string_view bytes) { return sign(files, bytes); };
    o.credentials.draw = [this] { return stage_.random.next(); };
    o.credentials.incarnation = incarnation;
    o.services = &m.services;
    o.time = m.clock.get();
    o.denied = [this, who = m.name](const std::string& peer, const error& why) { tell(who + " refused " + peer + ": " + why.what); };
    o.connect = [](caf::actor_system&, const std::string&, std::uint16_t) -> result<caf::actor> { return error{errc::unreachable, "nobody is dialled"}; };
    return o;
  }
  std::vector<slot> slots_of(const std::string& node, int n) {
    std::vector<slot> all;
    for (int i = 0; i < n; ++i)
      all.push_back({{node, "cpu" + std::to_string(i)}, slot_kind::cpu, "1 core", 1 << 30, 0});
    return all;
  }

  /// As cluster_head and node do it.
  void start_head() {
    auto m = make_machine("head", false);
    ++h_.heads;
    m->is_head = true;
    auto owned = state_directory::own(root_ / "state");
    if (!owned)
      return find("the state folder cannot be owned: " + owned.error().to_string());
    m->directory.emplace(std::move(*owned));
    const auto layout = m->directory->layout();
    if (!seeded(flaw::epoch_stands_still) || epoch_ == 0)
      epoch_ = m->directory->epoch();
    for (const auto& folder : {layout.data(), layout.models(), layout.trials(), layout.sealed()})
      (void)sweep_temporaries(folder);
    m->log = std::make_unique<simulated_journal>(stage_, disk_, *m->clock);
    m->log->forget_outcomes = seeded(flaw::outcomes_forgotten);
    m->log->strikes = [this](const std::vector<event_draft>& drafts) { return strike_at_the_worst_moment(drafts); };
    m->context = {layout, epoch_, m->log.get(), m->clock.get(), &m->agents, "simulation", 1, m->usable};
    (void)publish_file(layout.run() / "cluster.token", "token-of-life-" + std::to_string(h_.heads));
    m->gate = spawn_gate(*m->system, gate_of(*m, epoch_));
    dispatcher_options d;
    d.head = m->name;
    d.slots = slots_of(m->name, 1);
    d.open_pool = shop_.opener(m->name);
    d.gate = m->gate;
    d.channel = m->channel;
    d.usable_slots = m->usable;
    d.shared_token = "token-of-life-" + std::to_string(h_.heads);
    m->desk = spawn_agent_desk(*m->system, {m->gate, &m->context});
    m->services.set(std::string{gate::agents_service}, m->desk);
    d.node_gone = [desk = m->desk](const std::string& node, const std::string& reason) {
      peer_state gone;
      gone.peer = node;
      gone.problem = error{errc::unreachable, reason, node};
      cafx::anon_send(desk, std::move(gone));
    };
    d.node_drains = [desk = m->desk](const std::string& node) { cafx::anon_send(desk, drain_node{node, {}}); };
    m->dispatcher = spawn_dispatcher(*m->system, m->context, std::move(d));
    m->services.set(std::string{gate::cluster_service}, m->dispatcher);
    agent_doors doors;
    doors.trainer.runner = [dispatcher = m->dispatcher, channel = m->channel](worker_pool_events events) -> result<std::unique_ptr<task_runner>> {
      return make_cluster_runner(dispatcher, channel, std::move(events));
    };
    doors.deployer.open_endpoint = market_.opener(m->alive);
    doors.evaluator.send = market_.sender();
    doors.seating = [system = m->system.get(), desk = m->desk](const std::string& agent, std::function<caf::actor()> start_here) {
      return spawn_agent_seat(*system, {agent, desk, std::move(start_here)});
    };
    m->supervisor = spawn_supervisor(*m->system, m->context, std::move(doors));
    cafx::anon_send(m->supervisor, resume_atom_v);
    head_ = std::move(m);
    tell("the head starts, epoch " + std::to_string(epoch_));
  }

  /// As member_node does it.
  void start_member(int index) {
    const auto i = static_cast<std::size_t>(index);
    const auto name = "n" + std::to_string(index);
    auto m = make_machine(name, seeded(flaw::clock_runs_slow));
    const auto next_incarnation = [this, i] { return seeded(flaw::incarnation_stands_still) && incarnations_[i] != 0 ? incarnations_[i] : ++incarnations_[i]; };
    auto g = gate_of(*m, next_incarnation());
    g.greeting = dispatch::to_text({1, {}});
    g.connect = [this, i, me = m.get()](caf::actor_system&, const std::string&, std::uint16_t) { return dial(i, *me); };
    task_host_options h;
    h.node = name;
    h.slots = slots_of(name, 2);
    h.open_pool = shop_.opener(name);
    h.time = m->clock.get();
    h.incarnation = g.credentials.incarnation;
    h.greeting = g.greeting;
    h.folder = root_ / name;
    h.next_incarnation = next_incarnation;
    h.head_host = "127.0.0.1";
    h.head_port = 1;
    h.shut_down = [](const std::string&) {};
    h.log = [this, name](const std::string& text) { tell(name + ": " + text); };
    m->gate = spawn_gate(*m->system, std::move(g));
    h.gate = m->gate;
    m->host = spawn_task_host(*m->system, std::move(h));
    m->services.set(std::string{gate::cluster_service}, m->host);
    agent_host_options a;
    const auto untyped = [](const auto& handle) { return caf::actor_cast<caf::actor>(handle); };
    a.make["data_steward"] = [=](caf::actor_system& system, const agent_context& context) { return untyped(spawn_data_steward(system, context)); };
    a.make["architect"] = [=](caf::actor_system& system, const agent_context& context) { return untyped(spawn_architect(system, context)); };
    a.make["hpo"] = [=](caf::actor_system& system, const agent_context& context) { return untyped(spawn_hpo(system, context)); };
    a.make["evaluator"] = [=, send = market_.sender()](caf::actor_system& system, const agent_context& context) {
      return untyped(spawn_evaluator(system, context, {send}));
    };
    a.shares_files = [](const std::string& welcome) { return shares_files(welcome); };
    a.gate = m->gate;
    a.time = m->clock.get();
    a.code = "simulation";
    a.cores = 2;
    a.log = [this, name](const std::string& text) { tell(name + ": " + text); };
    m->agent_host = spawn_agent_host(*m->system, std::move(a));
    m->services.set(std::string{gate::agents_service}, m->agent_host);
    cafx::anon_send(m->gate, gate_dial{"head.lab", 7400});
    members_[i] = std::move(m);
  }

  /// kill -9: nothing more of it runs. What it held on the machine (locks) the kernel gives back.
  void kill(std::unique_ptr<machine>& m, bool vanishes) {
    *m->alive = false;
    if (m->log)
      m->log->crash();
    m->directory.reset();
    shop_.orphan(m->name);
    for (const auto& w : network_.wires())
      for (const int side : {0, 1})
        if (w->open && w->ends[side] == m.get())
          stage_.after(vanishes ? nanoseconds{silence_max} + stage_.between(milliseconds{0}, milliseconds{500}) : stage_.between(milliseconds{1}, milliseconds{20}),
                       [this, w] { network_.close(*w); });
    graveyard_.push_back(std::move(m));
  }

  // ---- the network ------------------------------------------------------------------------------------------------------------

  struct link { mono_time cut_until; std::shared_ptr<wire> now; };

  /// From inside a fiber of `me`.
  result<caf::actor> dial(std::size_t i, machine& me) {
    stage_.sleep(stage_.between(std::chrono::microseconds{200}, milliseconds{5}));
    auto& l = links_[i];
    if (l.cut_until > stage_.now) {
      stage_.sleep(seconds{2});
      return error{errc::unreachable, "no route to host", "head.lab:7400"};
    }
    if (!head_ || head_->frozen) {
      stage_.sleep(head_ ? nanoseconds{seconds{2}} : nanoseconds{milliseconds{1}});
      if (!head_ || head_->frozen)
        return error{errc::unreachable, "connection refused", "head.lab:7400"};
    }
    if (l.now && l.now->open && l.now->ends[0] == &me && l.now->ends[1] == head_.get())
      return l.now->ports[0]; // one connection for each pair of nodes
    const auto w = network_.connect(me, *head_);
    l.now = w;
    return w->ports[0];
  }

  // ---- people -----------------------------------------------------------------------------------------------------------------

  std::string spec_of(const std::string& goal) {
    if (const auto known = specs_.find(goal); known != specs_.end())
      return known->second;
    const bool approval = stage_.chance(3);
    const std::string yaml = "flywheel: 1\nname: " + goal +
                             "\ndata:\n  source: data.csv\n  split: {strategy: tail, holdout_rows: 60}\n"
                             "target: y\npositive: \"yes\"\nmetric: accuracy >= 0.6\n"
                             "search:\n  families: [gbt]\n  folds: 2\n  budget: {trials: 4, wall_time: 120s, slot_seconds: 400}\n"
                             "policy:\n  rollout: {steps: [50, 100], step_requests_min: 40}\n" +
                             (approval ? "  approvals:\n    - {action: rollout, by: [boss]}\n" : "");
    auto parsed = parse_goal(yaml, root_, {});
    if (!parsed.ok())
      find("the goal of the simulation is not valid: " + parsed.render("goal", yaml, false));
    return specs_[goal] = to_json(parsed.spec).dump();
  }

  /// Again and again, under the same id, until somebody says that it is accepted.
  void submit(const std::string& id) {
    if (acknowledged_.contains(id))
      return;
    stage_.after(stage_.between(seconds{2}, seconds{6}), [this, id] { submit(id); });
    if (!head_)
      return;
    const auto conductor = head_->agents.now().conductor;
    if (!conductor)
      return;
    submit_goal m{id, "ann", spec_of(id), false, {}};
    const bool lost = stage_.chance(4); // the answer
    head_->system->spawn([=, this](caf::event_based_actor* self) {
      cafx::request(self, conductor, seconds{60}, m).then([this, id, lost](const goal_ack& a) {
        if (a.problem && a.problem.to_error().code != errc::disk_full)
          find("goal " + id + " was refused: " + a.problem.to_error().to_string());
        if (a.problem || lost)
          return;
        tell("goal " + id + " is acknowledged" + (a.existed ? " (it was known)" : ""));
        if (acknowledged_.contains(id) && acknowledged_[id] != a.seq)
          find("goal " + id + " was acknowledged as entry " + std::to_string(acknowledged_[id]) + " and as " + std::to_string(a.seq) + " (I2)");
        acknowledged_[id] = a.seq;
      }, [](const caf::error&) {});
    });
  }

  /// Asks the conductor for something, once; whether it was heard shows in the journal.
  template <class Message> void ask_conductor(const Message& m) {
    if (!head_)
      return;
    if (const auto conductor = head_->agents.now().conductor)
      head_->system->spawn([conductor, m](caf::event_based_actor* self) {
        cafx::request(self, conductor, seconds{60}, m).then([](const acknowledgement&) {}, [](const caf::error&) {});
      });
  }
  void change_mind(const std::string& goal) {
    tell("ann cancels " + goal);
    ask_conductor(cancel_goal{goal, "ann", "changed her mind"});
  }
  void drain(const std::string& node) {
    if (!head_)
      return;
    tell(node + " is drained");
    drained_ = true; // with a full disk it drains, too, although nobody will know later
    head_->system->spawn([dispatcher = head_->dispatcher, node](caf::event_based_actor* self) {
      cafx::request(self, dispatcher, seconds{60}, drain_node{node, "ann"}).then([](const acknowledgement&) {}, [](const caf::error&) {});
    });
  }
  /// Answers what waits for an approval: yes, as a rule.
  void boss_looks() {
    stage_.after(stage_.between(milliseconds{300}, seconds{2}), [this] { boss_looks(); });
    if (!head_)
      return;
    std::map<std::string, std::string> open; // and who may
    for (const auto& e : disk_.events) {
      if (e.kind == event_kind::approval_requested)
        open[e.subject] = e.body.find("\"boss\"") != std::string::npos ? "boss" : "ann";
      if (e.kind == event_kind::approval_granted || e.kind == event_kind::approval_denied)
        open.erase(e.subject);
    }
    for (const auto& [id, who] : open)
      ask_conductor(answer_approval{id, who, "", !stage_.chance(12)});
  }

  // ---- faults -----------------------------------------------------------------------------------------------------------------

  void break_something() {
    ++h_.faults;
    const auto i = static_cast<std::size_t>(stage_.random.below(static_cast<std::uint64_t>(rules_.members)));
    switch (stage_.random.below(11)) {
    case 0: return kill_head();
    case 1: return kill_member(i);
    case 2: return freeze(members_[i].get(), stage_.between(milliseconds{200}, seconds{9}));
    case 3: return freeze(head_.get(), stage_.between(milliseconds{200}, seconds{6}));
    case 4: {
      links_[i].cut_until = stage_.now + stage_.between(milliseconds{10}, seconds{8});
      tell("the link of n" + std::to_string(i) + " is cut");
      if (const auto w = links_[i].now)
        stage_.after(stage_.between(milliseconds{0}, nanoseconds{silence_max}), [this, w] { network_.close(*w); });
      return;
    }
    case 5:
      if (const auto w = links_[i].now; w && w->open) {
        const int to = static_cast<int>(stage_.random.below(2));
        tell("nothing of n" + std::to_string(i) + "'s link arrives at " + w->ends[to]->name);
        w->stalled[to] = true;
        const auto until = stage_.between(milliseconds{100}, seconds{5});
        if (until > silence_max)
          stage_.after(silence_max, [this, w] { network_.close(*w); });
        stage_.after(until, [this, w, to] {
          w->stalled[to] = false;
          network_.pump(w, to);
        });
      }
      return;
    case 6:
    case 7: {
      static constexpr const char* agents[] = {"conductor", "data_steward", "architect", "hpo", "trainer", "evaluator", "deployer", "monitor", "learner"};
      const auto* agent = agents[stage_.random.below(std::size(agents))];
      tell(std::string{"agent "} + agent + " dies");
      if (head_)
        cafx::anon_send(head_->supervisor, crash_atom_v, std::string{agent});
      return;
    }
    case 8:
      tell("a worker dies");
      shop_.kill_one();
      return;
    case 9:
      tell("the disk is full");
      disk_.full = true;
      stage_.after(stage_.between(milliseconds{100}, seconds{2}), [this] { disk_.full = false; });
      return;
    default:
      tell("the disk is slow, and the head's wall clock jumps");
      disk_.slowest = milliseconds{700};
      stage_.after(seconds{3}, [this] { disk_.slowest = milliseconds{10}; });
      if (head_)
        head_->clock->skew = stage_.between(-std::chrono::minutes{10}, std::chrono::minutes{10});
      return;
    }
  }
  /// Between what has just become durable and whoever would have gone on from it.
  bool strike_at_the_worst_moment(const std::vector<event_draft>& drafts) {
    if (rules_.faults == 0 || stage_.now > rough_until_ || !head_)
      return false;
    for (const auto& d : drafts)
      switch (d.kind) {
      case event_kind::goal_submitted:
      case event_kind::effect_intended:
      case event_kind::effect_done:
      case event_kind::model_registered:
      case event_kind::alias_moved:
      case event_kind::approval_used:
        if (!stage_.chance(12))
          break;
        ++h_.faults;
        tell("just after " + std::string{name_of(d.kind)} + " of " + d.goal + ":");
        if (stage_.chance(3)) {
          cafx::anon_send(head_->supervisor, crash_atom_v, std::string{stage_.chance(2) ? "conductor" : "deployer"});
          return false;
        }
        kill_head();
        return true;
      default: break;
      }
    return false;
  }
  void kill_head() {
    if (!head_)
      return;
    tell("the head is killed");
    kill(head_, stage_.chance(3));
    stage_.after(stage_.between(milliseconds{100}, seconds{4}), [this] {
      if (!head_)
        start_head();
    });
  }
  void kill_member(std::size_t i) {
    if (!members_[i])
      return;
    tell("n" + std::to_string(i) + " is killed");
    kill(members_[i], stage_.chance(3));
    stage_.after(stage_.between(milliseconds{100}, seconds{4}), [this, i] {
      if (!members_[i])
        start_member(static_cast<int>(i));
    });
  }
  void freeze(machine* m, nanoseconds d) {
    if (m == nullptr || m->frozen)
      return;
    tell(m->name + " freezes for " + std::to_string(d.count() / 1'000'000) + " ms");
    m->frozen = true;
    const auto alive = m->alive;
    for (const auto& w : network_.wires())
      if (w->open && (w->ends[0] == m || w->ends[1] == m) && d > silence_max)
        stage_.after(silence_max, [this, w] { network_.close(*w); });
    stage_.after(d, [this, m, alive] {
      if (!*alive)
        return;
      m->frozen = false;
      for (const auto& w : network_.wires())
        for (const int side : {0, 1})
          if (w->ends[side] == m)
            network_.pump(w, side);
    });
  }

  // ---- the promises --------------------------------------------------------------------------------------------------------------

  void check() {
    const auto working = shop_.at_work();
    for (auto i = working.begin(); i != working.end(); ++i)
      if (const auto next = std::next(i); next != working.end() && next->first == i->first)
        find("trial " + i->first + " is worked on by " + i->second + " and by " + next->second + " (I6)");
    for (const auto& [goal, seq] : acknowledged_)
      if (seq > disk_.events.size() || disk_.events[seq - 1].kind != event_kind::goal_submitted || disk_.events[seq - 1].goal != goal) {
        if (!disk_.lies || !head_ || seq <= disk_.events.size()) // with a lying disk it may still be on its way
          find("goal " + goal + " was acknowledged as entry " + std::to_string(seq) + ", which is not there (I1)");
      }
    if (checked_ != disk_.events.size()) {
      for (; checked_ < disk_.events.size(); ++checked_)
        note(disk_.events[checked_]);
    }
  }
  /// Promises that each new entry can break.
  void note(const event& e) {
    tell("    " + std::to_string(e.seq) + " " + std::string{name_of(e.kind)} + " " + e.goal + " " + e.step + ": " + e.text);
    if (e.epoch != 0 && e.epoch < newest_epoch_)
      find("entry " + std::to_string(e.seq) + " was written in epoch " + std::to_string(e.epoch) + ", after one of " + std::to_string(newest_epoch_) + " (I5)");
    newest_epoch_ = std::max(newest_epoch_, e.epoch);
    if (const auto [life, is_new] = life_of_epoch_.emplace(e.epoch, h_.heads); e.epoch != 0 && life->second != h_.heads)
      find("epoch " + std::to_string(e.epoch) + " is that of two lives of the head (I5)");
    if (e.kind == event_kind::effect_intended)
      intents_.insert(e.key);
    if (e.kind == event_kind::effect_done) {
      if (!intents_.contains(e.key))
        find("effect " + e.key + " was done without an intent (I4)");
      if (!outcomes_.insert(e.key).second)
        find("effect " + e.key + " was done twice (I3)");
    }
    if (e.kind == event_kind::model_registered && !intents_.contains("release/" + e.goal))
      find("a model of " + e.goal + " was registered before that was intended (I4)");
    if (e.kind == event_kind::goal_state) {
      const auto state = json::parse(e.body, nullptr, false).value("state", "");
      if (state == "done" || state == "failed" || state == "cancelled") {
        tell("goal " + e.goal + " is " + state + ": " + json::parse(e.body, nullptr, false).value("reason", ""));
        ended_[e.goal] = state;
      } else {
        ended_.erase(e.goal);
      }
    }
  }
  bool all_over() const {
    return head_ && acknowledged_.size() == static_cast<std::size_t>(rules_.goals) && ended_.size() == acknowledged_.size() &&
           std::all_of(members_.begin(), members_.end(), [](const auto& m) { return m && !m->frozen; });
  }
  /// What is left when all is quiet, and what the product's own judge says of the journal and the registry.
  void judge() {
    for (const auto& [goal, seq] : acknowledged_)
      if (const auto end = ended_.find(goal); end == ended_.end())
        find("goal " + goal + " has not ended, long after the last fault (I12)");
      else if (end->second == "done")
        ++h_.goals_done;
      else
        ++h_.goals_failed;
    if (acknowledged_.size() != static_cast<std::size_t>(rules_.goals))
      find("a client was never answered");
    if (const auto slots = 1 + 2 * static_cast<unsigned>(rules_.members); head_ && !drained_ && head_->usable->load() != slots)
      find("only " + std::to_string(head_->usable->load()) + " of " + std::to_string(slots) + " slots are usable, long after the last fault (I12)");
    if (!shop_.at_work().empty())
      find("somebody still works on " + shop_.at_work().begin()->first + " (I11)");
    if (!found_.empty())
      return;
    const state_layout layout{root_ / "state"};
    {
      manual_clock then;
      auto log = journal::open(layout.root, then);
      if (!log)
        return find("the journal cannot be written down: " + log.error().to_string());
      std::vector<event_draft> all{disk_.events.begin(), disk_.events.end()};
      if (const auto written = (*log)->append(std::move(all)); !written)
        return find("the journal cannot be written down: " + written.error().to_string());
    }
    auto evidence = gather_evidence(layout);
    if (!evidence)
      return find("the evidence cannot be read: " + evidence.error().to_string());
    for (const auto& [goal, seq] : acknowledged_) {
      acknowledged_goal a;
      a.id = goal;
      a.seq = seq;
      evidence->acknowledged.push_back(std::move(a));
    }
    evidence->settled = true;
    evidence->quiet = true;
    evidence->leftovers_looked_at = true;
    evidence->leftovers = files_left(layout);
    for (const auto& v : judge_promises(*evidence))
      if (v.found == promise_verdict::finding::broken)
        for (const auto& e : v.evidence)
          find(v.promise + " (" + v.title + "): " + e);
  }

  void write_data() {
    fs::create_directories(root_);
    std::ofstream out{root_ / "data.csv"};
    out << "a,b,c,y\n";
    random_source values{7};
    for (int i = 0; i < 240; ++i) {
      const double a = values.normal(), b = values.normal();
      out << a << "," << b << "," << (i % 3 == 0 ? "red" : "blue") << "," << (a + 0.3 * b > 0 ? "yes" : "no") << "\n";
    }
  }

  history_rules rules_;
  std::uint64_t seed_, epoch_ = 0;
  stage stage_;
  simulated_disk disk_;
  workshop shop_;
  marketplace market_;
  simulated_network network_;
  fs::path root_, certificates_;
  std::unique_ptr<machine> head_;
  std::vector<std::unique_ptr<machine>> members_, graveyard_;
  std::vector<std::uint64_t> incarnations_;
  std::vector<link> links_;
  std::map<std::string, std::string> specs_, ended_;
  std::map<std::string, std::uint64_t> acknowledged_;
  std::set<std::string> intents_, outcomes_;
  std::uint64_t newest_epoch_ = 0;
  std::map<std::uint64_t, std::uint64_t> life_of_epoch_;
  std::size_t checked_ = 0;
  bool drained_ = false;
  mono_time rough_until_;
  std::vector<std::string> found_;
  history h_;
};

} // namespace

history run_agents(std::uint64_t seed, const history_rules& r, const fs::path& folder, const fs::path& certificates) {
  cafx::init_types<caf::id_block::flywheel>();
  if (omp_set_num_threads != nullptr)
    omp_set_num_threads(1); // a fit of 180 rows has no use for more
  auto* const world = new agent_world{seed, r, folder, certificates}; // never taken apart: see the header
  return world->run();
}

} // namespace flywheel::simulation
