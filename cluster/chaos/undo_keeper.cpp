#include "cluster/chaos/undo_keeper.hpp"

#include "cluster/base/json.hpp"
#include "cluster/chaos/population_store.hpp"
#include "cluster/content/file.hpp"
#include "cluster/journal/state_directory.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

extern char** environ;

namespace flywheel {
namespace {

using nlohmann::json;

constexpr std::uint32_t frame_max = 8u << 20;

bool send_frame(int fd, const std::string& bytes) {
  const auto size = static_cast<std::uint32_t>(bytes.size());
  std::string all(sizeof size, '\0');
  std::memcpy(all.data(), &size, sizeof size);
  all += bytes;
  for (std::size_t sent = 0; sent < all.size();) {
    const auto n = ::send(fd, all.data() + sent, all.size() - sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EINTR)
      return false;
    sent += n > 0 ? static_cast<std::size_t>(n) : 0;
  }
  return true;
}

bool receive(int fd, char* to, std::size_t size) {
  for (std::size_t got = 0; got < size;) {
    const auto n = ::recv(fd, to + got, size - got, 0);
    if (n == 0 || (n < 0 && errno != EINTR))
      return false;
    got += n > 0 ? static_cast<std::size_t>(n) : 0;
  }
  return true;
}

bool receive_frame(int fd, std::string& bytes) {
  std::uint32_t size = 0;
  if (!receive(fd, reinterpret_cast<char*>(&size), sizeof size) || size > frame_max)
    return false;
  bytes.resize(size);
  return receive(fd, bytes.data(), size);
}

std::vector<char*> pointers_to(std::vector<std::string>& words) {
  std::vector<char*> p;
  for (auto& w : words)
    p.push_back(w.data());
  p.push_back(nullptr);
  return p;
}

json to_json(const undo_action& a) {
  return {{"what", static_cast<int>(a.what)}, {"text", a.text}, {"pid", a.pid}, {"started", a.started}, {"file", a.file.string()},
          {"folder", a.folder.string()}, {"log", a.log.string()}, {"commands", a.commands}, {"environment", a.environment}};
}
undo_action from_json(const json& j) {
  undo_action a;
  a.what = static_cast<undo_action::sort>(j.at("what").get<int>());
  j.at("text").get_to(a.text);
  j.at("pid").get_to(a.pid);
  j.at("started").get_to(a.started);
  a.file = j.at("file").get<std::string>();
  a.folder = j.at("folder").get<std::string>();
  a.log = j.at("log").get<std::string>();
  j.at("commands").get_to(a.commands);
  j.at("environment").get_to(a.environment);
  return a;
}

/// All that runs in the keeper's process.
class keeper_loop {
public:
  explicit keeper_loop(int fd) : fd_(fd) {}

  void serve() {
    std::string request;
    while (wait() && receive_frame(fd_, request)) {
      json reply;
      try {
        reply = answer(json::parse(request));
      } catch (const std::exception& e) {
        reply = {{"error", e.what()}};
      }
      if (!send_frame(fd_, reply.dump(-1, ' ', false, json::error_handler_t::replace)))
        break;
    }
    for (auto i = undos_.rbegin(); i != undos_.rend(); ++i) // nobody strikes any more
      (void)carry_out(i->second);
    while (!burners_.empty())
      stop_burning(burners_.begin()->first);
  }

private:
  /// Until something comes; meanwhile the dead are buried, whom a stroke killed or a restart left.
  bool wait() {
    for (;;) {
      pollfd p{fd_, POLLIN, 0};
      const int n = ::poll(&p, 1, 200);
      while (::waitpid(-1, nullptr, WNOHANG) > 0) {
      }
      if (n > 0 || (n < 0 && errno != EINTR))
        return n > 0;
    }
  }

  json answer(const json& m) {
    const auto op = m.value("op", "");
    const auto id = m.value("id", std::uint64_t{0});
    if (op == "add") {
      undos_.emplace(++last_, from_json(m.at("undo")));
      return {{"id", last_}};
    }
    if (op == "burn")
      return burn(m.value("workers", 1u));
    if (op == "forget") {
      undos_.erase(id);
      return {{"id", id}};
    }
    if (burners_.contains(id)) {
      stop_burning(id);
      return {{"id", id}};
    }
    const auto i = undos_.find(id);
    if (i == undos_.end())
      return {{"id", id}};
    const auto a = std::move(i->second);
    undos_.erase(i);
    const auto problem = carry_out(a);
    return problem.empty() ? json{{"id", id}} : json{{"error", a.text + ": " + problem}};
  }

  std::string carry_out(const undo_action& a) {
    switch (a.what) {
    case undo_action::sort::thaw: (void)signal_process(a.pid, a.started, SIGCONT); return {};
    case undo_action::sort::kill: (void)signal_process(a.pid, a.started, SIGKILL); return {};
    case undo_action::sort::remove: return ::unlink(a.file.c_str()) == 0 || errno == ENOENT ? "" : std::strerror(errno);
    case undo_action::sort::run: {
      std::string problem;
      for (auto command : a.commands)
        if (const auto p = run(std::move(command)); !p.empty())
          problem += (problem.empty() ? "" : "; ") + p;
      return problem;
    }
    case undo_action::sort::start: {
      const int holder = owner_pid(a.file);
      return holder != 0 && holder != a.pid ? "" : start(a);
    }
    }
    return {};
  }

