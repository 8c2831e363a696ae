// flywheel launch: a gang of processes on this machine; flywheel worker gang-train: a training to launch.

#include "actors/client/commands.hpp"
#include "actors/client/control_route.hpp"
#include "actors/client/launch_view.hpp"
#include "actors/client/line_writer.hpp"
#include "actors/client/stop_signals.hpp"
#include "checkpoints/sharded_store.hpp"
#include "cluster/base/ids.hpp"
#include "cluster/base/text.hpp"
#include "cluster/base/json.hpp"
#include "cluster/gang/rank_environment.hpp"
#include "cluster/gang/rank_keeper.hpp"
#include "cluster/journal/state_directory.hpp"
#include "models/gang/gang_training.hpp"

#include <arpa/inet.h>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

extern "C" char** environ;

namespace flywheel {
namespace {

namespace fs = std::filesystem;
constexpr const char *gang_variable = "FLYWHEEL_GANG", *checkpoint_variable = "FLYWHEEL_CHECKPOINT", *attempt_variable = "FLYWHEEL_ATTEMPT";

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "localhost";
}

/// A port that is free now; rank 0 listens on it in a moment.
result<int> free_port() {
  const owned_fd s{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (!s || ::bind(s.get(), generic, size) != 0 || ::getsockname(s.get(), generic, &size) != 0)
    return error_from_errno(errno, "looking for a free port for MASTER_PORT");
  return ntohs(address.sin_port);
}

result<std::string> private_folder() {
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  for (const std::string& parent : {std::string(runtime ? runtime : ""), fs::temp_directory_path().string()}) {
    std::string name = parent + "/flywheel-gang-XXXXXX";
    if (!parent.empty() && ::mkdtemp(name.data()) != nullptr)
      return name;
  }
  return error_from_errno(errno, "making a folder for the ranks to meet in", fs::temp_directory_path().string());
}

/// The duration of an option; nothing if it was not given.
result<std::optional<nanoseconds>> duration_of(const command_context& c, std::string_view option) {
  if (!c.line.given(option))
    return std::optional<nanoseconds>{};
  auto d = parse_duration(c.line.text(option));
  if (!d)
    return std::move(d).error().in("--" + std::string(option));
  return std::optional{*d};
}

struct launch_request {
  std::vector<std::string> command, gpus;
  std::uint64_t ranks = 1, memory_max = 0;
  fs::path checkpoints;
  gang_options watch;
  std::uint32_t restarts = 0;
};

result<launch_request> request_of(const command_context& c) {
  launch_request r;
  r.command = c.line.arguments("COMMAND");
  r.ranks = c.line.integer("ranks");
  if (r.ranks == 0 || r.ranks > static_cast<std::uint64_t>(gang_ranks_max))
    return error{errc::invalid_argument, "--ranks: a gang has 1 to " + std::to_string(gang_ranks_max) + " ranks, not " + std::to_string(r.ranks)};
  if (c.line.integer("restarts") > 1'000'000)
    return error{errc::invalid_argument, "--restarts: at most 1000000"};
  r.restarts = static_cast<std::uint32_t>(c.line.integer("restarts"));
  FLYWHEEL_TRY(const auto step, duration_of(c, "step-timeout"));
  if (step && step->count() == 0)
    r.watch.watches_hangs = false;
  else if (step)
    r.watch.watch.fixed = *step;
  FLYWHEEL_TRY(const auto start, duration_of(c, "start-timeout"));
  if (start) {
    r.watch.start_max = *start;
    r.watch.start_is_strict = true;
  }
  if (c.line.given("memory")) {
    auto bytes = parse_bytes(c.line.text("memory"));
    if (!bytes)
      return std::move(bytes).error().in("--memory");
    r.memory_max = *bytes;
  }
  const auto gpus = c.line.text("gpus"); // the parts look into it
  for (const auto g : split(gpus, ','))
    if (!trim(g).empty())
      r.gpus.emplace_back(trim(g));
  if (c.line.given("gpus") && r.gpus.size() != r.ranks)
    return error{errc::invalid_argument, "--gpus names " + std::to_string(r.gpus.size()) + " devices for " + std::to_string(r.ranks) + " ranks", {},
                 "name one device for each rank, e.g. --ranks 2 --gpus 0,1; or leave --gpus out: then every rank sees all"};
  if (c.line.given("checkpoint")) {
    std::error_code failed;
    r.checkpoints = fs::absolute(c.line.text("checkpoint"), failed);
    if (failed || c.line.text("checkpoint").empty())
      return error{errc::invalid_argument, "--checkpoint: '" + printable(c.line.text("checkpoint")) + "' is no folder's name"};
  }
  return r;
}

/// The value of a variable that `flywheel launch` sets.
result<std::string> launched_with(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr)
    return error{errc::invalid_argument, std::string(name) + " is not set", {}, "start it under 'flywheel launch --ranks N -- flywheel worker gang-train'"};
  return std::string(value);
}

} // namespace

