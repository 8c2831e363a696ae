#include "cluster/chaos/population_store.hpp"

#include "cluster/base/text.hpp"
#include "cluster/content/file.hpp"
#include "cluster/security/certificates.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <sstream>

namespace flywheel {
namespace {

namespace fs = std::filesystem;

/// What can be read of a file, at most 16 MiB. A process may end between two reads of its files in /proc; a stream would throw then.
std::string slurp(const fs::path& file) {
  std::string text;
  const auto handle = open_file(file, O_RDONLY | O_NONBLOCK);
  char buffer[4096];
  while (handle && text.size() < (16u << 20)) {
    const auto n = read_some(handle->get(), buffer, sizeof buffer, file);
    if (!n || *n == 0)
      break;
    text.append(buffer, *n);
  }
  return text;
}

std::vector<std::string> words_of(const std::string& bytes) {
  std::vector<std::string> words;
  for (const auto w : split(bytes, '\0'))
    words.emplace_back(w);
  if (!words.empty() && words.back().empty())
    words.pop_back();
  return words;
}

fs::path place_of(int pid) { return fs::path{"/proc"} / std::to_string(pid); }

/// Those of this user.
std::vector<process_facts> processes_here() {
  std::vector<process_facts> all;
  std::error_code failed;
  for (fs::directory_iterator i{"/proc", failed}, end; !failed && i != end; i.increment(failed)) {
    const auto name = i->path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos)
      continue;
    struct stat s {};
    if (::stat(i->path().c_str(), &s) != 0 || s.st_uid != ::geteuid())
      continue;
    if (auto p = process_of(std::stoi(name)); p && !p->zombie)
      all.push_back(std::move(*p));
  }
  return all;
}

/// The value of "--NAME V" or "--NAME=V"; empty if it is not there.
std::string option_of(const std::vector<std::string>& argv, const std::string& name) {
  for (std::size_t i = 1; i < argv.size(); ++i) {
    if (argv[i] == name && i + 1 < argv.size())
      return argv[i + 1];
    if (argv[i].starts_with(name + "="))
      return argv[i].substr(name.size() + 1);
  }
  return {};
}

bool has_word(const std::vector<std::string>& argv, std::string_view word) { return std::find(argv.begin(), argv.end(), word) != argv.end(); }

std::string variable_of(const std::vector<std::string>& environment, const std::string& name) {
  for (const auto& v : environment)
    if (v.starts_with(name + "="))
      return v.substr(name.size() + 1);
  return {};
}

bool same_folder(const fs::path& a, const fs::path& b) {
  std::error_code failed;
  return fs::equivalent(a, b, failed) && !failed;
}

/// The state folder a Flywheel process was started with; empty if it was not told one.
fs::path state_of(const process_facts& p, const std::vector<std::string>& environment, const fs::path& folder) {
  auto told = option_of(p.argv, "--state");
  if (told.empty())
    told = option_of(p.argv, "-s");
  if (told.empty())
    told = variable_of(environment, "FLYWHEEL_STATE");
  return told.empty() ? fs::path{} : (folder / told).lexically_normal();
}

fs::path link_of(const fs::path& link) {
  std::error_code failed;
  auto to = fs::read_symlink(link, failed);
  return failed ? fs::path{} : to;
}

std::string name_in(const fs::path& certs) {
  const auto files = tls_files_in(certs);
  if (!files)
    return {};
  const auto who = identify(slurp(files->certificate), slurp(files->authority), system_clock().wall());
  return who && who->as == role::node ? who->name : std::string{};
}

bool is_program(const process_facts& p, std::string_view command) { return p.argv.size() > 1 && has_word(p.argv, command) && p.argv[0].ends_with("flywheel"); }

chaos_subject subject_of(chaos_subject::sort what, std::string name, const chaos_subject& owner, const process_facts& p) {
  return {what, std::move(name), owner.node, {}, owner.head, p.pid, p.started};
}

/// Workers and ranks below `root`, which are its own or its keeper's children.
void add_children(std::vector<chaos_subject>& found, const chaos_subject& root, const std::vector<process_facts>& all) {
  std::vector<int> above{root.pid};
  std::size_t workers = 0;
  for (std::size_t i = 0; i < above.size(); ++i) {
    std::vector<const process_facts*> children;
    for (const auto& p : all)
      if (p.parent == above[i])
        children.push_back(&p);
    std::sort(children.begin(), children.end(), [](const auto* a, const auto* b) { return std::pair{a->started, a->pid} < std::pair{b->started, b->pid}; });
    for (const auto* p : children) {
      if (is_program(*p, "_keep")) {
        above.push_back(p->pid);
        continue;
      }
      const auto environment = environment_of(p->pid);
      const auto rank = variable_of(environment, "RANK");
      if (!rank.empty() && !variable_of(environment, "FLYWHEEL_RANK_BOARD").empty()) {
        auto s = subject_of(chaos_subject::sort::rank, root.node + "/" + variable_of(environment, "TORCHELASTIC_RUN_ID") + "/rank-" + rank, root, *p);
        s.part = "rank-" + rank;
        found.push_back(std::move(s));
      } else if (is_program(*p, "_worker")) {
        found.push_back(subject_of(chaos_subject::sort::worker, root.node + "/worker-" + std::to_string(workers++), root, *p));
      }
    }
  }
}

} // namespace

