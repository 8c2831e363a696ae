#include "tests/simulation/simulated_cluster.hpp"

#include <algorithm>
#include <map>

namespace flywheel::simulation {
namespace {

using what = dispatch_action::what;
using std::chrono::milliseconds;

std::vector<slot> slots_of(const std::string& node, int n) {
  std::vector<slot> all;
  for (int i = 0; i < n; ++i)
    all.push_back({{node, "cpu" + std::to_string(i)}, slot_kind::cpu, "1 core", 1 << 30, 0});
  return all;
}

/// "t4#2" -> "t4"
std::string trial_of(const std::string& task) { return task.substr(0, task.find('#')); }

/// Survives the head.
struct durable {
  std::map<std::string, int> goals;          ///< id -> attempts ordered
  std::map<std::string, int> ends;           ///< id -> times counted
  std::set<std::string> intents;             ///< effect keys
  struct member { std::uint64_t incarnation = 0, epoch = 0; bool lives = false; };
  std::map<std::string, member> members;
  std::uint64_t largest_epoch = 0, head_epoch = 0;
};

/// The world outside, with a fence.
struct sink {
  std::uint64_t epoch = 0;
  std::map<std::string, int> done;
};

struct message {
  mono_time due;
  int node;
  std::uint64_t connection;
  std::function<void()> deliver;
};

struct node {
  std::string name;
  std::uint64_t incarnation = 1, connection = 0, beat = 0, epoch = 0, head_epoch = 0;
  bool up = true, joined = false, frozen = false;
  std::map<std::string, std::uint64_t> running, unreported; ///< task -> lease
  std::unique_ptr<lease_watch> watch;
  mono_time next_beat, next_dial;
};

struct effect_request { std::string key; std::uint64_t epoch; mono_time due; };

class world {
public:
  world(std::uint64_t seed, const rules& r) : rules_(r), random_(seed), seed_(seed) {
    for (int i = 0; i < r.nodes; ++i) {
      nodes_.emplace_back();
      nodes_.back().name = "n" + std::to_string(i);
    }
    start_head();
  }

  findings run(std::uint64_t* print) {
    for (int i = 0; i < rules_.steps && found_.empty(); ++i) {
      faults_ = i < rules_.steps_with_faults;
      now_ = now_ + rules_.step;
      clients(i);
      network();
      fate_of_head();
      if (head_)
        head_->tick(now_);
      for (std::size_t n = 0; n < nodes_.size(); ++n)
        live(n);
      carry_out();
      effects();
      check();
      if (print != nullptr)
        *print = (*print ^ state_digest()) * 0x100000001b3ull;
    }
    if (found_.empty())
      check_end();
    return found_;
  }

private:
  void find(const std::string& text) {
    found_.push_back("seed " + std::to_string(seed_) + ", " + std::to_string(now_.ns / 1'000'000) + " ms: " + text);
  }
  bool chance(std::uint64_t one_in) { return random_.below(one_in) == 0; }
  bool seeded(defect d) const { return rules_.seeded == d; }

  // ---- the head ---------------------------------------------------------------------------------------------------------
  void start_head() {
    ++disk_.head_epoch;
    head_.emplace(dispatch_rule{}, "head", disk_.largest_epoch, disk_.head_epoch << 32);
    (void)head_->add_own_slots(slots_of("head", 1));
    own_.clear();
    for (const auto& [name, m] : disk_.members)
      if (m.lives && !seeded(defect::skip_recovery_grace))
        head_->restore(name, m.incarnation, m.epoch, false, now_);
    for (auto& [id, attempts] : disk_.goals) {
      if (disk_.ends[id] == 0)
        order(id, attempts);
      else
        effects_.push_back({id, disk_.head_epoch, now_}); // asked again by key; the sink knows whether it was done
    }
  }
  void order(const std::string& id, int& attempts) {
    worker_task t;
    t.task.id = id + "#" + std::to_string(++attempts);
    (void)head_->submit("g", std::move(t), now_);
  }
  void fate_of_head() {
    if (head_ && faults_ && chance(500)) {
      head_.reset();
      own_.clear(); // its workers die with it
      effects_.erase(std::remove_if(effects_.begin(), effects_.end(), [&](const auto&) { return random_.below(2) == 0; }), effects_.end()); // some are on their way
      for (auto& n : nodes_)
        cut(n);
    } else if (!head_ && chance(faults_ ? 60 : 10)) {
      start_head();
    }
  }
  /// The end of a trial is in the journal; then its effect: intent first.
  void count_end(const std::string& task) {
    const auto id = trial_of(task);
    if (++disk_.ends[id] > 1)
      find("trial " + id + " was counted " + std::to_string(disk_.ends[id]) + " times (I15)");
    if (!seeded(defect::effect_before_intent))
      disk_.intents.insert(id);
    effects_.push_back({id, disk_.head_epoch, now_ + milliseconds{1 + random_.below(200)}});
  }
  void effects() {
    std::vector<effect_request> later;
    for (const auto& e : effects_) {
      if (e.due > now_) {
        later.push_back(e);
        continue;
      }
      if (e.epoch < sink_.epoch && !seeded(defect::skip_fence))
        continue;
      if (e.epoch < sink_.epoch)
        find("the sink took an effect of head " + std::to_string(e.epoch) + " after one of " + std::to_string(sink_.epoch) + " (I5)");
      sink_.epoch = std::max(sink_.epoch, e.epoch);
      if (!disk_.intents.contains(e.key))
        find("effect " + e.key + " came before its intent (I4)");
      if (sink_.done.contains(e.key) && !seeded(defect::forget_effect_key))
        continue;
      if (++sink_.done[e.key] > 1)
        find("effect " + e.key + " happened twice (I3)");
    }
    effects_ = std::move(later);
    if (seeded(defect::effect_before_intent))
      for (const auto& [id, n] : sink_.done)
        disk_.intents.insert(id);
  }

