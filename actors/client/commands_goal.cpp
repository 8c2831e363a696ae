#include "actors/client/background_process.hpp"
#include "actors/client/cluster_events.hpp"
#include "actors/client/commands.hpp"
#include "actors/client/control_client.hpp"
#include "actors/client/control_route.hpp"
#include "actors/client/goal_follower.hpp"
#include "actors/client/goal_report.hpp"
#include "actors/client/stop_signals.hpp"
#include "actors/node/control_endpoint.hpp"
#include "actors/node/node.hpp"
#include "cluster/base/ids.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/limits.hpp"
#include "cluster/base/text.hpp"
#include "cluster/content/publish.hpp"
#include "cluster/goal/goal_parser.hpp"
#include "cluster/journal/state_directory.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <iostream>

namespace flywheel {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

/// A goal file read, checked and named.
struct prepared_goal {
  goal_spec spec;
  std::string id, digest, spec_json;
  std::uint64_t source_bytes = 0;
};

/// Files up to this size are named by their content; larger ones by size and time of change, so that `run` starts at once.
constexpr std::uint64_t hashed_source_bytes_max = 1u << 30;

/// The client makes the id: the same goal on the same data is the same goal, so that the same command after a crash goes on.
result<std::string> goal_id_of(const goal_spec& spec, const std::string& digest, std::uint64_t& bytes) {
  struct stat s {};
  if (::stat(spec.data.source.c_str(), &s) != 0)
    return error_from_errno(errno, "data.source", spec.data.source);
  bytes = static_cast<std::uint64_t>(s.st_size);
  hasher h;
  h.field(digest);
  if (bytes <= hashed_source_bytes_max) {
    FLYWHEEL_TRY(const auto data, digest_of_file(spec.data.source));
    h.field(data.hex());
  } else {
    h.field(bytes).field(static_cast<std::uint64_t>(s.st_mtim.tv_sec)).field(static_cast<std::uint64_t>(s.st_mtim.tv_nsec));
  }
  return spec.name.substr(0, 40) + "-" + h.finish().hex().substr(0, 10);
}

/// Nothing if the goal has problems; they are printed.
result<std::optional<prepared_goal>> prepare(const command_context& c) {
  const std::filesystem::path file = c.line.argument("GOAL");
  const bool piped = file == "-";
  std::string input;
  if (piped) {
    input.resize(limits::goal_file_bytes_max + 1);
    std::cin.read(input.data(), static_cast<std::streamsize>(input.size()));
    input.resize(static_cast<std::size_t>(std::cin.gcount()));
    if (input.size() > limits::goal_file_bytes_max)
      return error{errc::too_large, "the goal on standard input has more than " + format_bytes(limits::goal_file_bytes_max)};
  }
  FLYWHEEL_TRY(const auto parsed, piped ? result<goal_parse>{parse_goal(input, std::filesystem::current_path(), c.line.overrides())}
                                        : parse_goal_file(file, c.line.overrides()));
  if (!parsed.problems.empty()) {
    auto text = piped ? result<std::string>{input} : read_file(file, 4u << 20);
    std::cerr << parsed.render(piped ? "standard input" : file.string(), text ? *text : std::string{}, c.colour_err);
  }
  if (!parsed.ok())
    return std::optional<prepared_goal>{};
  prepared_goal g;
  g.spec = parsed.spec;
  g.digest = digest_of(g.spec).hex();
  g.spec_json = to_json(g.spec).dump();
  FLYWHEEL_TRY(g.id, goal_id_of(g.spec, g.digest, g.source_bytes));
  return std::optional<prepared_goal>{std::move(g)};
}

unsigned machine_cores() {
  const auto n = ::sysconf(_SC_NPROCESSORS_ONLN);
  return n > 0 ? static_cast<unsigned>(n) : 1;
}

void print_plan(const command_context& c, const prepared_goal& g, std::ostream& out) {
  const auto plan = make_plan(g.id, g.digest, g.spec, g.source_bytes, machine_cores());
  if (c.style == output_style::table) {
    out << render_plan(plan, g.spec, c.colour);
    return;
  }
  auto j = to_json(plan);
  j["digest"] = plan_digest(plan);
  j["seconds"] = plan.seconds();
  j["slot_seconds"] = plan.slot_seconds();
  print_record(out, j, print_options_for_stdout(c.style, !c.colour));
}

int exit_code_of(const goal_run& run) {
  switch (run.phase) {
  case goal_phase::done: return 0;
  case goal_phase::waiting: return flywheel::exit_code_of(errc::waiting_for_approval);
  case goal_phase::cancelled: return 1;
  default: break;
  }
  for (const auto& [id, a] : run.approvals.all())
    if (a.phase == approval::state::denied)
      return flywheel::exit_code_of(errc::not_approved);
  for (const auto& [id, s] : run.steps)
    if (s.now == step_run::phase::failed)
      return std::max(1, flywheel::exit_code_of(s.problem.code));
  return 1;
}

void print_report(const command_context& c, const goal_follower& f) {
  const auto report = goal_report(f.run(), f.events());
  if (c.style == output_style::table)
    std::cout << render_report(report, c.colour) << std::flush;
  else if (c.style == output_style::name)
    std::cout << report.value("model", "") << std::endl;
  else
    print_record(std::cout, report, print_options_for_stdout(c.style, !c.colour));
}

goal_follower::options view_options(const command_context& c) {
  return {c.line.quiet(), c.line.verbose(), c.colour_err};
}

node_options options_for(const command_context& c) {
  node_options o;
  o.state = c.state;
  o.worker_command = own_program({"_worker"});
  o.code_version = "flywheel " FLYWHEEL_VERSION;
  return o;
}

/// Every goal of a journal, folded from it.
result<goal_table> read_goals(event_source& events) {
  goal_table table;
  FLYWHEEL_TRY([[maybe_unused]] const auto last, events.read(journal_filter{}, [&](const event& e) {
    table.apply(e);
    return true;
  }));
  return table;
}

/// The newest finished goal of each served name: what a restarted node must serve again.
std::vector<const goal_run*> to_serve(const goal_table& goals) {
  std::map<std::string, const goal_run*> newest;
  for (const auto& [id, run] : goals.all())
    if (run.phase == goal_phase::done) {
      auto& slot = newest[run.name];
      if (slot == nullptr || slot->submitted < run.submitted)
        slot = &run;
    }
  std::vector<const goal_run*> out;
  for (const auto& [name, run] : newest)
    out.push_back(run);
  return out;
}

// ---- following from another process -----------------------------------------------------------------------------------

/// What is left to say when somebody stops following a goal that is not over.
int leave_goal(const command_context& c, const goal_run& run, bool is_remote, bool asked_to_stop) {
  const bool nobody = !is_remote && owner_pid(c.state) == 0;
  if (nobody)
    std::cerr << "nobody is running " << run.id << " now; to go on: flywheel serve (or run the goal file again)\n";
  else if (asked_to_stop)
    std::cerr << "stopped watching; " << run.id << " goes on\n";
  return run.phase == goal_phase::waiting ? 6 : nobody ? 5 : 0;
}

/// Follows until the goal is over, waits for a person with nobody running it, or Ctrl-C. A head that is away is waited for: what happened is
/// in its journal, and following goes on with the first entry that was not seen.
result<int> follow_from_outside(const command_context& c, std::unique_ptr<event_source> events, const std::string& goal, bool report) {
  stop_signals stop;
  goal_follower f{std::move(events), goal, 0, view_options(c)};
  FLYWHEEL_TRY(auto seen, f.catch_up());
  const bool is_remote = f.source().is_remote();
  bool away = false;
  while (!f.run().over() && !stop.requested()) {
    auto now = f.source().wait(seen, 1s);
    if (now) {
      const auto last = f.catch_up();
      if (last)
        seen = *last;
      else
        now = last.error();
    }
    if (now && std::exchange(away, false) && !c.line.quiet())
      std::cerr << "the head is back\n";
    if (now || stop.requested())
      continue;
    const auto code = now.error().code;
    if (!is_remote && code == errc::unreachable)
      break;
    if (code != errc::unreachable && code != errc::timed_out && code != errc::interrupted)
      return now.error();
    f.finish_line();
    if (!std::exchange(away, true) && !c.line.quiet())
      std::cerr << "the head is away (" << now.error().what << "); watching goes on when it is back\n";
    pollfd pause{stop.fd(), POLLIN, 0}; // the gate dials by itself; there is nothing to wait for but time, or Ctrl-C
    ::poll(&pause, 1, 250);
  }
  if (!is_remote) {
    FLYWHEEL_TRY([[maybe_unused]] const auto last, f.catch_up());
  }
  f.finish_line();
  if (!f.run().over())
    return leave_goal(c, f.run(), is_remote, stop.requested());
  if (report)
    print_report(c, f);
  return exit_code_of(f.run());
}

/// Hands the goal to the process that owns the state directory, then follows it from here.
result<int> hand_over(const command_context& c, const prepared_goal& g, bool follow) {
  FLYWHEEL_TRY(const auto route, open_route(c));
  FLYWHEEL_TRY(const auto reply, route->ask({{"op", "submit"}, {"id", g.id}, {"user", user_name()},
                                             {"spec", g.spec_json}, {"approve", c.line.flag("approve")}}));
  if (!follow) {
    if (c.style == output_style::table)
      std::cout << "goal " << g.id << (reply.value("existed", false) ? " was accepted before\n" : " is accepted\n")
                << "to follow it: flywheel watch " << g.id << std::endl;
    else if (c.style == output_style::name)
      std::cout << g.id << std::endl;
    else
      print_record(std::cout, json{{"id", g.id}, {"seq", reply.value("seq", 0)}, {"existed", reply.value("existed", false)}},
                   print_options_for_stdout(c.style, !c.colour));
    return 0;
  }
  FLYWHEEL_TRY(auto events, open_events(c));
  return follow_from_outside(c, std::move(events), g.id, true);
}

/// Starts `flywheel serve` in the background and waits until it answers.
status start_in_background(const command_context& c) {
  if (auto made = state_directory::own(c.state); !made) // made as it must be, then left to the process that will own it
    return std::move(made).error();
  const auto file = state_layout{c.state}.log() / "node.log";
  FLYWHEEL_TRY(const auto pid, start_background(own_program({"serve", "--state", c.state.string()}), file));
  return wait_until_ready(pid, file, [&] {
    auto client = control_client::connect(c.state);
    return client && client->ask({{"op", "ping"}}, 2s);
  });
}

// ---- in this process --------------------------------------------------------------------------------------------------

/// Runs until the goal is over (and, with --serve, until it is stopped).
result<int> run_here(const command_context& c, const prepared_goal& g, node& n, stop_signals& stop) {
  std::atomic<bool> asked_to_stop{false};
  FLYWHEEL_TRY(auto endpoint, control_endpoint::open(n, [&] { asked_to_stop = true; }));
  const auto before = n.log().last_seq();
  const auto ack = n.submit({g.id, user_name(), g.spec_json, c.line.flag("approve")});
  if (ack.problem)
    return ack.problem.to_error();
  goal_follower f{local_events(c.state), g.id, ack.existed ? before : 0, view_options(c)};
  FLYWHEEL_TRY(auto seen, f.catch_up());
  if (ack.existed && !c.line.quiet())
    std::cerr << (f.run().over() ? "goal " + g.id + " is " + std::string{name_of(f.run().phase)} + " already\n"
                                 : "continuing goal " + g.id + "\n");
  const bool was_done = f.run().phase == goal_phase::done;
  const auto stopping = [&] { return stop.requested() || asked_to_stop; };
  while (!f.run().over() && !stopping()) {
    n.wait_after(seen, 250ms);
    FLYWHEEL_TRY(seen, f.catch_up());
  }
  f.finish_line();
  if (!f.run().over()) {
    std::cerr << "stopping; the same command continues " << g.id << "\n";
    return f.run().phase == goal_phase::waiting ? 6 : 130;
  }
  if (f.run().phase == goal_phase::done && c.line.flag("serve") && was_done) {
    const auto served = n.serve({g.id, g.spec_json});
    if (served.problem)
      return served.problem.to_error();
    std::cerr << served.version << " is served at " << served.url << "\n";
  }
  print_report(c, f);
  if (f.run().phase == goal_phase::done && c.line.flag("serve")) {
    std::cerr << "serving; Ctrl-C stops\n";
    while (!stopping())
      n.wait_after(n.log().last_seq(), 250ms);
  }
  return exit_code_of(f.run());
}

/// A goal by id, or the newest of that name, or (empty) the newest that is not over.
result<std::string> find_goal(const goal_table& goals, const std::string& wanted) {
  const goal_run* best = nullptr;
  std::vector<std::string> names;
  for (const auto& [id, run] : goals.all()) {
    names.push_back(id);
    names.push_back(run.name);
    const bool fits = wanted.empty() ? !run.over() : id == wanted || run.name == wanted;
    if (fits && (best == nullptr || best->submitted < run.submitted))
      best = &run;
  }
  if (best != nullptr)
    return best->id;
  if (wanted.empty())
    return error{errc::not_found, "no goal is running", {}, "run: flywheel goals"};
  const auto near = nearest(wanted, names);
  return error{errc::not_found, "no goal is called '" + printable(wanted, 80) + "'", {},
               near.empty() ? "run: flywheel goals" : "did you mean " + std::string{near} + "?"};
}

} // namespace

