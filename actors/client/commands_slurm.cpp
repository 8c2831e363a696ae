// flywheel slurm: one goal in a Slurm job. The job's first node is the head, which starts the other nodes with srun.

#include "actors/client/commands.hpp"

#include "actors/client/child_process.hpp"
#include "actors/client/cluster_certificates.hpp"
#include "actors/client/control_route.hpp"
#include "actors/client/machine_slots.hpp"
#include "actors/client/slurm_script.hpp"
#include "actors/client/stop_signals.hpp"
#include "actors/protocol/control_format.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/content/file.hpp"
#include "cluster/content/publish.hpp"
#include "cluster/journal/state_directory.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <iostream>

namespace flywheel {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using namespace std::chrono_literals;

/// A job that is resubmitted more often than this gets nowhere: its time limit is too short for its goal.
constexpr unsigned continuations_max = 1000;
/// Of the time that Slurm leaves, the part in which trials may come to their end; the rest is for stopping in order.
constexpr double draining_share = 0.75;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

unsigned number_in(const char* name, unsigned otherwise) {
  const auto text = variable(name);
  unsigned n = 0;
  return std::from_chars(text.data(), text.data() + text.size(), n).ec == std::errc{} ? n : otherwise;
}

result<std::chrono::seconds> seconds_of(const command_context& c, std::string_view option) {
  auto d = parse_duration(c.line.text(option));
  if (!d)
    return std::move(d).error().in("--" + std::string{option} + ": ");
  return std::chrono::ceil<std::chrono::seconds>(*d);
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "localhost";
}

/// This node's own certificate under the state folder; made if it is not there.
result<fs::path> certificate_here(const fs::path& state) {
  const auto node = variable("SLURMD_NODENAME").empty() ? host_name() : variable("SLURMD_NODENAME");
  const auto name = certificate_name(node);
  std::vector<std::string> hosts{"localhost", "127.0.0.1"};
  for (const auto& h : {node, host_name()})
    if (certificate_name(h) == lower(h) && std::find(hosts.begin(), hosts.end(), lower(h)) == hosts.end())
      hosts.push_back(lower(h));
  FLYWHEEL_CHECK(ensure_certificate(state / "certs", name, role::node, hosts, system_clock().wall()));
  return state / "certs" / name;
}

/// What Slurm gave us of this node: its CPUs, and the GPUs that CUDA_VISIBLE_DEVICES lets us see.
std::vector<slot> allocated_slots(const command_context& c) {
  const auto cpus = c.line.given("slots") ? static_cast<unsigned>(std::min<std::uint64_t>(c.line.integer("slots"), 4096)) : number_in("SLURM_CPUS_ON_NODE", 1);
  return cpus == 0 ? std::vector<slot>{} : own_slots(cpus);
}

// ---- nodes that do not see the state folder -----------------------------------------------------------------------------

/// Of certificates that travel: no job is longer.
constexpr int joining_days = 31;
constexpr std::size_t joining_bytes_max = std::size_t{64} << 20;
/// A network file system may show late what the head wrote; a node that has its certificate from elsewhere waits no longer than this.
constexpr std::chrono::seconds shown_within{5};

/// Certificates for nodes that cannot make their own in the shared folder: srun gives this file to each of them as its standard input.
result<fs::path> joining_file(const fs::path& state, const std::string& job, unsigned nodes, const std::string& address) {
  const auto now = system_clock().wall();
  FLYWHEEL_TRY(const auto authority, certificate_authority::open(state / "certs"));
  const auto at = state_layout{state}.run() / "joining";
  std::error_code code;
  fs::remove_all(at, code);
  if (!fs::create_directories(at, code))
    return error_from_errno(code.value(), "create " + at.string());
  json all{{"address", address}, {"nodes", json::array()}};
  for (unsigned i = 0; i < nodes; ++i) {
    const auto name = certificate_name("job" + job + "-" + std::to_string(i + 1));
    FLYWHEEL_CHECK(authority.issue({name, role::node, {"localhost", "127.0.0.1"}, joining_days}, at, now));
    FLYWHEEL_TRY(const auto certificate, read_file(at / (name + ".pem"), joining_bytes_max));
    FLYWHEEL_TRY(const auto key, read_file(at / (name + ".key"), joining_bytes_max));
    all["nodes"].push_back({{"name", name}, {"certificate", certificate}, {"key", key}});
  }
  FLYWHEEL_TRY(const auto ca, read_file(at / "ca.pem", joining_bytes_max));
  all["ca"] = ca;
  fs::remove_all(at, code);
  const auto file = state_layout{state}.run() / "joining.json"; // in a folder that nobody else may enter
  FLYWHEEL_CHECK(publish_file(file, all.dump()));
  return file;
}

/// What srun gives us: this node's part of it. Nothing if it is not that.
std::optional<json> joining_from_input(const std::string& address, std::chrono::seconds patience) {
  std::string text, buffer(std::size_t{64} << 10, '\0');
  const auto until = system_clock().mono() + patience;
  for (auto now = system_clock().mono(); now < until; now = system_clock().mono()) {
    pollfd input{0, POLLIN, 0};
    if (::poll(&input, 1, static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(until - now).count())) <= 0)
      continue;
    const auto got = ::read(0, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0 || text.size() > joining_bytes_max)
      break;
    text.append(buffer, 0, static_cast<std::size_t>(got));
  }
  const auto all = json::parse(text, nullptr, false);
  const auto number = number_in("SLURM_PROCID", 0);
  if (!all.is_object() || all.value("address", json{}) != address || !all.value("nodes", json{}).is_array() || number >= all["nodes"].size())
    return std::nullopt;
  auto mine = all["nodes"][number];
  mine["ca"] = all.value("ca", json{});
  for (const auto* key : {"name", "certificate", "key", "ca"})
    if (!mine.contains(key) || !mine[key].is_string())
      return std::nullopt;
  return mine;
}

