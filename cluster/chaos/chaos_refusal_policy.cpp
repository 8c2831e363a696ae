#include "cluster/chaos/chaos_refusal_policy.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>

namespace flywheel {
namespace {

bool selected(const chaos_experiment& e, const node_means& n) {
  if (e.selector.role != "any" && n.head != (e.selector.role == "head"))
    return false;
  const auto& names = e.selector.nodes;
  return names.empty() || std::find(names.begin(), names.end(), n.name) != names.end();
}

std::string why_no_selection(const chaos_experiment& e, const chaos_means& m) {
  std::vector<std::string> known;
  for (const auto& n : m.nodes)
    known.push_back(n.name);
  for (const auto& name : e.selector.nodes)
    if (name != "launch" && std::find(known.begin(), known.end(), name) == known.end())
      return "the cluster has no node '" + printable(name, 60) + "' (it has " + join(known, ", ") + ")";
  if (std::find(e.selector.nodes.begin(), e.selector.nodes.end(), "launch") != e.selector.nodes.end())
    return {};
  if (std::none_of(m.nodes.begin(), m.nodes.end(), [&](const auto& n) { return selected(e, n); }))
    return "the selector fits no node of this cluster";
  for (const auto& n : m.nodes)
    if (selected(e, n) && !n.here)
      return "node " + n.name + " does not run on this machine as this user; run the rehearsal there, or select others";
  return {};
}

std::string why_no_pod_kill(const chaos_experiment& e, const chaos_means& m) {
  for (const auto& n : m.nodes)
    if (selected(e, n) && e.restart && n.own_network && n.network.empty())
      return "node " + n.name + " is in a network namespace without a name, in which it could not be started again; give it one (ip netns), or write restart: false";
  return {};
}

std::string why_no_network(const chaos_experiment& e, const chaos_means& m) {
  if (!m.root)
    return "links can be cut and slowed by root only";
  if (!m.ip || !m.nsenter)
    return std::string{"the program '"} + (m.ip ? "nsenter" : "ip") + "' is missing (Debian packages iproute2 and util-linux)";
  for (const auto& n : m.nodes) {
    if (!selected(e, n))
      continue;
    if (n.head)
      return "a link has a node at one end and the head at the other: select nodes with role: node";
    if (!n.own_network)
      return "node " + n.name + " shares this machine's network, and cutting it would cut everything; start it in a network namespace of its own (ip netns)";
    if (n.address.empty() || n.inside.empty() || n.outside.empty())
      return "no route between node " + n.name + " and the head was found";
    if (e.action != "partition" && e.direction != "to" && !n.outside_is_its_own)
      return "packets to node " + n.name + " go through " + n.outside + ", which others use, too; only direction: to can be slowed there";
  }
  if (e.action == "partition")
    return {};
  if (!m.tc)
    return "the program 'tc' is missing (Debian package iproute2)";
  if (e.action == "bandwidth" ? !m.tbf : !m.netem)
    return std::string{"this kernel has no queue '"} + (e.action == "bandwidth" ? "tbf" : "netem") + "' (module sch_" + (e.action == "bandwidth" ? "tbf" : "netem") + ")";
  return {};
}

std::string why_no_disk_fill(const chaos_experiment& e, const chaos_means& m) {
  const auto size = e.size.value_or(0);
  if (m.disk_dedicated || size + disk_left_min <= m.disk_available)
    return {};
  return "a ballast of " + format_bytes(size) + " would leave less than " + format_bytes(disk_left_min) + " of the " + format_bytes(m.disk_available) +
         " that are free, and the state folder lies on a file system that others use; put it on one of its own, or fill less";
}

std::string why_not(const chaos_experiment& e, const chaos_means& m) {
  if (e.kind == "IOChaos")
    return "wrong and slow reads and writes need a file system in between (Chaos Mesh uses FUSE), which Flywheel has not; disk-fill of PhysicalMachineChaos is there";
  if (e.kind == "StressChaos")
    return e.workers > 4 * m.cores ? "more than four processes for each of " + std::to_string(m.cores) + " cores say nothing more" : "";
  if (e.kind == "PhysicalMachineChaos")
    return why_no_disk_fill(e, m);
  if (auto why = why_no_selection(e, m); !why.empty())
    return why;
  if (e.kind == "NetworkChaos")
    return why_no_network(e, m);
  if (e.kind == "TimeChaos" && std::any_of(m.nodes.begin(), m.nodes.end(), [&](const auto& n) { return selected(e, n) && !n.head; }))
    return "only the head decides by wall time and can be told a wrong one: select it with role: head";
  if (strikes_agents(e) && std::none_of(m.nodes.begin(), m.nodes.end(), [&](const auto& n) { return selected(e, n) && n.head; }))
    return "agents run on the head, which is not selected";
  return e.action == "pod-kill" ? why_no_pod_kill(e, m) : std::string{};
}

/// A command inside the node's network.
std::vector<std::string> inside(const node_means& n, std::vector<std::string> words) {
  std::vector<std::string> all = n.network.empty() ? std::vector<std::string>{"nsenter", "--target", std::to_string(n.pid), "--net"}
                                                   : std::vector<std::string>{"ip", "netns", "exec", n.network};
  all.insert(all.end(), words.begin(), words.end());
  return all;
}

std::string in_us(nanoseconds d) { return std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(d).count()) + "us"; }

/// The queue of tc that slows packets.
std::vector<std::string> queue_of(const chaos_experiment& e) {
  if (e.action == "delay")
    return {"netem", "delay", in_us(e.delay.latency.value_or(nanoseconds{0})), in_us(e.delay.jitter), format_number(e.delay.correlation) + "%"};
  if (e.action == "loss")
    return {"netem", "loss", format_number(e.loss.loss.value_or(0)) + "%", format_number(e.loss.correlation) + "%"};
  return {"tbf",   "rate",  std::to_string(e.bandwidth.rate.value_or(0)) + "bps", // tc's "bps" are bytes
          "limit", std::to_string(e.bandwidth.limit), "burst", std::to_string(e.bandwidth.buffer)};
}

} // namespace

std::vector<std::string> why_not_here(const chaos_spec& spec, const chaos_means& means) {
  std::vector<std::string> all;
  for (const auto& e : spec.experiments)
    if (const auto why = why_not(e, means); !why.empty())
      all.push_back(e.name + ": " + why);
  return all;
}

link_commands link_commands_of(const chaos_experiment& e, const node_means& n) {
  link_commands c;
  const bool to = e.direction != "from", from = e.direction != "to";
  const auto both = [&](std::vector<std::string> strike, std::vector<std::string> undo, bool within) {
    c.strike.push_back(within ? inside(n, std::move(strike)) : std::move(strike));
    c.undo.push_back(within ? inside(n, std::move(undo)) : std::move(undo));
  };
  if (e.action == "partition") {
    if (to)
      both({"ip", "route", "add", "blackhole", n.head_address + "/32"}, {"ip", "route", "del", "blackhole", n.head_address + "/32"}, true);
    if (from)
      both({"ip", "route", "add", "blackhole", n.address + "/32"}, {"ip", "route", "del", "blackhole", n.address + "/32"}, false);
    return c;
  }
  const auto slow = [&](const std::string& device, bool within) {
    std::vector<std::string> add{"tc", "qdisc", "add", "dev", device, "root"};
    const auto queue = queue_of(e);
    add.insert(add.end(), queue.begin(), queue.end());
    both(std::move(add), {"tc", "qdisc", "del", "dev", device, "root"}, within);
  };
  if (to)
    slow(n.inside, true);
  if (from)
    slow(n.outside, false);
  return c;
}

} // namespace flywheel