result<int> show_plan(const command_context& c) {
  FLYWHEEL_TRY(const auto g, prepare(c));
  if (!g)
    return 2;
  print_plan(c, *g, std::cout);
  return 0;
}

result<int> submit_only(const command_context& c) {
  FLYWHEEL_TRY(const auto g, prepare(c));
  if (!g)
    return 2;
  return hand_over(c, *g, false);
}

result<int> run_goal(const command_context& c) {
  FLYWHEEL_TRY(const auto g, prepare(c));
  if (!g)
    return 2;
  if (c.line.flag("dry-run")) {
    print_plan(c, *g, std::cout);
    return 0;
  }
  if (!c.line.quiet() && c.style == output_style::table)
    print_plan(c, *g, std::cerr);
  if (c.line.flag("detach")) {
    if (owner_pid(c.state) == 0)
      FLYWHEEL_CHECK(start_in_background(c));
    return hand_over(c, *g, true);
  }
  stop_signals stop; // before any thread is born: they inherit the mask
  auto n = node::start(options_for(c), system_clock());
  if (!n && n.error().code == errc::state_locked) {
    std::cerr << "another Flywheel (process " << owner_pid(c.state) << ") owns " << c.state.string()
              << "; the goal is handed to it\n";
    return hand_over(c, *g, true);
  }
  if (!n)
    return std::move(n).error();
  return run_here(c, *g, **n, stop);
}