/// A folder of this node alone, for as long as the node runs.
class own_folder {
public:
  static result<own_folder> make() {
    auto in = variable("TMPDIR");
    auto pattern = (in.empty() ? std::string{"/tmp"} : in) + "/flywheel-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) // mode 0700
      return error_from_errno(errno, "make a folder in " + (in.empty() ? "/tmp" : in));
    own_folder f;
    f.path_ = pattern;
    return f;
  }
  own_folder(own_folder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  ~own_folder() {
    std::error_code ignored;
    if (!path_.empty())
      fs::remove_all(path_, ignored);
  }
  const fs::path& path() const noexcept { return path_; }

private:
  own_folder() = default;
  fs::path path_;
};

/// Slurm knows how this node reaches the head's: srun came from there.
std::string address_from_here(const std::string& address) {
  const auto launcher = variable("SLURM_LAUNCH_NODE_IPADDR");
  return launcher.empty() ? address : (launcher.find(':') == std::string::npos ? launcher : "[" + launcher + "]") + address.substr(address.rfind(':'));
}

status write_certificate(const fs::path& folder, const json& mine) {
  std::error_code code;
  if (!fs::create_directories(folder, code))
    return error_from_errno(code.value(), "create " + folder.string());
  const auto name = certificate_name(mine.value("name", ""));
  FLYWHEEL_CHECK(publish_file(folder / "ca.pem", mine.value("ca", "")));
  FLYWHEEL_CHECK(publish_file(folder / (name + ".pem"), mine.value("certificate", "")));
  return publish_with(folder / (name + ".key"), [&](const fs::path& temporary) -> status {
    FLYWHEEL_TRY(auto file, open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, 0600));
    FLYWHEEL_CHECK(write_all(file.get(), mine.value("key", ""), temporary));
    return file.close(temporary);
  });
}

std::atomic<bool> end_is_near{false};
extern "C" void on_end_is_near(int) { end_is_near = true; }

// ---- submitting -------------------------------------------------------------------------------------------------------