namespace {

/// What the ranks have written to their files since the last look, line by line. Where the files are not to be seen there is nothing.
class rank_logs {
public:
  rank_logs(fs::path folder, std::uint64_t ranks, bool from_the_end) : folder_(std::move(folder)), at_(ranks, 0), partial_(ranks) {
    for (std::size_t r = 0; from_the_end && r < at_.size(); ++r) {
      std::error_code failed;
      const auto size = fs::file_size(file_of(r), failed);
      at_[r] = failed ? 0 : size;
    }
  }
  void show(const std::function<void(std::size_t rank, const std::string& line)>& print) {
    for (std::size_t r = 0; r < at_.size(); ++r) {
      std::ifstream in{file_of(r), std::ios::binary};
      if (!in.seekg(static_cast<std::streamoff>(at_[r])))
        continue;
      std::string more{std::istreambuf_iterator<char>{in}, {}};
      at_[r] += more.size();
      partial_[r] += more;
      for (auto end = partial_[r].find('\n'); end != std::string::npos; end = partial_[r].find('\n')) {
        const auto line = partial_[r].substr(0, end);
        partial_[r].erase(0, end + 1);
        if (!line.starts_with("--- "))
          print(r, line);
      }
    }
  }

private:
  fs::path file_of(std::size_t r) const { return folder_ / ("rank-" + std::to_string(r) + ".log"); }
  fs::path folder_;
  std::vector<std::uintmax_t> at_;
  std::vector<std::string> partial_;
};

/// The head may be started again meanwhile: asked for so long.
constexpr std::chrono::seconds head_patience{60};
/// A head that was killed and started again does not answer what its last life was asked.
constexpr std::chrono::seconds answer_max{5};

class cluster_launch {
public:
  cluster_launch(const command_context& c, const launch_request& r) : c_(c), request_(r) {}

  result<int> run() {
    FLYWHEEL_TRY(const auto order, order_json());
    FLYWHEEL_TRY(route_, open_route(c_));
    FLYWHEEL_TRY(const auto reply, ask({{"op", "launch"}, {"user", user_name()}, {"order", order}})); // the same again is harmless
    gang_ = reply.value("gang", "");
    const auto logs = reply.value("logs", "");
    const bool existed = reply.value("existed", false);
    if (c_.line.flag("detach")) {
      out_.write(STDOUT_FILENO, gang_, true);
      return 0;
    }
    say("gang " + gang_ + (existed ? " goes on" : " is ordered") + "; its ranks write to " + logs);
    return follow(rank_logs{c_.line.given("cluster") ? fs::path{"/nonexistent"} : fs::path{logs}, request_.ranks, existed});
  }

private:
  void say(const std::string& line) {
    if (!c_.line.quiet())
      out_.write(STDERR_FILENO, "flywheel: " + line, true);
  }