result<int> follow_goal(const command_context& c) {
  FLYWHEEL_TRY(auto events, open_events(c));
  FLYWHEEL_TRY(const auto goals, read_goals(*events));
  FLYWHEEL_TRY(const auto id, find_goal(goals, c.line.argument("GOAL")));
  return follow_from_outside(c, std::move(events), id, true);
}

result<int> answer_request(const command_context& c, bool grant) {
  FLYWHEEL_TRY(const auto route, open_route(c));
  const auto by = c.line.text("by");
  FLYWHEEL_TRY(const auto reply, route->ask({{"op", "answer"}, {"approval", c.line.argument("ID")},
                                             {"user", by.empty() ? user_name() : by}, {"grant", grant},
                                             {"reason", grant ? std::string{} : c.line.text("reason")}}));
  std::cout << reply.value("text", "") << std::endl;
  return 0;
}

namespace {
bool is_gang(event_source& events, const std::string& name) {
  journal_filter filter;
  filter.kinds = {event_kind::gang_state};
  filter.subject = name;
  filter.limit = 1;
  bool found = false;
  const auto read = events.read(filter, [&](const event&) {
    found = true;
    return false;
  });
  return read && found;
}

} // namespace

result<int> cancel_running(const command_context& c) {
  std::string id;
  {
    FLYWHEEL_TRY(auto events, open_events(c));
    FLYWHEEL_TRY(const auto goals, read_goals(*events));
    auto goal = find_goal(goals, c.line.argument("GOAL"));
    if (!goal && (goal.error().code != errc::not_found || !is_gang(*events, c.line.argument("GOAL"))))
      return std::move(goal).error();
    id = goal ? *goal : c.line.argument("GOAL");
  }
  FLYWHEEL_TRY(const auto route, open_route(c));
  FLYWHEEL_TRY(const auto reply, route->ask({{"op", "cancel"}, {"id", id}, {"user", user_name()},
                                             {"reason", c.line.text("reason")}}));
  std::cout << reply.value("text", "") << std::endl;
  return 0;
}