result<slurm_script> script_for(const command_context& c, const checked_goal& g) {
  slurm_script s;
  s.name = "flywheel-" + g.name.substr(0, 40);
  s.program = own_program({})[0];
  s.goal = g.spec_json;
  FLYWHEEL_TRY(s.grace, seconds_of(c, "grace"));
  FLYWHEEL_TRY(const auto patience, seconds_of(c, "join-timeout"));
  s.boot_options = {"--state", c.state.string(), "--grace", std::to_string(s.grace.count()) + "s", "--join-timeout", std::to_string(patience.count()) + "s"};
  if (c.line.given("stop-after")) {
    FLYWHEEL_TRY(const auto after, seconds_of(c, "stop-after"));
    s.boot_options.insert(s.boot_options.end(), {"--stop-after", std::to_string(after.count()) + "s"});
  }
  if (c.line.given("slots"))
    s.boot_options.insert(s.boot_options.end(), {"--slots", std::to_string(c.line.integer("slots"))});
  for (const auto* flag : {"approve", "no-requeue"})
    if (c.line.flag(flag))
      s.boot_options.push_back("--" + std::string{flag});
  s.sbatch_options = c.line.arguments("SBATCH_OPTION");
  return s;
}

void tell_job(const command_context& c, const std::string& id, const std::string& goal, const fs::path& script) {
  if (c.style == output_style::name)
    std::cout << id << std::endl;
  else if (c.style == output_style::table)
    std::cout << "job " << id << " will work for goal " << goal << "\n"
              << "to follow it:  tail -F " << (state_layout{c.state}.log() / ("slurm-" + id + ".out")).string() << std::endl;
  else
    print_record(std::cout, json{{"job", id}, {"goal", goal}, {"script", script.string()}}, print_options_for_stdout(c.style, !c.colour));
}

/// Whether the person says where the job's output goes.
bool names_output(const std::vector<std::string>& sbatch_options) {
  return std::any_of(sbatch_options.begin(), sbatch_options.end(), [](const std::string& o) { return o.starts_with("-o") || o.starts_with("--output"); });
}

/// One job, from sbatch to its id or (with --wait) to its exit code.
result<int> submit_once(const command_context& c, const std::string& goal, const fs::path& script) {
  std::vector<std::string> words{"sbatch", "--parsable"};
  if (c.line.flag("wait"))
    words.push_back("--wait");
  words.push_back(script.string());
  auto sbatch = child_process::start(std::move(words), true);
  if (!sbatch) {
    auto e = std::move(sbatch).error();
    if (e.code == errc::not_found)
      e.hint = "this is not a machine from which jobs are submitted; there: sbatch " + script.string();
    return e;
  }
  const auto line = sbatch->read_line();
  if (!line || line->empty()) {
    const int status = sbatch->wait();
    return error{errc::library_failed, "sbatch refused the job (its exit code: " + std::to_string(status) + ")", script.string(), "what it said stands above"};
  }
  const auto id = line->substr(0, line->find(';'));
  tell_job(c, id, goal, script);
  const int code = sbatch->wait();
  std::error_code ignored;
  if (c.line.flag("wait") && code != 0 && !fs::exists(state_layout{c.state}.log() / ("slurm-" + id + ".out"), ignored) && !names_output(c.line.arguments("SBATCH_OPTION")))
    return error{errc::unsupported, "job " + id + " failed (exit code " + std::to_string(code) + ") and left no output in " + state_layout{c.state}.log().string(), {},
                 "its first node must see the state folder: name one on a file system that all nodes share with this machine: --state DIR"};
  return code;
}

// ---- in the job -------------------------------------------------------------------------------------------------------

class slurm_job {
public:
  slurm_job(const command_context& c, std::string id, unsigned nodes, std::chrono::seconds grace, std::chrono::seconds patience, std::optional<std::chrono::seconds> stop_after)
      : c_(&c), id_(std::move(id)), nodes_(nodes), grace_(grace), patience_(patience), stop_after_(stop_after) {}