  result<nlohmann::json> order_json() const {
    using nlohmann::json;
    const auto& line = c_.line;
    const auto kind = line.text("slot");
    if (line.given("gpus"))
      return error{errc::invalid_argument, "--gpus names devices of this machine", {}, "with --on-cluster: --slot gpu, and the head chooses the devices"};
    std::int64_t priority = 0;
    const auto wanted = line.text("priority");
    if (const auto [end, bad] = std::from_chars(wanted.data(), wanted.data() + wanted.size(), priority); bad != std::errc{} || end != wanted.data() + wanted.size())
      return error{errc::invalid_argument, "--priority is a whole number, not '" + printable(wanted, 40) + "'"};
    FLYWHEEL_TRY(const auto time, duration_of(c_, "time"));
    FLYWHEEL_TRY(const auto step, duration_of(c_, "step-timeout"));
    FLYWHEEL_TRY(const auto start, duration_of(c_, "start-timeout"));
    json environment = json::array();
    for (const auto& e : line.list("env")) {
      const char* value = e.find('=') == std::string::npos ? std::getenv(e.c_str()) : nullptr;
      if (value == nullptr && e.find('=') == std::string::npos)
        return error{errc::invalid_argument, "--env: the variable " + printable(e, 60) + " is not set here", {}, "give it as NAME=VALUE"};
      environment.push_back(value == nullptr ? e : e + "=" + value);
    }
    std::error_code failed;
    const auto folder = fs::current_path(failed).string();
    const auto name = line.text("name");
    return json{{"id", name.empty() ? make_id("gang", system_clock().wall(), os_entropy()) : name},
                {"user", ""},
                {"command", request_.command},
                {"environment", environment},
                {"folder", folder},
                {"checkpoints", request_.checkpoints.string()},
                {"ranks", request_.ranks},
                {"kind", kind},
                {"memory_max", request_.memory_max},
                {"priority", priority},
                {"restarts_max", request_.restarts},
                {"time_max_ns", time ? time->count() : nanoseconds{std::chrono::hours{24 * 7}}.count()},
                {"stop_grace_ns", nanoseconds{std::chrono::seconds{10}}.count()},
                {"step_max_ns", step ? json(step->count()) : json()},
                {"start_max_ns", start ? json(start->count()) : json()}};
  }

  /// Asks the head; while it does not answer, again and again, for as long as it may take to start it anew.
  result<nlohmann::json> ask(const nlohmann::json& question) {
    const auto until = system_clock().mono() + head_patience;
    for (bool told = false;;) {
      auto reply = route_ ? route_->ask(question, answer_max) : result<nlohmann::json>{error{errc::unreachable, "the head does not answer"}};
      if (!reply && reply.error().code == errc::interrupted) { // a signal came meanwhile: what it asks for is looked at by whoever asks
        route_.reset();
        if (auto again = open_route(c_))
          route_ = std::move(*again);
        continue;
      }
      if (reply || (reply.error().code != errc::unreachable && reply.error().code != errc::timed_out) || system_clock().mono() >= until)
        return reply;
      if (!std::exchange(told, true))
        say("the head does not answer; the gang goes on, or will when it is started again");
      pollfd p{stop_.fd(), POLLIN, 0};
      if (stop_.requested() && asked_to_stop_)
        return reply;
      ::poll(&p, asked_to_stop_ ? 0 : 1, 500);
      if (stop_.requested())
        asked_to_stop_ = true; // it cannot be told: leave
      route_.reset();
      if (auto again = open_route(c_))
        route_ = std::move(*again);
    }
  }