result<int> serve_state(const command_context& c) {
  if (c.line.flag("stop")) {
    FLYWHEEL_TRY(auto client, control_client::connect(c.state));
    FLYWHEEL_TRY(const auto reply, client.ask({{"op", "stop"}}));
    // Gone when it no longer holds the lock; its end sends nothing, so ask until then.
    const auto until = system_clock().mono() + 30s;
    while (owner_pid(c.state) != 0 && system_clock().mono() < until)
      ::usleep(20'000);
    std::cout << "process " << reply.value("pid", 0) << (owner_pid(c.state) == 0 ? " stopped" : " is stopping") << std::endl;
    return 0;
  }
  if (c.line.flag("detach")) {
    FLYWHEEL_CHECK(start_in_background(c));
    std::cout << "serving in the background (process " << owner_pid(c.state) << "); to stop: flywheel serve --stop"
              << std::endl;
    return 0;
  }
  return own_state(c, std::nullopt);
}

result<int> own_state(const command_context& c, std::optional<cluster_options> cluster) {
  stop_signals stop;
  auto options = options_for(c);
  options.cluster = std::move(cluster);
  FLYWHEEL_TRY(auto n, node::start(std::move(options), system_clock()));
  std::atomic<bool> asked_to_stop{false};
  FLYWHEEL_TRY(auto endpoint, control_endpoint::open(*n, [&] { asked_to_stop = true; }));
  n->open_desk([&] { asked_to_stop = true; });
  if (auto goals = read_goals(*local_events(c.state)))
    for (const auto* run : to_serve(*goals)) {
      const auto served = n->serve({run->id, run->spec_json});
      if (served.problem)
        print_error(std::cerr, served.problem.to_error(), c.colour_err, c.style);
      else
        std::cout << served.version << " is served at " << served.url << std::endl;
    }
  if (!c.line.quiet())
    std::cerr << "owning " << c.state.string() << (n->cluster_address().empty() ? "" : ", head of a cluster at " + n->cluster_address()) << "; Ctrl-C stops\n";
  while (!stop.requested() && !asked_to_stop)
    n->wait_after(n->log().last_seq(), 250ms);
  return 0;
}

result<std::optional<checked_goal>> check_goal(const command_context& c) {
  FLYWHEEL_TRY(auto g, prepare(c));
  return g ? std::optional{checked_goal{g->id, g->spec.name, g->spec_json}} : std::nullopt;
}

result<int> run_batch_job(const command_context& c, cluster_options cluster, const batch_job& job) {
  FLYWHEEL_TRY(const auto g, prepare(c));
  if (!g)
    return 2;
  auto options = options_for(c);
  options.cluster = std::move(cluster);
  FLYWHEEL_TRY(const auto n, node::start(std::move(options), system_clock()));
  std::atomic<bool> asked_to_stop{false};
  FLYWHEEL_TRY(auto endpoint, control_endpoint::open(*n, [&] { asked_to_stop = true; }));
  n->open_desk([&] { asked_to_stop = true; });
  FLYWHEEL_CHECK(job.started(*n));
  const auto before = n->log().last_seq();
  const auto ack = n->submit({g->id, user_name(), g->spec_json, c.line.flag("approve")});
  if (ack.problem)
    return ack.problem.to_error();
  goal_follower f{local_events(c.state), g->id, ack.existed ? before : 0, view_options(c)};
  FLYWHEEL_TRY(auto seen, f.catch_up());
  if (ack.existed && !c.line.quiet())
    std::cerr << (f.run().over() ? "goal " + g->id + " is " + std::string{name_of(f.run().phase)} + " already\n" : "continuing goal " + g->id + "\n");
  std::optional<int> left;
  auto quiet_since = system_clock().mono();
  while (!f.run().over() && !left) {
    FLYWHEEL_TRY(left, job.turn(*n));
    if (!left && asked_to_stop) // flywheel down
      left = 1;
    // An allocation is too dear to wait in for a person; a moment, in case the answer is on its way.
    if (!left && f.run().phase == goal_phase::waiting && system_clock().mono() - quiet_since > 2s)
      left = flywheel::exit_code_of(errc::waiting_for_approval);
    if (left)
      break;
    const auto last = seen;
    n->wait_after(seen, 250ms);
    FLYWHEEL_TRY(seen, f.catch_up());
    if (seen != last)
      quiet_since = system_clock().mono();
  }
  f.finish_line();
  job.over(*n);
  FLYWHEEL_TRY([[maybe_unused]] const auto last, f.catch_up());
  if (f.run().over()) {
    print_report(c, f);
    return exit_code_of(f.run());
  }
  std::cerr << "goal " << g->id << " is not over; the same job again continues it\n";
  return *left;
}

} // namespace flywheel