  // ---- clients ----------------------------------------------------------------------------------------------------------
  void clients(int step) {
    if (step % 50 == 0 && step < rules_.steps_with_faults)
      unacknowledged_.insert("t" + std::to_string(submitted_++));
    for (auto i = unacknowledged_.begin(); i != unacknowledged_.end();) {
      if (!head_ || !chance(8)) {
        ++i;
        continue;
      }
      if (seeded(defect::acknowledge_before_write) && chance(10)) { // and the head dies before it writes
        acknowledged_.insert(*i);
        i = unacknowledged_.erase(i);
        continue;
      }
      const auto [at, is_new] = disk_.goals.emplace(*i, 0);
      if (is_new)
        order(*i, at->second);
      if (faults_ && chance(4)) { // the answer is lost: the client asks again
        ++i;
        continue;
      }
      acknowledged_.insert(*i);
      i = unacknowledged_.erase(i);
    }
  }

  // ---- the network ------------------------------------------------------------------------------------------------------
  void send(std::size_t n, std::function<void()> f) {
    const auto delay = faults_ && chance(20) ? milliseconds{random_.below(1500)} : milliseconds{1 + random_.below(20)};
    wire_.push_back({now_ + delay, static_cast<int>(n), nodes_[n].connection, std::move(f)});
  }
  void network() {
    for (std::size_t i = 0; i < wire_.size();) {
      const auto& m = wire_[i];
      const auto& n = nodes_[static_cast<std::size_t>(m.node)];
      if (m.connection != n.connection || m.connection == 0) { // the connection it was on is gone
        wire_.erase(wire_.begin() + static_cast<std::ptrdiff_t>(i));
        continue;
      }
      const bool first = std::none_of(wire_.begin(), wire_.begin() + static_cast<std::ptrdiff_t>(i), [&](const auto& o) { return o.node == m.node; });
      if (first && m.due <= now_ && !n.frozen && n.up) {
        const auto deliver = m.deliver;
        wire_.erase(wire_.begin() + static_cast<std::ptrdiff_t>(i));
        deliver();
        continue;
      }
      ++i;
    }
  }
  void cut(node& n) {
    if (n.connection != 0 && n.joined && head_)
      head_->disconnected(n.name, n.incarnation, now_);
    n.connection = 0;
    n.joined = false;
    n.next_dial = now_ + milliseconds{50 + random_.below(200)};
  }

  // ---- nodes -------------------------------------------------------------------------------------------------------------
  void stop_work(node& n) {
    n.running.clear();
    n.unreported.clear();
  }
  void renew(node& n) {
    stop_work(n);
    ++n.incarnation;
    n.watch.reset();
    cut(n);
  }
  lease_watch_rule lease_rule() const {
    lease_watch_rule r;
    if (seeded(defect::lease_too_long))
      r.dead_after = std::chrono::seconds{6};
    return r;
  }