  result<int> follow(rank_logs logs) {
    const bool as_json = c_.style == output_style::json;
    const auto print = [&](std::size_t rank, const std::string& line) {
      out_.write(as_json ? STDERR_FILENO : STDOUT_FILENO, "[" + std::to_string(rank) + "] " + line);
    };
    std::uint64_t seen = 0, grown = 0;
    for (;;) {
      FLYWHEEL_TRY(const auto waited, ask({{"op", "wait"}, {"after", grown}, {"timeout_ms", 250}}));
      grown = waited.value("seq", std::uint64_t{0});
      FLYWHEEL_TRY(const auto reply, ask({{"op", "gang"}, {"id", gang_}, {"after", seen}}));
      logs.show(print);
      for (const auto& e : reply.value("events", nlohmann::json::array())) {
        seen = e.value("seq", seen);
        const auto body = e.value("body", nlohmann::json::object());
        auto record = body;
        record["event"] = body.value("state", "");
        record["text"] = e.value("text", "");
        record["gang"] = gang_;
        if (as_json)
          out_.write(STDOUT_FILENO, record.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), true);
        say(e.value("text", ""));
        if (const auto end = end_in(body)) {
          logs.show(print);
          return exit_code_of(*end, stop_.signal_number());
        }
      }
      if (stop_.requested() && !std::exchange(asked_to_stop_, true)) {
        const auto told = ask({{"op", "cancel"}, {"id", gang_}, {"user", user_name()}, {"reason", "its launch was interrupted"}});
        if (!told && told.error().code != errc::not_found)
          return told.error();
      }
    }
  }

  const command_context& c_;
  const launch_request& request_;
  stop_signals stop_;
  line_writer out_;
  std::unique_ptr<control_route> route_;
  std::string gang_;
  bool asked_to_stop_ = false;
};

} // namespace

result<int> launch_gang(const command_context& c) {
  FLYWHEEL_TRY(const auto request, request_of(c));
  if (c.line.flag("on-cluster") || c.line.given("cluster")) {
    auto there = c;
    FLYWHEEL_TRY(there.state, default_state_path(c.line.text("state")));
    return cluster_launch{there, request}.run();
  }
  for (const char* option : {"name", "priority", "time", "env", "slot", "detach", "certs"})
    if (c.line.given(option) || (std::string_view{option} == "detach" && c.line.flag(option)))
      return error{errc::invalid_argument, "--" + std::string{option} + " is for gangs on a cluster", {}, "add --on-cluster"};
  FLYWHEEL_TRY(const auto folder, private_folder());
  stop_signals stop;
  line_writer out;
  const bool as_json = c.style == output_style::json;
  const auto say = [&](const std::string& line) {
    if (!line.empty() && !c.line.quiet())
      out.write(STDERR_FILENO, "flywheel: " + line, true);
  };
  gang_place place;
  place.run_id = make_id("run", system_clock().wall(), os_entropy());
  place.restarts_max = request.restarts;
  place.master_host = "127.0.0.1";
  place.rendezvous = folder;
  place.checkpoints = request.checkpoints.string();

  gang_plan plan;
  const auto host = host_name();
  nccl::gang_record record;
  record.gang = place.run_id;
  record.folder = folder;
  for (int r = 0; r < static_cast<int>(request.ranks); ++r) {
    plan.seats.push_back({host, request.gpus.empty() ? "cpu " + std::to_string(r) : "gpu " + request.gpus[static_cast<std::size_t>(r)], r});
    record.members.push_back({"127.0.0.1", -1});
  }
  plan.watch = request.watch;
  plan.restart.restarts_max = request.restarts;
  plan.launcher.host = host;
  plan.launcher.ranks = static_cast<int>(request.ranks);
  plan.launcher.scratch = folder;
  plan.launcher.keeper_command = own_program({"_keep"});
  plan.stop_fd = stop.fd();
  if (!request.checkpoints.empty()) {
    auto taken = take_attempt(request.checkpoints);
    if (!taken) {
      std::error_code ignored;
      fs::remove_all(folder, ignored);
      return std::move(taken).error();
    }
    plan.first_attempt = *taken;
  }
  plan.prepare = [&](std::uint64_t attempt) -> status {
    // The fence goes up before the new ranks start: whatever is left of the old attempt, wherever, publishes nothing any more.
    if (!request.checkpoints.empty() && attempt > plan.first_attempt) {
      FLYWHEEL_TRY(const auto taken, take_attempt(request.checkpoints, attempt - 1));
      (void)taken;
    }
    FLYWHEEL_TRY(place.master_port, free_port());
    return success();
  };
  std::vector<std::string> base;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
    if (!std::string_view{*entry}.starts_with(std::string(gang_variable) + "="))
      base.emplace_back(*entry);
  plan.command = [&](int rank, std::uint64_t attempt, std::uint32_t restart) -> result<rank_command> {
    place.attempt = attempt;
    place.restart = restart;
    record.rank = rank;
    record.generation = attempt;
    FLYWHEEL_TRY(const auto text, nccl::encode(record));
    rank_command command;
    command.rank = rank;
    command.attempt = attempt;
    command.arguments = request.command;
    command.memory_max = request.memory_max;
    command.environment = rank_environment(base, place, plan.seats, rank, request.gpus.empty() ? "" : request.gpus[static_cast<std::size_t>(rank)]);
    command.environment.push_back(std::string(gang_variable) + "=" + text);
    return command;
  };
  plan.tell = [&](const gang_event& e) {
    if (as_json)
      out.write(STDOUT_FILENO, record_of(e).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), true);
    say(line_of(e));
  };
  plan.output = [&](int rank, bool is_error, std::string_view line) {
    // Standard output holds only events where a program reads them.
    out.write(is_error || as_json ? STDERR_FILENO : STDOUT_FILENO, "[" + std::to_string(rank) + "] " + std::string(line));
  };
  FLYWHEEL_TRY(const auto done, supervise_gang(plan, system_clock()));
  if (as_json)
    out.write(STDOUT_FILENO, record_of(done).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), true);
  if (done.cause.end == gang_end::succeeded)
    say(done.restarts > 0 ? line_of(done) : "");
  else
    out.write(STDERR_FILENO, "flywheel: " + line_of(done), true);
  return exit_code_of(done, stop.signal_number());
}