std::optional<process_facts> process_of(int pid) {
  const auto text = slurp(place_of(pid) / "stat");
  const auto close = text.rfind(')');
  if (close == std::string::npos)
    return std::nullopt;
  process_facts p;
  p.pid = pid;
  std::istringstream rest{text.substr(close + 1)};
  char state = 0;
  rest >> state >> p.parent;
  std::string skipped;
  for (int field = 5; field < 22; ++field)
    rest >> skipped;
  rest >> p.started;
  if (!rest)
    return std::nullopt;
  p.zombie = state == 'Z' || state == 'X';
  p.stopped = state == 'T';
  p.argv = words_of(slurp(place_of(pid) / "cmdline"));
  return p;
}

bool still_there(int pid, std::uint64_t started) {
  const auto p = process_of(pid);
  return p && p->started == started && !p->zombie;
}

bool signal_process(int pid, std::uint64_t started, int number) {
  if (pid <= 1 || pid == ::getpid())
    return false;
  const int handle = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); // from here on the pid cannot come to mean another process
  if (handle < 0)
    return false;
  const bool sent = still_there(pid, started) && ::syscall(SYS_pidfd_send_signal, handle, number, nullptr, 0) == 0;
  ::close(handle);
  return sent;
}

std::vector<std::string> environment_of(int pid) { return words_of(slurp(place_of(pid) / "environ")); }

std::vector<node_process> nodes_here(const fs::path& state, const std::string& address, const std::vector<std::string>& names) {
  std::vector<node_process> found;
  const auto ours = link_of("/proc/self/ns/net");
  for (auto& p : processes_here()) {
    if (!is_program(p, "node") || p.pid == ::getpid())
      continue;
    node_process n;
    n.head = has_word(p.argv, "--head");
    n.environment = environment_of(p.pid);
    n.folder = link_of(place_of(p.pid) / "cwd");
    n.state = state_of(p, n.environment, n.folder);
    if (n.state.empty() || owner_pid(n.state) != p.pid || n.head != same_folder(n.state, state))
      continue;
    if (!n.head && option_of(p.argv, "--join") != address)
      continue;
    n.name = name_in(n.folder / option_of(p.argv, "--certs"));
    if (std::find(names.begin(), names.end(), n.name) == names.end())
      continue;
    std::error_code failed;
    if (const auto out = link_of(place_of(p.pid) / "fd" / "1"); fs::is_regular_file(out, failed))
      n.log = out;
    n.own_network = link_of(place_of(p.pid) / "ns" / "net") != ours;
    n.process = std::move(p);
    found.push_back(std::move(n));
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return found;
}

std::vector<chaos_subject> subjects_here(const fs::path& state, const std::vector<node_process>& nodes) {
  std::vector<chaos_subject> found;
  const auto all = processes_here();
  for (const auto& n : nodes) {
    if (!still_there(n.process.pid, n.process.started))
      continue;
    const chaos_subject node{chaos_subject::sort::node, n.name, n.name, {}, n.head, n.process.pid, n.process.started};
    found.push_back(node);
    add_children(found, node, all);
    if (n.head)
      for (const auto& agent : agent_names())
        found.push_back({chaos_subject::sort::agent, "agent " + agent, n.name, agent, true, n.process.pid, n.process.started});
  }
  for (const auto& p : all) {
    if (!is_program(p, "launch"))
      continue;
    const auto its = state_of(p, environment_of(p.pid), link_of(place_of(p.pid) / "cwd"));
    if (!its.empty() && same_folder(its, state))
      add_children(found, {chaos_subject::sort::node, "launch", "launch", {}, false, p.pid, p.started}, all);
  }
  return found;
}

} // namespace flywheel
