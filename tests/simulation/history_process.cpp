// A history in a process of its own, and what all of them need.

#include "cluster/base/json.hpp"
#include "cluster/security/certificates.hpp"
#include "tests/simulation/agent_world.hpp"

#include <cstdlib>
#include <sys/wait.h>
#include <unistd.h>

namespace flywheel::simulation {

namespace fs = std::filesystem;
using nlohmann::json;

void make_certificates(const fs::path& folder, int members) {
  const wall_time then{1'700'000'000'000'000'000 - 86'400'000'000'000};
  if (!certificate_authority::create(folder / "ca", "lab", then))
    std::abort();
  const auto authority = certificate_authority::open(folder / "ca");
  for (int i = -1; i < members; ++i) {
    const auto name = i < 0 ? std::string{"head"} : "n" + std::to_string(i);
    if (!authority || !authority->issue({name, role::node, {}, 30}, folder / name, then))
      std::abort();
  }
}

history in_a_process_of_its_own(const std::function<history()>& f) {
  int channel[2];
  history h;
  if (::pipe(channel) != 0) {
    h.found.push_back("no pipe");
    return h;
  }
  std::fflush(nullptr);
  const auto child = ::fork();
  if (child == 0) {
    ::close(channel[0]);
    const auto mine = f();
    const json answer{{"found", mine.found}, {"fingerprint", mine.fingerprint}, {"events", mine.events}, {"turns", mine.turns}, {"done", mine.goals_done},
                      {"failed", mine.goals_failed}, {"faults", mine.faults}, {"heads", mine.heads}, {"tasks", mine.tasks}, {"seconds", mine.virtual_seconds}};
    const auto text = answer.dump();
    std::fflush(nullptr);
    ::_exit(::write(channel[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  ::close(channel[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(channel[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  ::close(channel[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  const auto j = json::parse(text, nullptr, false);
  if (!j.is_object() || status != 0) {
    h.found.push_back(WIFSIGNALED(status) ? "the process was ended by signal " + std::to_string(WTERMSIG(status)) : "the process ended with " + std::to_string(WEXITSTATUS(status)));
    return h;
  }
  h.found = j.at("found").get<std::vector<std::string>>();
  h.fingerprint = j.at("fingerprint").get<std::string>();
  h.events = j.at("events").get<std::uint64_t>();
  h.turns = j.at("turns").get<std::uint64_t>();
  h.goals_done = j.at("done").get<std::uint64_t>();
  h.goals_failed = j.at("failed").get<std::uint64_t>();
  h.faults = j.at("faults").get<std::uint64_t>();
  h.heads = j.at("heads").get<std::uint64_t>();
  h.tasks = j.at("tasks").get<std::uint64_t>();
  h.virtual_seconds = j.at("seconds").get<double>();
  return h;
}

} // namespace flywheel::simulation