  std::string run(std::vector<std::string> words) {
    pid_t pid = 0;
    auto argv = pointers_to(words);
    if (const int code = ::posix_spawnp(&pid, argv[0], nullptr, nullptr, argv.data(), environ); code != 0)
      return words[0] + ": " + std::strerror(code);
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "" : words[0] + " failed";
  }

  std::string start(const undo_action& a) {
    auto words = a.commands.at(0);
    auto variables = a.environment;
    auto argv = pointers_to(words), envp = pointers_to(variables);
    const auto log = a.log.empty() ? std::string{"/dev/null"} : a.log.string();
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
    if (!a.folder.empty())
      posix_spawn_file_actions_addchdir_np(&files, a.folder.c_str());
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t as_born;
    sigemptyset(&as_born);
    for (const int s : {SIGINT, SIGTERM, SIGHUP, SIGPIPE})
      sigaddset(&as_born, s);
    posix_spawnattr_setsigdefault(&attributes, &as_born); // the keeper ignores them; a node must not
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF);
    pid_t pid = 0;
    const int code = ::posix_spawnp(&pid, argv[0], &files, &attributes, argv.data(), envp.data());
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    return code == 0 ? "" : words[0] + ": " + std::strerror(code);
  }

  json burn(unsigned workers) {
    const int own = ::getpid();
    auto& pids = burners_[++last_];
    for (unsigned i = 0; i < workers; ++i) {
      const pid_t pid = ::fork();
      if (pid == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != own)
          ::_exit(0);
        for (std::atomic<std::uint64_t> n{0};;)
          n.fetch_add(1, std::memory_order_relaxed);
      }
      if (pid > 0)
        pids.push_back(pid);
    }
    return {{"id", last_}};
  }
  void stop_burning(std::uint64_t id) {
    for (const pid_t pid : burners_[id])
      ::kill(pid, SIGKILL);
    for (const pid_t pid : burners_[id])
      while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
      }
    burners_.erase(id);
  }

  int fd_;
  std::uint64_t last_ = 0;
  std::map<std::uint64_t, undo_action> undos_;
  std::map<std::uint64_t, std::vector<pid_t>> burners_;
};

} // namespace

result<undo_keeper> undo_keeper::start() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return error_from_errno(errno, "socketpair");
  const pid_t pid = ::fork();
  if (pid < 0) {
    const auto failed = error_from_errno(errno, "starting the keeper");
    ::close(ends[0]);
    ::close(ends[1]);
    return failed;
  }
  if (pid == 0) {
    ::close(ends[0]);
    ::setsid(); // what ends the terminal's programs does not end it
    for (const int s : {SIGINT, SIGTERM, SIGHUP, SIGPIPE})
      ::signal(s, SIG_IGN);
    if (const int none = ::open("/dev/null", O_RDWR | O_CLOEXEC); none >= 0) {
      ::dup2(none, STDIN_FILENO);
      ::dup2(none, STDOUT_FILENO);
    }
    keeper_loop{ends[1]}.serve();
    ::_exit(0);
  }
  ::close(ends[1]);
  undo_keeper k;
  k.fd_ = ends[0];
  k.pid_ = pid;
  return k;
}

undo_keeper::undo_keeper(undo_keeper&& other) noexcept : fd_(std::exchange(other.fd_, -1)), pid_(std::exchange(other.pid_, -1)) {}

undo_keeper::~undo_keeper() {
  if (fd_ < 0)
    return;
  ::close(fd_);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

result<std::uint64_t> undo_keeper::ask(const std::string& request) {
  std::string reply;
  if (request.size() > frame_max)
    return error{errc::too_large, "what undoes a stroke is larger than " + std::to_string(frame_max) + " bytes"};
  if (!send_frame(fd_, request) || !receive_frame(fd_, reply))
    return error{errc::interrupted, "the keeper that undoes strokes has ended", {}, "look for frozen processes: ps -o pid,stat,args | grep flywheel"};
  const auto j = json::parse(reply, nullptr, false);
  if (!j.is_object() || !j.contains("id"))
    return error{errc::io_failed, j.is_object() ? j.value("error", "") : std::string{"an answer that is none"}};
  return j["id"].get<std::uint64_t>();
}

result<std::uint64_t> undo_keeper::add(const undo_action& a) {
  return ask(json{{"op", "add"}, {"undo", to_json(a)}}.dump(-1, ' ', false, json::error_handler_t::replace));
}
status undo_keeper::forget(std::uint64_t id) {
  FLYWHEEL_TRY([[maybe_unused]] const auto done, ask(json{{"op", "forget"}, {"id", id}}.dump()));
  return success();
}
status undo_keeper::undo(std::uint64_t id) {
  FLYWHEEL_TRY([[maybe_unused]] const auto done, ask(json{{"op", "undo"}, {"id", id}}.dump()));
  return success();
}
result<std::uint64_t> undo_keeper::burn(unsigned workers) { return ask(json{{"op", "burn"}, {"workers", workers}}.dump()); }

} // namespace flywheel
