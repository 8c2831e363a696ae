// flywheel chaos: strikes a cluster as a file says, mends what it did, and judges the promises.

#include "actors/client/commands.hpp"

#include "actors/client/chaos_view.hpp"
#include "actors/client/control_client.hpp"
#include "actors/client/stop_signals.hpp"
#include "cluster/base/ids.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/chaos/chaos_means_store.hpp"
#include "cluster/chaos/promise_evidence_store.hpp"
#include "cluster/chaos/undo_keeper.hpp"
#include "cluster/content/file.hpp"
#include "cluster/content/publish.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <iostream>
#include <set>

namespace flywheel {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using namespace std::chrono_literals;

/// The longest that is slept without a look at what became due.
constexpr std::chrono::milliseconds look_again{200};
/// In the journal's record of a rehearsal; all of them are in the report.
constexpr std::size_t recorded_strokes_max = 500;

struct waiting_undo {
  nanoseconds at;
  std::uint64_t id = 0;
  std::string text;
};

/// What it is run with, read and checked.
struct rehearsal_order {
  chaos_spec spec;
  std::string digest;
  std::uint64_t seed = 0;
  fs::path report;             ///< empty: in the state folder's log
};

class rehearsal {
public:
  rehearsal(const command_context& c, rehearsal_order order, undo_keeper keeper)
      : c_(c), order_(std::move(order)), keeper_(std::move(keeper)), planner_(order_.spec, order_.seed), layout_{c.state} {}

  result<int> run() {
    FLYWHEEL_CHECK(look_around());
    if (c_.line.flag("dry-run"))
      return show_plan();
    FLYWHEEL_CHECK(confirm());
    FLYWHEEL_TRY(lock_, file_lock::acquire(layout_.log() / "chaos.lock", "the rehearsals of " + c_.state.string())); // one at a time
    stop_signals stop;
    stop_ = &stop;
    FLYWHEEL_CHECK(begin());
    const auto struck = strike_all();
    mend();
    FLYWHEEL_CHECK(struck);
    settle();
    probe_again();
    return conclude();
  }

private:
  // ---- the cluster ---------------------------------------------------------------------------------------------------
  result<json> ask(const json& request, nanoseconds wait = 20s) const {
    FLYWHEEL_TRY(auto client, control_client::connect(c_.state));
    return client.ask(request, wait);
  }

  status look_around() {
    FLYWHEEL_TRY(const auto listed, ask({{"op", "nodes"}}));
    FLYWHEEL_TRY(const auto text, read_file(layout_.run() / "cluster.json", 4096));
    const auto file = json::parse(text, nullptr, false);
    address_ = file.is_object() ? file.value("address", "") : std::string{};
    for (const auto& n : listed.value("nodes", json::array())) {
      const auto state = n.value("state", "");
      if (state != "alive" && state != "suspect")
        continue;
      names_.push_back(n.value("node", ""));
      if (n.value("head", false))
        head_ = names_.back();
    }
    const auto nodes = nodes_here(c_.state, address_, names_);
    means_ = look_at_means(c_.state, nodes, names_, head_, address_);
    const auto refusals = why_not_here(order_.spec, means_);
    if (refusals.empty())
      return success();
    return error{errc::unsupported, "this cannot be done here: " + join(refusals, "; "), c_.line.argument("FILE"), "nothing was started"};
  }

  status confirm() const {
    const bool local = address_.starts_with("127.") && fs::exists(c_.state / "certs" / "ca.key");
    if (local || c_.line.flag("yes"))
      return success();
    if (::isatty(STDIN_FILENO) != 0) {
      std::cerr << "The cluster at " << address_ << " (" << join(names_, ", ") << ") was not started by 'flywheel up --local'.\nStrike it? Type yes: " << std::flush;
      std::string answer;
      if (std::getline(std::cin, answer) && trim(answer) == "yes")
        return success();
    }
    return error{errc::not_allowed, "the cluster at " + address_ + " was not started by 'flywheel up --local', and nobody said yes", {}, "--yes, if it may be struck"};
  }

  result<int> show_plan() {
    const auto there = subjects_here(c_.state, nodes_here(c_.state, address_, names_));
    for (auto at = planner_.next(); at; at = planner_.next())
      for (const auto& s : planner_.due(*at, there)) {
        say(stroke_line(order_.spec.experiments[s.experiment], s));
        strokes_.push_back(stroke_json(order_.spec.experiments[s.experiment], s, {}));
      }
    if (c_.style != output_style::table)
      print_record(std::cout, {{"seed", order_.seed}, {"digest", order_.digest}, {"strokes", strokes_}}, print_options_for_stdout(c_.style, !c_.colour));
    return 0;
  }