result<int> keep_for_launcher(const command_context& c) { return keep_ranks(STDIN_FILENO, c.line.argument("ARGUMENT")); }

result<int> train_one_rank(const command_context& c) {
  FLYWHEEL_TRY(const auto text, launched_with(gang_variable));
  FLYWHEEL_TRY(const auto attempt, launched_with(attempt_variable));
  FLYWHEEL_TRY(const auto record, nccl::decode_gang_record(text));
  FLYWHEEL_TRY(auto board, rank_reporter::from_environment());
  gang_training_options o;
  o.attempt = std::strtoull(attempt.c_str(), nullptr, 10);
  const char* checkpoints = std::getenv(checkpoint_variable);
  o.checkpoints = checkpoints == nullptr ? "" : checkpoints;
  o.steps = c.line.integer("steps");
  o.checkpoint_every = c.line.integer("every");
  o.seed = c.line.integer("seed");
  o.sequences = c.line.integer("sequences");
  o.time = c.line.integer("length");
  o.shape.width = static_cast<std::uint32_t>(std::min<std::uint64_t>(c.line.integer("width"), 65'536));
  o.shape.hidden = 2 * o.shape.width;
  o.shape.layers = static_cast<std::uint32_t>(std::min<std::uint64_t>(c.line.integer("layers"), 1'000));
  const stop_signals stop;
  o.stop = [&stop] { return stop.requested(); };
  FLYWHEEL_TRY(const auto done, train_in_gang(record, o, board));
  if (done.stopped)
    return 128 + std::max(stop.signal_number(), SIGTERM); // another rank may have been asked, and not this one
  if (record.rank == 0) {
    char exact[64];
    std::snprintf(exact, sizeof exact, "%a", done.loss);
    print_record(std::cout,
                 {{"steps", o.steps}, {"resumed_from", done.resumed_from}, {"loss", done.loss}, {"loss_exact", exact}, {"weights", done.weights}},
                 print_options_for_stdout(c.style, !c.colour));
    std::cout.flush();
  }
  return 0;
}

} // namespace flywheel