  batch_job hooks() {
    return {[this](node& n) { return start_others(n); }, [this](node& n) { return turn(n); }, [this](node& n) { end_others(n); }};
  }

private:
  void say(const std::string& sentence) const {
    if (!c_->line.quiet())
      std::cerr << to_iso8601(system_clock().wall()) << " slurm: " << sentence << std::endl;
  }

  status start_others(node& n) {
    say("job " + id_ + (restarts() == 0 ? "" : ", restarted " + std::to_string(restarts()) + " times") + ": the head listens at " + n.cluster_address());
    if (nodes_ < 2)
      return success();
    const auto others = std::to_string(nodes_ - 1);
    // One process a node, whatever the job's options say about tasks; a node that goes does not take the others with it.
    std::vector<std::string> words{"srun", "--nodes=" + others, "--ntasks=" + others, "--ntasks-per-node=1", "--relative=1", "--overlap", "--mpi=none",
                                   "--no-kill", "--kill-on-bad-exit=0", "--wait=0"};
    FLYWHEEL_TRY(const auto joining, joining_file(c_->state, id_, nodes_ - 1, n.cluster_address()));
    words.push_back("--input=" + joining.string());
    if (!variable("SLURM_CPUS_PER_TASK").empty()) // steps do not inherit it
      words.push_back("--cpus-per-task=" + variable("SLURM_CPUS_PER_TASK"));
    for (auto& w : own_program({"slurm", "node", "--join", n.cluster_address(), "--state", c_->state.string(), "--join-timeout", std::to_string(patience_.count()) + "s"}))
      words.push_back(std::move(w));
    if (c_->line.given("slots"))
      words.insert(words.end(), {"--slots", c_->line.text("slots")});
    if (c_->line.quiet())
      words.push_back("--quiet");
    FLYWHEEL_TRY(auto srun, child_process::start(std::move(words)));
    srun_.emplace(std::move(srun));
    return success();
  }

  static unsigned restarts() { return number_in("SLURM_RESTART_COUNT", 0); }

  static json nodes_of(node& n) {
    const auto answer = n.nodes();
    const auto reply = answer.problem ? result<json>{answer.problem.to_error()} : control::decode(answer.body);
    return reply ? reply->value("nodes", json::array()) : json::array();
  }

  result<std::optional<int>> turn(node& n) {
    const auto now = system_clock().mono();
    if (stop_.requested()) {
      say("Slurm ends the job (signal " + std::to_string(stop_.signal_number()) + ")");
      return std::optional{128 + stop_.signal_number()};
    }
    if (srun_ && !others_gone_)
      if (const auto status = srun_->wait_for(0s)) {
        others_gone_ = true;
        if (*status == exit_not_shared)
          return error{errc::unsupported, "the other nodes of the job do not see " + c_->state.string(), {},
                       "name a state folder on a file system that all nodes share: --state DIR"};
        if (!ready_)
          return error{errc::unreachable, "the other nodes of the job did not join (exit code of srun: " + std::to_string(*status) + ")", {},
                       "what they said stands above; is " + own_program({})[0] + " on every node?"};
        say("the other nodes are gone (exit code of srun: " + std::to_string(*status) + "); the head goes on alone");
      }
    if (!ready_)
      look_for_nodes(n, now);
    if (!draining_ && (end_is_near || (stop_after_ && now - begin_ > *stop_after_)))
      start_to_drain(n, now);
    if (draining_) {
      int busy = 0;
      for (const auto& v : nodes_of(n))
        busy += v.value("busy", 0);
      if (busy == 0 || now - *draining_ > grace_ * draining_share) {
        say(busy == 0 ? "drained: nothing runs any more" : "out of time: " + std::to_string(busy) + " trials go on later, from their checkpoints");
        return std::optional{exit_again};
      }
    }
    return std::optional<int>{};
  }