  /// What happens, as it happens: results alone go to standard output where a program reads it.
  void say(const std::string& line) const { (c_.style == output_style::table ? std::cout : std::cerr) << line << std::endl; }
  void tell(const std::string& what) const { say(moment_line(elapsed(), what)); }
  nanoseconds elapsed() const { return system_clock().mono() - began_at_; }

  // ---- before --------------------------------------------------------------------------------------------------------
  status begin() {
    FLYWHEEL_TRY(const auto reader, journal_reader::open(c_.state));
    FLYWHEEL_TRY(const auto last, reader.last_seq());
    if (last > 0) {
      journal_filter filter;
      filter.after_seq = last - 1;
      filter.limit = 1;
      FLYWHEEL_TRY(const auto events, reader.read(filter));
      if (!events.empty()) {
        before_seq_ = events.front().seq;
        before_hash_ = events.front().hash;
      }
    }
    FLYWHEEL_TRY(began_, record("began", "rehearsal " + order_.spec.name + " begins (seed " + std::to_string(order_.seed) + ", " + order_.digest.substr(0, 12) + ")",
                                {{"seed", order_.seed}}));
    began_at_ = system_clock().mono();
    return success();
  }

  result<std::uint64_t> record(const std::string& state, const std::string& text, const json& report) const {
    FLYWHEEL_TRY(const auto reply, ask({{"op", "rehearsal"}, {"user", user_name()}, {"experiment", order_.spec.name}, {"digest", order_.digest}, {"state", state},
                                        {"text", text}, {"report", report}}));
    return reply.value("seq", std::uint64_t{0});
  }

  // ---- strokes -------------------------------------------------------------------------------------------------------
  status strike_all() {
    FLYWHEEL_CHECK(prepare_load());
    while (!stop_->requested()) {
      const auto now = elapsed();
      if (now >= order_.spec.duration && undos_.empty())
        break;
      undo_due(now);
      if (const auto at = planner_.next(); at && *at <= now) {
        const auto nodes = nodes_here(c_.state, address_, names_);
        const auto there = subjects_here(c_.state, nodes);
        remember(there);
        for (const auto& s : planner_.due(now, there))
          strike(s, nodes);
      }
      submit_load(now);
      nap(next_moment() - elapsed());
    }
    return success();
  }

  nanoseconds next_moment() const {
    auto next = elapsed() + look_again;
    if (const auto at = planner_.next())
      next = std::min(next, *at);
    for (const auto& u : undos_)
      next = std::min(next, u.at);
    return next;
  }

