#include "cluster/gang/gang_types.hpp"

#include <csignal>
#include <cstring>

namespace flywheel {

std::string_view name_of(gang_end e) noexcept {
  switch (e) {
  case gang_end::succeeded: return "succeeded";
  case gang_end::killed: return "killed";
  case gang_end::exit_code: return "exit_code";
  case gang_end::out_of_memory: return "out_of_memory";
  case gang_end::hung: return "hung";
  case gang_end::frozen: return "frozen";
  case gang_end::never_came_up: return "never_came_up";
  case gang_end::not_startable: return "not_startable";
  case gang_end::peers_only: return "peers_only";
  case gang_end::host_lost: return "host_lost";
  case gang_end::cancelled: return "cancelled";
  }
  return "unknown";
}

std::string signal_name(int number) {
  const char* name = ::sigabbrev_np(number);
  return std::to_string(number) + (name != nullptr ? " (" + std::string(name) + ")" : "");
}

std::string sentence_of(const gang_cause& c) {
  if (c.end == gang_end::succeeded)
    return "all ranks ended with exit code 0";
  std::string who = c.rank >= 0 ? "rank " + std::to_string(c.rank) : c.end == gang_end::cancelled ? "the gang" : "no single rank";
  if (c.rank >= 0 && !c.host.empty())
    who += " (" + c.host + (c.slot.empty() ? "" : ", " + c.slot) + ")";
  std::string did;
  switch (c.end) {
  case gang_end::succeeded: break;
  case gang_end::killed: did = "was killed by signal " + signal_name(c.signal); break;
  case gang_end::exit_code: did = "ended with exit code " + std::to_string(c.code); break;
  case gang_end::out_of_memory:
    did = "ran out of memory and " + (c.signal != 0 ? "was killed by signal " + signal_name(c.signal) : "ended with exit code " + std::to_string(c.code));
    break;
  case gang_end::hung: did = c.rank >= 0 ? "hung" : "is to blame: all hang in their communication"; break;
  case gang_end::frozen: did = "was frozen (stopped by a signal or a debugger)"; break;
  case gang_end::never_came_up: did = "never came to its first step"; break;
  case gang_end::not_startable: did = "could not be started"; break;
  case gang_end::peers_only: did = "ended with exit code " + std::to_string(c.code) + " because of a peer, and no peer has a cause of its own"; break;
  case gang_end::host_lost: did = "was lost with its host"; break;
  case gang_end::cancelled: did = "was stopped"; break;
  }
  std::string text = who + " " + did;
  if (c.has_stepped)
    text += " in step " + std::to_string(c.step);
  if (c.collective > 0)
    text += " (collective " + std::to_string(c.collective) + (c.collective_name.empty() ? "" : ", " + c.collective_name) + ")";
  if (!c.detail.empty())
    text += "; " + c.detail;
  return text;
}

} // namespace flywheel