  void dial(std::size_t i) {
    auto& n = nodes_[i];
    if (!head_)
      return;
    n.connection = ++connections_;
    const auto incarnation = n.incarnation;
    send(i, [this, i, incarnation] {
      if (!head_)
        return;
      const auto epoch = head_->join({nodes_[i].name, incarnation, 1}, now_);
      send(i, [this, i, incarnation, ok = epoch.has_value(), given = epoch ? *epoch : 0, head = disk_.head_epoch] { welcomed(i, incarnation, ok, given, head); });
    });
  }
  void welcomed(std::size_t i, std::uint64_t incarnation, bool ok, std::uint64_t epoch, std::uint64_t head) {
    auto& n = nodes_[i];
    if (n.incarnation != incarnation)
      return;
    if (!ok)
      return renew(n);
    if (n.head_epoch != 0 && n.head_epoch != head && !seeded(defect::keep_old_heads_work))
      stop_work(n);
    n.head_epoch = head;
    n.epoch = epoch;
    n.joined = true;
    beat(i, true);
  }
  void sync(std::size_t i) {
    auto& n = nodes_[i];
    std::vector<held_task> held;
    for (const auto* list : {&n.running, &n.unreported})
      for (const auto& [t, lease] : *list)
        if (list != &n.running || !seeded(defect::hide_running_work))
          held.push_back({t, lease});
    send(i, [this, i, incarnation = n.incarnation, held] {
      if (head_)
        (void)head_->sync(nodes_[i].name, incarnation, slots_of(nodes_[i].name, 2), held, now_);
    });
    if (!seeded(defect::forget_unreported_ends))
      for (const auto& [t, lease] : n.unreported)
        report_end(i, t, lease);
  }
  void beat(std::size_t i, bool then_sync) {
    auto& n = nodes_[i];
    n.next_beat = now_ + milliseconds{500};
    const auto number = ++n.beat;
    const auto sent = now_;
    if (n.watch)
      n.watch->sent(number, now_);
    send(i, [this, i, number, sent, then_sync, incarnation = n.incarnation] {
      const bool ok = head_ && head_->heartbeat(nodes_[i].name, incarnation, now_).ok();
      send(i, [this, i, number, sent, then_sync, incarnation, ok] {
        auto& me = nodes_[i];
        if (me.incarnation != incarnation)
          return;
        if (!ok)
          return renew(me);
        if (!me.watch)
          me.watch = std::make_unique<lease_watch>(lease_rule(), sent);
        me.watch->answered(number);
        if (then_sync)
          sync(i);
      });
    });
  }
  void report_end(std::size_t i, const std::string& t, std::uint64_t lease) {
    send(i, [this, i, t, lease] {
      if (!head_)
        return;
      if (seeded(defect::count_ends_twice) ? disk_.goals.contains(trial_of(t)) && (head_->ended(t, lease, now_) || true)
                                           : head_->holds(t, nodes_[i].name, lease) && head_->ended(t, lease, now_))
        count_end(t);
      send(i, [this, i, t, lease] {
        auto& me = nodes_[i];
        if (const auto u = me.unreported.find(t); u != me.unreported.end() && u->second == lease)
          me.unreported.erase(u);
      });
    });
  }

  void live(std::size_t i) {
    auto& n = nodes_[i];
    if (faults_ && chance(250))
      switch (random_.below(4)) {
      case 0: // killed, its workers with it
        n.up = false;
        stop_work(n);
        break;
      case 1: n.frozen = true; break;
      default: cut(n);
      }
    if (!n.up && chance(faults_ ? 100 : 10)) {
      n.up = true;
      n.head_epoch = 0;
      renew(n);
    }
    if (n.frozen && chance(faults_ ? 150 : 10))
      n.frozen = false;
    const bool over = n.watch && !n.watch->holds(now_);
    if (over)
      stop_work(n); // its workers see to that themselves, also while it is frozen (lease_page)
    if (!n.up || n.frozen)
      return;
    if (over)
      renew(n);
    if (n.connection == 0 && now_ >= n.next_dial)
      dial(i);
    if (n.joined && n.watch && now_ >= n.next_beat)
      beat(i, false);
    if (!n.running.empty() && chance(40)) {
      const auto t = *n.running.begin();
      n.running.erase(n.running.begin());
      n.unreported.insert(t);
      if (n.joined)
        report_end(i, t.first, t.second);
    }
  }