  /// Until `d` is over, or somebody wants it to stop.
  void nap(nanoseconds d) const {
    pollfd p{stop_->fd(), POLLIN, 0};
    const auto ms = std::clamp<std::int64_t>((d.count() + 999'999) / 1'000'000, 1, look_again.count());
    (void)::poll(&p, 1, static_cast<int>(ms));
  }

  void remember(const std::vector<chaos_subject>& there) {
    for (const auto& s : there)
      if (s.what == chaos_subject::sort::worker || s.what == chaos_subject::sort::rank)
        seen_[{s.pid, s.started}] = s.name;
  }

  void strike(const chaos_stroke& s, const std::vector<node_process>& nodes) {
    const auto& e = order_.spec.experiments[s.experiment];
    std::string problem;
    if (strikes_machine(e)) {
      problem = e.kind == "StressChaos" ? burn(s, e) : fill_disk(s, e);
    } else {
      for (const auto& v : s.victims)
        if (const auto p = strike_one(s, e, v, nodes); !p.empty())
          problem += (problem.empty() ? "" : "; ") + p;
    }
    if (problem.empty() && (strikes_machine(e) || !s.victims.empty()))
      ++done_;
    say(stroke_line(e, s, problem));
    strokes_.push_back(stroke_json(e, s, problem));
  }

  std::string strike_one(const chaos_stroke& s, const chaos_experiment& e, const chaos_subject& v, const std::vector<node_process>& nodes) {
    const auto gone = v.name + " was gone";
    if (v.what == chaos_subject::sort::agent) {
      const auto ended = ask({{"op", "crash"}, {"agent", v.part}}, 5s);
      return ended ? "" : v.name + " was not ended: " + ended.error().what;
    }
    if (e.kind == "NetworkChaos")
      return cut(s, e, v);
    if (e.kind == "TimeChaos") {
      const auto skewed = ask({{"op", "skew"}, {"user", user_name()}, {"by_ns", e.offset().count()}, {"lasting_ns", s.lasting.count()}}, 5s);
      return skewed ? "" : "the clock was not changed: " + skewed.error().what;
    }
    if (e.action == "pod-failure") {
      undo_action thaw{undo_action::sort::thaw, v.name + " thaws", v.pid, v.started, {}, {}, {}, {}, {}};
      if (const auto p = keep(thaw, s.lasting); !p.empty())
        return p;
      return signal_process(v.pid, v.started, SIGSTOP) ? "" : gone;
    }
    if (e.action == "container-kill")
      return signal_process(v.pid, v.started, SIGKILL) ? "" : gone;
    return kill_node(e, v, nodes) ? "" : gone;
  }

  /// The keeper knows how to undo it, and when it is due; an empty text, or why the stroke must not fall.
  std::string keep(const undo_action& a, nanoseconds after) {
    const auto id = keeper_.add(a);
    if (!id)
      return id.error().to_string();
    undos_.push_back({elapsed() + after, *id, a.text});
    return {};
  }

  bool kill_node(const chaos_experiment& e, const chaos_subject& v, const std::vector<node_process>& nodes) {
    const auto n = std::find_if(nodes.begin(), nodes.end(), [&](const auto& x) { return x.process.pid == v.pid && x.process.started == v.started; });
    if (n == nodes.end())
      return false;
    if (e.restart) {
      undo_action start{undo_action::sort::start, v.name + " is started again", v.pid, v.started, n->state, n->folder, n->log, {restart_words(*n)}, n->environment};
      if (!keep(start, e.grace_period + e.restart_after).empty())
        return false;
    } else {
      not_expected_.insert(v.name);
    }
    if (e.grace_period.count() == 0)
      return signal_process(v.pid, v.started, SIGKILL);
    undo_action kill{undo_action::sort::kill, v.name + " is killed, if it has not ended", v.pid, v.started, {}, {}, {}, {}, {}};
    return keep(kill, e.grace_period).empty() && signal_process(v.pid, v.started, SIGTERM);
  }

  /// As it was started, in its network; a head at the address where the others look for it.
  std::vector<std::string> restart_words(const node_process& n) const {
    auto words = n.process.argv;
    for (std::size_t i = 0; n.head && i < words.size(); ++i) {
      if (words[i] == "--listen" && i + 1 < words.size())
        words[i + 1] = address_;
      else if (words[i].starts_with("--listen="))
        words[i] = "--listen=" + address_;
    }
    for (const auto& m : means_.nodes)
      if (m.name == n.name && m.own_network)
        words.insert(words.begin(), {"ip", "netns", "exec", m.network});
    return words;
  }

  std::string cut(const chaos_stroke& s, const chaos_experiment& e, const chaos_subject& v) {
    const auto m = std::find_if(means_.nodes.begin(), means_.nodes.end(), [&](const auto& x) { return x.name == v.node; });
    if (m == means_.nodes.end())
      return v.name + " was not looked at before";
    const auto commands = link_commands_of(e, *m);
    undo_action mend{undo_action::sort::run, "the link of " + v.name + " is mended", 0, 0, {}, {}, {}, commands.undo, {}};
    if (const auto p = keep(mend, s.lasting); !p.empty())
      return p;
    for (const auto& command : commands.strike)
      if (run_command(command).exit_code != 0) {
        undos_.back().at = elapsed();
        return "'" + join(command, " ") + "' failed";
      }
    return {};
  }

  std::string burn(const chaos_stroke& s, const chaos_experiment& e) {
    const auto id = keeper_.burn(e.workers);
    if (!id)
      return id.error().to_string();
    undos_.push_back({elapsed() + s.lasting, *id, "the CPUs are left alone again"});
    return {};
  }

  std::string fill_disk(const chaos_stroke& s, const chaos_experiment& e) {
    const auto path = layout_.log() / ("chaos-ballast-" + std::to_string(began_) + "-" + std::to_string(strokes_.size()));
    undo_action empty{undo_action::sort::remove, "the ballast is removed", 0, 0, path, {}, {}, {}, {}};
    if (const auto p = keep(empty, s.lasting); !p.empty())
      return p;
    ballast_.push_back(path);
    const auto file = open_file(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (!file)
      return file.error().to_string();
    constexpr std::uint64_t piece = 16u << 20;
    for (std::uint64_t done = 0; done < *e.size; done += piece) {
      const auto size = std::min(piece, *e.size - done);
      // Where the rest of the disk is smaller than a piece, smaller pieces still fit.
      for (std::uint64_t part = size, from = done; part >= 4096 && from < done + size;)
        if (const int code = ::posix_fallocate(file->get(), static_cast<off_t>(from), static_cast<off_t>(std::min(part, done + size - from))); code == 0)
          from += part;
        else if (code != ENOSPC)
          return error_from_errno(code, "filling the disk").to_string();
        else if ((part /= 2) < 4096)
          return {}; // full, as it was to be
    }
    return {};
  }

  void undo_due(nanoseconds now) {
    std::stable_sort(undos_.begin(), undos_.end(), [](const auto& a, const auto& b) { return a.at < b.at; });
    while (!undos_.empty() && undos_.front().at <= now) {
      const auto u = undos_.front();
      undos_.erase(undos_.begin());
      const auto undone = keeper_.undo(u.id);
      tell(u.text + (undone ? "" : ": " + undone.error().to_string()));
      if (!undone)
        mending_failed_ = undone.error().to_string();
    }
  }

  /// Everything that is still to be undone, now.
  void mend() {
    undo_due(nanoseconds::max());
    if (stop_->requested())
      (void)ask({{"op", "skew"}, {"user", user_name()}, {"by_ns", 0}, {"lasting_ns", 0}}, 5s); // where nobody answers it ends by itself
  }

  // ---- goals ---------------------------------------------------------------------------------------------------------
  status prepare_load() {
    const auto& load = order_.spec.load;
    if (load.goal.empty())
      return success();
    FLYWHEEL_TRY(const auto parsed, parse_goal_file(load.goal));
    if (!parsed.ok()) {
      const auto text = read_file(load.goal, 4u << 20);
      std::cerr << parsed.render(load.goal, text ? *text : std::string{}, c_.colour_err);
      return error{errc::invalid_goal, "the goal of the load has problems", load.goal};
    }
    goal_ = parsed.spec;
    return success();
  }

  struct own_goal {
    std::string id, spec;
    bool acknowledged = false;
  };
  own_goal copy_of_goal(std::size_t n) const {
    auto spec = *goal_;
    spec.name = spec.name.substr(0, 32) + "-r" + std::to_string(began_) + "-" + std::to_string(n);
    spec.serve.model = spec.name; // each a model of its own, at any port
    spec.serve.port = 0;
    return {spec.name, to_json(spec).dump(), false};
  }

  void submit_load(nanoseconds now) {
    const auto& load = order_.spec.load;
    if (goal_ && goals_.size() < load.count && now >= load.every * static_cast<std::int64_t>(goals_.size()))
      goals_.push_back(copy_of_goal(goals_.size() + 1));
    for (auto& g : goals_) {
      if (g.acknowledged)
        continue;
      const auto reply = ask({{"op", "submit"}, {"id", g.id}, {"user", user_name()}, {"spec", g.spec}, {"approve", load.approve}}, 2s);
      if (!reply)
        return; // nobody answers just now; the same id again later is the same goal
      g.acknowledged = true;
      acknowledged_.push_back({g.id, reply->value("seq", std::uint64_t{0}), {}, {}, {}});
      tell("goal " + g.id + " is acknowledged");
    }
  }

  /// I2: the same goal again is the same goal; another body under its id is none.
  void probe_again() {
    for (auto& a : acknowledged_) {
      const auto g = std::find_if(goals_.begin(), goals_.end(), [&](const auto& x) { return x.id == a.id; });
      json request{{"op", "submit"}, {"id", a.id}, {"user", user_name()}, {"spec", g->spec}, {"approve", false}};
      const auto again = ask(request);
      if (again)
        a.again = again->value("seq", std::uint64_t{0});
      else if (again.error().code != errc::unreachable && again.error().code != errc::timed_out)
        a.again_problem = again.error().to_string();
      auto other = json::parse(g->spec);
      other["description"] = "another body under the same id";
      request["spec"] = other.dump();
      const auto conflict = ask(request);
      if (conflict || conflict.error().code == errc::already_exists)
        a.conflict_refused = !conflict;
    }
  }

  // ---- after ---------------------------------------------------------------------------------------------------------
  /// Nothing: it is quiet. Otherwise what is not.
  std::string why_not_quiet() {
    const auto listed = ask({{"op", "nodes"}}, 5s);
    if (!listed)
      return "the head does not answer: " + listed.error().what;
    slots_.clear();
    std::string why;
    std::set<std::string> alive;
    for (const auto& n : listed->value("nodes", json::array())) {
      const auto name = n.value("node", "");
      const auto busy = n.value("busy", 0u), slots = n.value("slots", 0u);
      if (busy > slots)
        slots_.push_back("node " + name + " has " + std::to_string(busy) + " of " + std::to_string(slots) + " slots in use");
      if (n.value("state", "") == "alive")
        alive.insert(name);
      if (busy > 0)
        why = "node " + name + " still works";
    }
    for (const auto& name : names_)
      if (!alive.contains(name) && !not_expected_.contains(name))
        why = "node " + name + " is not back";
    for (const auto& w : listed->value("waiting", json::array()))
      why = "task " + w.value("task", "") + " waits: " + w.value("why", "");
    if (const auto running = goals_running(); !running.empty())
      why = "goal " + running + " has not ended";
    return why;
  }

  std::string goals_running() const {
    const auto reader = journal_reader::open(c_.state);
    journal_filter filter;
    filter.kinds = {event_kind::goal_submitted, event_kind::goal_state};
    const auto events = reader ? reader->read(filter) : result<std::vector<event>>{reader.error()};
    if (!events)
      return "?";
    for (const auto& [goal, state] : goal_states(*events))
      if (state == "running")
        return goal;
    for (const auto& g : goals_)
      if (!g.acknowledged)
        return g.id;
    return {};
  }

  void settle() {
    if (stop_->requested())
      return;
    tell("the faults are over; goals have " + format_duration(order_.spec.settle) + " to end");
    const auto until = elapsed() + order_.spec.settle;
    for (not_quiet_ = why_not_quiet(); !not_quiet_.empty() && elapsed() < until && !stop_->requested(); not_quiet_ = why_not_quiet()) {
      submit_load(nanoseconds{0});
      nap(look_again);
    }
    settled_ = not_quiet_.empty() || elapsed() >= until;
    tell(not_quiet_.empty() ? "all is quiet" : "it is not quiet: " + not_quiet_);
  }

  result<promise_evidence> evidence() {
    FLYWHEEL_TRY(auto e, gather_evidence(layout_));
    e.before_seq = before_seq_;
    e.before_hash = before_hash_;
    e.acknowledged = acknowledged_;
    e.settled = settled_;
    e.quiet = settled_ && not_quiet_.empty();
    e.why_not_quiet = not_quiet_;
    e.slots = slots_;
    e.leftovers_looked_at = true;
    e.leftovers = files_left(layout_, ballast_);
    std::set<std::pair<int, std::uint64_t>> owned;
    for (const auto& s : subjects_here(c_.state, nodes_here(c_.state, address_, names_)))
      owned.insert({s.pid, s.started});
    for (const auto& [process, name] : seen_)
      if (!owned.contains(process) && still_there(process.first, process.second))
        e.leftovers.push_back("process " + std::to_string(process.first) + ", once " + name + ", is an orphan");
    if (!mending_failed_.empty())
      e.leftovers.push_back("a stroke could not be undone: " + mending_failed_);
    return e;
  }

  result<int> conclude() {
    FLYWHEEL_TRY(const auto found, evidence());
    const auto verdicts = judge_promises(found);
    const bool stopped = stop_->requested() || !settled_ || done_ == 0; // where nobody was struck nothing was rehearsed
    const bool kept = all_kept(verdicts) && found.quiet && !stopped;
    const std::string state = !all_kept(verdicts) ? "broken" : stopped ? "stopped" : kept ? "kept" : "broken";
    json report{{"experiment", order_.spec.name}, {"digest", order_.digest}, {"seed", order_.seed}, {"state", state}, {"began", began_}, {"strokes_done", done_},
                {"seconds", std::chrono::duration<double>(elapsed()).count()}, {"goals_acknowledged", acknowledged_.size()}, {"quiet", found.quiet},
                {"why_not_quiet", not_quiet_}, {"verdicts", to_json(verdicts)}, {"strokes", strokes_}, {"spec", to_json(order_.spec)}};
    auto file = order_.report.empty() ? layout_.log() / ("chaos-" + order_.spec.name + "-" + std::to_string(began_) + ".json") : order_.report;
    FLYWHEEL_CHECK(publish_file(file, report.dump(1) + "\n"));
    auto brief = report;
    brief.erase("spec");
    if (strokes_.size() > recorded_strokes_max)
      brief["strokes"] = json::array();
    const auto seq = record(state, summary(state), brief);
    if (c_.style == output_style::table) {
      std::cout << "\n" << join(verdict_lines(verdicts, c_.colour), "\n") << "\n\n" << summary(state);
      std::cout << (seq ? " [" + std::to_string(*seq) + "]" : "") << "\nthe report: " << file.string() << "\nto replay it: flywheel chaos "
                << c_.line.argument("FILE") << " --seed " << order_.seed << std::endl;
    } else {
      print_record(std::cout, report, print_options_for_stdout(c_.style, !c_.colour));
    }
    if (!seq)
      return error{seq.error()}.in("the verdict could not be recorded in the journal");
    return stop_->requested() ? 128 + stop_->signal_number() : kept ? 0 : 1;
  }

  std::string summary(const std::string& state) const {
    const auto strokes = std::to_string(done_) + (done_ == 1 ? " stroke" : " strokes") + ", seed " + std::to_string(order_.seed);
    if (state == "kept")
      return "rehearsal " + order_.spec.name + ": every promise that could be judged was kept (" + strokes + ")";
    if (state == "stopped")
      return "rehearsal " + order_.spec.name + ": " + (done_ == 0 ? "nothing was struck" : "stopped") + " (" + strokes + ")";
    return "rehearsal " + order_.spec.name + ": " + (not_quiet_.empty() ? "a promise was broken" : "not as promised, " + not_quiet_) + " (" + strokes + ")";
  }

  const command_context& c_;
  rehearsal_order order_;
  undo_keeper keeper_;
  chaos_planner planner_;
  state_layout layout_;
  file_lock lock_;
  stop_signals* stop_ = nullptr;

  std::string address_, head_;
  std::vector<std::string> names_;          ///< of the nodes that were there at the beginning
  std::set<std::string> not_expected_;      ///< of those, who was killed for good
  chaos_means means_;
  std::optional<std::uint64_t> before_seq_;
  digest before_hash_;
  std::uint64_t began_ = 0;
  mono_time began_at_;
  std::vector<waiting_undo> undos_;
  std::map<std::pair<int, std::uint64_t>, std::string> seen_; ///< workers and ranks
  std::vector<fs::path> ballast_;
  json strokes_ = json::array();
  std::size_t done_ = 0;
  std::string mending_failed_;
  std::optional<goal_spec> goal_;
  std::vector<own_goal> goals_;
  std::vector<acknowledged_goal> acknowledged_;
  std::vector<std::string> slots_;
  std::string not_quiet_ = "it was stopped before";
  bool settled_ = false;
};

/// Nothing if the file has problems; they are printed.
result<std::optional<chaos_spec>> read_faults(const command_context& c) {
  const fs::path file = c.line.argument("FILE");
  FLYWHEEL_TRY(const auto text, read_file(file, 1u << 20));
  std::error_code failed;
  const auto parsed = parse_chaos(text, fs::absolute(file, failed).parent_path());
  if (!parsed.problems.empty())
    std::cerr << render_problems(parsed.problems, file.string(), text, c.colour_err);
  return parsed.ok() ? std::optional{parsed.spec} : std::nullopt;
}

} // namespace

result<int> rehearse_faults(const command_context& c) {
  FLYWHEEL_TRY(const auto spec, read_faults(c));
  if (!spec)
    return 2;
  rehearsal_order order{*spec, digest_of(*spec).hex(), c.line.given("seed") ? c.line.integer("seed") : os_entropy() % 1'000'000'000, {}};
  if (c.line.given("report"))
    order.report = c.line.text("report");
  (c.style == output_style::table ? std::cout : std::cerr) << "seed " << order.seed << "\n" << spec->name << " " << order.digest.substr(0, 12) << std::endl;
  FLYWHEEL_TRY(auto keeper, undo_keeper::start()); // before any thread is born
  return rehearsal{c, std::move(order), std::move(keeper)}.run();
}

} // namespace flywheel