  void look_for_nodes(node& n, mono_time now) {
    const auto all = nodes_of(n);
    const auto at_work = static_cast<unsigned>(std::count_if(all.begin(), all.end(), [&](const auto& v) {
      return v.value("state", "") == "alive" && (v.value("slots", 0) > 0 || c_->line.text("slots") == "0");
    }));
    ready_ = at_work >= nodes_;
    if (ready_) {
      say("ready: " + std::to_string(nodes_) + " nodes, " + format_duration(now - begin_) + " after the start");
    } else if (!missed_ && now - begin_ > patience_) {
      missed_ = true;
      say("only " + std::to_string(at_work) + " of " + std::to_string(nodes_) + " nodes have joined; the goal goes on with them");
    }
  }

  void start_to_drain(node& n, mono_time now) {
    draining_ = now;
    say(std::string{end_is_near ? "the time limit is near" : "--stop-after is over"} + ": no new trials from now on");
    for (const auto& v : nodes_of(n))
      if (v.value("state", "") == "alive")
        if (const auto told = n.drain({v.value("node", ""), user_name()}); told.problem)
          say("node " + v.value("node", "") + " cannot be drained: " + told.problem.to_error().to_string());
  }

  void end_others(node& n) {
    if (!srun_)
      return;
    (void)n.shut_down_nodes({user_name()});
    if (!srun_->wait_for(10s))
      say("the other nodes do not end by themselves; Slurm ends them");
    srun_.reset();
  }

  const command_context* c_;
  std::string id_;
  unsigned nodes_;
  std::chrono::seconds grace_, patience_;
  std::optional<std::chrono::seconds> stop_after_;
  mono_time begin_ = system_clock().mono();
  stop_signals stop_;
  std::optional<child_process> srun_;
  std::optional<mono_time> draining_;
  bool ready_ = false, missed_ = false, others_gone_ = false;
};

/// Puts the job back into the queue. Where that cannot be done from here, the exit code asks for it.
void requeue(const command_context& c, const std::string& id) {
  const auto how = "exit code " + std::to_string(exit_again) + " asks for it: flywheel slurm submit --wait submits it again, and so does Slurm with RequeueExit=" +
                   std::to_string(exit_again);
  if (number_in("SLURM_RESTART_COUNT", 0) >= continuations_max) {
    std::cerr << "slurm: restarted " << continuations_max << " times; not again" << std::endl;
    return;
  }
  auto scontrol = child_process::start({"scontrol", "requeue", id});
  const auto status = scontrol ? scontrol->wait_for(30s) : std::optional<int>{};
  // Slurm ends the processes of a job that it requeues: scontrol is one of them, and may not live to tell.
  const bool done = status == 0 || status == 128 + SIGTERM || status == 128 + SIGKILL;
  if (c.line.quiet())
    return;
  std::cerr << "slurm: " << (done ? "job " + id + " is requeued" : scontrol ? "scontrol did not requeue job " + id + "; " + how
                                                                                  : "there is no scontrol here; " + how)
            << std::endl;
}

} // namespace

result<int> render_slurm_script(const command_context& c) {
  FLYWHEEL_TRY(const auto g, check_goal(c));
  if (!g)
    return 2;
  FLYWHEEL_TRY(const auto s, script_for(c, *g));
  FLYWHEEL_TRY(const auto text, render(s));
  std::cout << text << std::flush;
  return 0;
}

result<int> submit_to_slurm(const command_context& c) {
  FLYWHEEL_TRY(const auto g, check_goal(c));
  if (!g)
    return 2;
  FLYWHEEL_TRY(auto s, script_for(c, *g));
  if (auto made = state_directory::own(c.state); !made) // made as it must be, then left to the job
    return std::move(made).error();
  s.output = state_layout{c.state}.log().string();
  FLYWHEEL_TRY(const auto text, render(s));
  const auto script = state_layout{c.state}.log() / (g->id + ".sbatch");
  FLYWHEEL_CHECK(publish_file(script, text));
  for (unsigned i = 0; i < continuations_max; ++i) {
    FLYWHEEL_TRY(const auto code, submit_once(c, g->id, script));
    if (code != exit_again || !c.line.flag("wait") || c.line.flag("no-requeue"))
      return code;
    std::cerr << "the job ended before its goal, and could not requeue itself: submitting it again\n";
  }
  return error{errc::timed_out, "the goal is not over after " + std::to_string(continuations_max) + " jobs", {}, "give a job more time: -- --time=..."};
}