  void carry_out() {
    if (!head_)
      return;
    for (const auto& a : head_->take_actions()) {
      if (a.is == what::member) {
        auto& m = disk_.members[a.change.node];
        m = {a.change.incarnation, a.change.epoch, a.change.to == member_state::alive || a.change.to == member_state::suspect};
        disk_.largest_epoch = std::max(disk_.largest_epoch, a.change.epoch);
      }
      if (a.is == what::end) // given up: its goal orders it again
        order(trial_of(a.task), disk_.goals.at(trial_of(a.task)));
      if (a.is == what::start && a.node == "head") {
        own_[a.task] = a.lease;
        head_->confirmed(a.task, a.lease);
      }
      for (std::size_t i = 0; i < nodes_.size(); ++i)
        if (nodes_[i].name == a.node && nodes_[i].connection != 0 && (a.is == what::start || a.is == what::stop))
          give(i, a);
    }
    if (!own_.empty() && chance(40)) {
      const auto t = *own_.begin();
      own_.erase(own_.begin());
      if (head_->ended(t.first, t.second, now_))
        count_end(t.first);
    }
  }
  void give(std::size_t i, const dispatch_action& a) {
    send(i, [this, i, a] {
      auto& me = nodes_[i];
      if (a.is == what::stop) {
        if (const auto r = me.running.find(a.task); r != me.running.end() && r->second == a.lease) {
          me.running.erase(r);
          me.unreported[a.task] = a.lease;
          report_end(i, a.task, a.lease);
        }
        return;
      }
      if (!me.joined || me.epoch != a.epoch || me.unreported.contains(a.task) || !me.watch || !me.watch->holds(now_))
        return;
      me.running[a.task] = a.lease;
      send(i, [this, a] {
        if (head_)
          head_->confirmed(a.task, a.lease);
      });
    });
  }

  // ---- the promises ------------------------------------------------------------------------------------------------------
  void check() {
    std::map<std::string, std::string> where;
    const auto runs = [&](const std::string& task, const std::string& place) {
      const auto [at, is_new] = where.emplace(trial_of(task), place);
      if (!is_new)
        find("trial " + trial_of(task) + " runs on " + at->second + " and on " + place + " (I6)");
    };
    for (const auto& n : nodes_)
      for (const auto& [t, lease] : n.running)
        runs(t, n.name);
    for (const auto& [t, lease] : own_)
      runs(t, "head");
    for (const auto& g : acknowledged_)
      if (!disk_.goals.contains(g))
        find("goal " + g + " was acknowledged and is not in the journal (I1)");
    if (head_) {
      std::map<slot_id, std::uint32_t> held;
      for (const auto& [id, lease] : head_->leases().leases())
        for (const auto& s : lease.ranks)
          held[s] += lease.share;
      for (const auto& [id, s] : head_->leases().slots().all())
        if (held[id] != s.held)
          find("slot " + id.text() + " is held for " + std::to_string(s.held) + " % and leased for " + std::to_string(held[id]) + " % (I11)");
    }
  }
  void check_end() {
    if (!head_)
      return find("the head never came back");
    for (const auto& [g, attempts] : disk_.goals)
      if (disk_.ends[g] == 0)
        find("goal " + g + " is not done after " + std::to_string(attempts) + " attempts, long after the last fault (I12)");
      else if (sink_.done[g] != 1)
        find("effect of " + g + " happened " + std::to_string(sink_.done[g]) + " times");
    if (!unacknowledged_.empty())
      find(std::to_string(unacknowledged_.size()) + " clients were never answered");
    for (const auto& [id, s] : head_->leases().slots().all())
      if (s.held != 0)
        find("slot " + id.text() + " is still held (I11)");
  }
  std::uint64_t state_digest() const {
    std::uint64_t d = disk_.head_epoch * 31 + wire_.size();
    for (const auto& n : nodes_)
      d = d * 31 + n.incarnation * 7 + n.connection * 5 + n.running.size() * 3 + (n.up ? 1 : 0) + (n.frozen ? 2 : 0);
    for (const auto& [g, n] : disk_.ends)
      d = d * 31 + static_cast<std::uint64_t>(n);
    return d;
  }

  rules rules_;
  random_source random_;
  std::uint64_t seed_, connections_ = 0;
  mono_time now_;
  bool faults_ = true;
  durable disk_;
  sink sink_;
  std::vector<effect_request> effects_;
  std::optional<dispatch_table> head_;
  std::map<std::string, std::uint64_t> own_; ///< of the head's own slots
  std::vector<node> nodes_;
  std::deque<message> wire_;
  std::set<std::string> unacknowledged_, acknowledged_;
  int submitted_ = 0;
  findings found_;
};

} // namespace

findings run_history(std::uint64_t seed, const rules& r) { return world{seed, r}.run(nullptr); }

std::uint64_t fingerprint(std::uint64_t seed, const rules& r) {
  std::uint64_t print = 0xcbf29ce484222325ull;
  (void)world{seed, r}.run(&print);
  return print;
}

} // namespace flywheel::simulation
