#include "cluster/chaos/chaos_means_store.hpp"

#include "cluster/base/text.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <sstream>
#include <thread>

extern char** environ;

namespace flywheel {
namespace {

namespace fs = std::filesystem;

bool is_there(const std::string& program) { return run_command({"sh", "-c", "command -v " + program}).exit_code == 0; }

/// "... dev X src Y ...": the word behind `key`.
std::string word_behind(const std::string& text, const std::string& key) {
  std::istringstream in{text};
  std::string word;
  while (in >> word)
    if (word == key && in >> word)
      return word;
  return {};
}

void look_at_network(node_means& n) {
  std::vector<std::string> within{"nsenter", "--target", std::to_string(n.pid), "--net", "ip", "-o", "route", "get", n.head_address};
  const auto there = run_command(within).out;
  n.inside = word_behind(there, "dev");
  n.address = word_behind(there, "src");
  n.network = std::string{trim(run_command({"ip", "netns", "identify", std::to_string(n.pid)}).out)};
  if (n.address.empty())
    return;
  n.outside = word_behind(run_command({"ip", "-o", "route", "get", n.address}).out, "dev");
  n.outside_is_its_own = run_command({"ip", "-o", "-d", "link", "show", "dev", n.outside}).out.find(" veth ") != std::string::npos;
}

bool has_queue(const std::vector<std::string>& queue) {
  std::vector<std::string> words{"unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root"};
  words.insert(words.end(), queue.begin(), queue.end());
  return run_command(std::move(words)).exit_code == 0;
}

dev_t device_of(const fs::path& path) {
  struct stat s {};
  return ::stat(path.c_str(), &s) == 0 ? s.st_dev : dev_t{};
}

} // namespace

command_end run_command(std::vector<std::string> words) {
  command_end end;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return end;
  std::vector<char*> argv;
  for (auto& w : words)
    argv.push_back(w.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  const int code = ::posix_spawnp(&pid, argv[0], &files, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  ::close(ends[1]);
  if (code == 0) {
    char buffer[4096];
    for (ssize_t n = 0; (n = ::read(ends[0], buffer, sizeof buffer)) > 0 || (n < 0 && errno == EINTR);)
      if (n > 0 && end.out.size() < (64u << 10))
        end.out.append(buffer, static_cast<std::size_t>(n));
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    end.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  ::close(ends[0]);
  return end;
}

chaos_means look_at_means(const fs::path& state, const std::vector<node_process>& nodes, const std::vector<std::string>& names, const std::string& head,
                          const std::string& address) {
  chaos_means m;
  m.root = ::geteuid() == 0;
  m.ip = is_there("ip");
  m.tc = is_there("tc");
  m.nsenter = is_there("nsenter");
  m.netem = m.root && m.tc && has_queue({"netem", "delay", "1ms"});
  m.tbf = m.root && m.tc && has_queue({"tbf", "rate", "1mbit", "burst", "32kbit", "limit", "64kb"});
  m.cores = std::max(1u, std::thread::hardware_concurrency());
  std::error_code failed;
  if (const auto space = fs::space(state, failed); !failed)
    m.disk_available = space.available;
  m.disk_dedicated = device_of(state) != device_of("/") && device_of(state) != device_of("/tmp");
  for (const auto& name : names) {
    node_means n;
    n.name = name;
    n.head = name == head;
    n.head_address = address.substr(0, address.rfind(':'));
    const auto here = std::find_if(nodes.begin(), nodes.end(), [&](const auto& p) { return p.name == name; });
    if (here != nodes.end()) {
      n.here = true;
      n.pid = here->process.pid;
      n.own_network = here->own_network;
      if (n.own_network && !n.head && m.root && m.ip && m.nsenter)
        look_at_network(n);
    }
    m.nodes.push_back(std::move(n));
  }
  return m;
}

} // namespace flywheel