result<int> boot_in_slurm(const command_context& c) {
  const auto id = variable("SLURM_JOB_ID");
  if (id.empty() || variable("SLURMD_NODENAME").empty())
    return error{errc::invalid_argument, "this is not a batch job of Slurm", {}, "flywheel slurm submit GOAL makes one"};
  std::signal(SIGUSR1, on_end_is_near);
  FLYWHEEL_TRY(const auto grace, seconds_of(c, "grace"));
  FLYWHEEL_TRY(const auto patience, seconds_of(c, "join-timeout"));
  std::optional<std::chrono::seconds> stop_after;
  if (c.line.given("stop-after")) {
    FLYWHEEL_TRY(stop_after, seconds_of(c, "stop-after"));
  }
  slurm_job job{c, id, std::max(number_in("SLURM_JOB_NUM_NODES", 1), 1u), grace, patience, stop_after};
  if (auto made = state_directory::own(c.state); !made) // the certificates go into it before the head owns it
    return std::move(made).error();
  FLYWHEEL_CHECK(ensure_authority(c.state / "certs", system_clock().wall()));
  FLYWHEEL_CHECK(ensure_certificate(c.state / "certs", admin_name(user_name()), role::admin, {}, system_clock().wall()));
  FLYWHEEL_TRY(const auto own, certificate_here(c.state));
  cluster_options o;
  FLYWHEEL_TRY(o.files, tls_files_in(own));
  o.address.clear(); // every address: which one the other nodes reach is Slurm's to say, and mutual TLS guards all
  o.slots = allocated_slots(c);
  FLYWHEEL_TRY(const auto code, run_batch_job(c, std::move(o), job.hooks()));
  if (code == exit_again && !c.line.flag("no-requeue"))
    requeue(c, id);
  return code;
}

result<int> work_in_slurm(const command_context& c) {
  if (variable("SLURM_JOB_ID").empty())
    return error{errc::invalid_argument, "this is not a job of Slurm", {}, "flywheel slurm boot starts it in one"};
  // The address that the head wrote into the shared folder is the proof that it is shared. A network file system may show it late.
  const auto address = c.line.text("join");
  FLYWHEEL_TRY(const auto patience, seconds_of(c, "join-timeout"));
  const auto shared = [&] {
    const auto text = read_file(state_layout{c.state}.run() / "cluster.json", 4096);
    const auto j = text ? json::parse(*text, nullptr, false) : json{};
    return j.is_object() && j.value("address", json{}) == address;
  };
  const auto mine = joining_from_input(address, patience);
  stop_signals stop;
  const auto begin = system_clock().mono(), until = begin + patience;
  std::error_code ignored;
  while (!shared()) {
    if (mine && (!fs::exists(c.state, ignored) || system_clock().mono() >= begin + shown_within)) {
      FLYWHEEL_TRY(const auto folder, own_folder::make());
      FLYWHEEL_CHECK(write_certificate(folder.path() / "certs", *mine));
      auto own = c;
      own.state = folder.path() / "state";
      return work_for_head(own, address_from_here(address), folder.path() / "certs", allocated_slots(c));
    }
    if (system_clock().mono() >= until) {
      print_error(std::cerr, error{errc::unsupported, host_name() + " does not see what the head wrote to " + c.state.string(), {},
                                   "name a state folder on a file system that all nodes share: --state DIR"}, false, c.style);
      return exit_not_shared;
    }
    pollfd ended{stop.fd(), POLLIN, 0}; // another machine's write sends no event
    if (::poll(&ended, 1, 100) > 0)
      return 128 + stop.signal_number();
  }
  FLYWHEEL_TRY(const auto certs, certificate_here(c.state));
  auto own = c;
  own.state = c.state / "nodes" / certs.filename();
  return work_for_head(own, address_from_here(address), certs, allocated_slots(c));
}

} // namespace flywheel
