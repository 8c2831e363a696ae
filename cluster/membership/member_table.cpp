#include "cluster/membership/member_table.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <optional>

namespace flywheel {

std::string_view name_of(member_state s) noexcept {
  switch (s) {
  case member_state::alive: return "alive";
  case member_state::suspect: return "suspect";
  case member_state::dead: return "dead";
  case member_state::left: return "left";
  }
  return "unknown";
}

namespace {

bool lives(const member& m) { return m.state == member_state::alive || m.state == member_state::suspect; }

std::string place_of(const std::string& node, std::uint64_t incarnation) { return "node " + node + ", incarnation " + std::to_string(incarnation); }

} // namespace

member_table::member_table(const membership_rule& rule, std::uint64_t last_epoch) : rule_(rule), last_epoch_(last_epoch) {
  FLYWHEEL_ASSERT(rule_.suspect_after.count() > 0 && rule_.dead_after > rule_.suspect_after, "a node is suspect before it is dead");
}

mono_time member_table::forward(mono_time now) {
  now_ = std::max(now_, now);
  return now_;
}

void member_table::change(member& m, member_state to, std::string reason, std::vector<membership_change>& changes) {
  const auto from = m.state;
  m.state = to;
  m.reason = std::move(reason);
  if (!lives(m))
    gone_.emplace(m.node, m.incarnation);
  if (from != to)
    changes.push_back({m.node, m.incarnation, m.epoch, from, to, m.reason});
}

result<std::uint64_t> member_table::hello(const hello_message& from, mono_time now, std::vector<membership_change>& changes) {
  now = forward(now);
  if (from.node.empty() || from.incarnation == 0)
    return error{errc::invalid_argument, "a hello names its node and its incarnation", from.node, "update the node's program"};
  if (from.protocol != rule_.protocol)
    return error{errc::incompatible_version,
                 "it speaks protocol " + std::to_string(from.protocol) + ", the head " + std::to_string(rule_.protocol),
                 place_of(from.node, from.incarnation), "run the same version of flywheel on all nodes"};
  const auto known = members_.find(from.node);
  if (known != members_.end()) {
    member& m = known->second;
    if (from.incarnation < m.incarnation)
      return error{errc::stale_epoch, "incarnation " + std::to_string(m.incarnation) + " has taken its place", place_of(from.node, from.incarnation),
                   "end this process, or start the node anew"};
    if (from.incarnation == m.incarnation) {
      if (now - m.heard >= rule_.dead_after)
        tick(now, changes); // silence is judged before it is broken
      if (!lives(m))
        return error{errc::stale_epoch, "it is " + std::string{name_of(m.state)} + " (" + m.reason + ")", place_of(from.node, from.incarnation),
                     "start the node anew: it comes back with a new incarnation and without its old leases"};
      m.heard = now;
      change(m, member_state::alive, "it said hello again", changes);
      return m.epoch;
    }
    if (lives(m))
      change(m, member_state::dead, "the node started again as incarnation " + std::to_string(from.incarnation), changes);
  }
  if (gone_.contains({from.node, from.incarnation}))
    return error{errc::stale_epoch, "this incarnation was given up, or has left", place_of(from.node, from.incarnation),
                 "start the node anew: it comes back with a new incarnation and without its old leases"};
  member& m = members_[from.node];
  m = {from.node, from.incarnation, ++last_epoch_, member_state::left, false, now, {}};
  change(m, member_state::alive, "it joined", changes);
  return m.epoch;
}

void member_table::restore(const std::string& node, std::uint64_t incarnation, std::uint64_t epoch, bool draining, mono_time now) {
  now = forward(now);
  last_epoch_ = std::max(last_epoch_, epoch);
  members_[node] = {node, incarnation, epoch, member_state::suspect, draining, now, "the head started again and has not heard it yet"};
}

void member_table::restore_gone(const std::string& node, std::uint64_t incarnation, std::uint64_t epoch) {
  last_epoch_ = std::max(last_epoch_, epoch);
  gone_.emplace(node, incarnation);
}

result<member*> member_table::living(const std::string& node, std::uint64_t incarnation) {
  const auto found = members_.find(node);
  if (found == members_.end())
    return error{errc::stale_epoch, "the head does not know it", place_of(node, incarnation), "say hello first"};
  member& m = found->second;
  if (m.incarnation != incarnation)
    return error{errc::stale_epoch, "incarnation " + std::to_string(m.incarnation) + " has taken its place", place_of(node, incarnation), "end this process"};
  if (!lives(m))
    return error{errc::stale_epoch, "it is " + std::string{name_of(m.state)} + " (" + m.reason + ")", place_of(node, incarnation), "stop its work and start the node anew"};
  return &m;
}

status member_table::heartbeat(const std::string& node, std::uint64_t incarnation, mono_time now, std::vector<membership_change>& changes) {
  now = forward(now);
  FLYWHEEL_TRY(member * m, living(node, incarnation));
  if (now - m->heard >= rule_.dead_after) {
    tick(now, changes); // silence is judged before it is broken, whether or not a tick came in between
    return living(node, incarnation).error();
  }
  m->heard = now;
  change(*m, member_state::alive, "it speaks", changes);
  return {};
}

void member_table::disconnected(const std::string& node, std::uint64_t incarnation, mono_time now, std::vector<membership_change>& changes) {
  forward(now);
  if (auto m = living(node, incarnation))
    change(**m, member_state::suspect, "its connection closed", changes);
}

status member_table::drain(const std::string& node) {
  const auto found = members_.find(node);
  if (found == members_.end())
    return error{errc::not_found, "there is no such node", node, "name a node as it named itself in its hello"};
  if (!lives(found->second))
    return error{errc::stale_epoch, "it is " + std::string{name_of(found->second.state)}, node, "there is nothing to drain"};
  found->second.draining = true;
  return {};
}

status member_table::leave(const std::string& node, std::uint64_t incarnation, mono_time now, std::vector<membership_change>& changes) {
  now = forward(now);
  FLYWHEEL_TRY(member * m, living(node, incarnation));
  m->heard = now;
  change(*m, member_state::left, "it said goodbye", changes);
  return {};
}

void member_table::tick(mono_time now, std::vector<membership_change>& changes) {
  now = forward(now);
  for (auto i = members_.begin(); i != members_.end();) {
    member& m = i->second;
    const auto silent = now - m.heard;
    if (lives(m) && silent >= rule_.dead_after) {
      change(m, member_state::dead, "silent for " + format_duration(silent), changes);
      m.heard = now;
    } else if (m.state == member_state::alive && silent >= rule_.suspect_after) {
      change(m, member_state::suspect, "silent for " + format_duration(silent), changes);
    }
    i = !lives(m) && now - m.heard >= rule_.forget_after ? members_.erase(i) : std::next(i);
  }
}

std::optional<mono_time> member_table::next_tick() const {
  std::optional<mono_time> next;
  for (const auto& [node, m] : members_) {
    const auto after = m.state == member_state::alive ? rule_.suspect_after : m.state == member_state::suspect ? rule_.dead_after : rule_.forget_after;
    const auto at = m.heard + after;
    next = next ? std::min(*next, at) : at;
  }
  return next;
}

const member* member_table::find(const std::string& node) const {
  const auto found = members_.find(node);
  return found == members_.end() ? nullptr : &found->second;
}

std::vector<member> member_table::members() const {
  std::vector<member> all;
  for (const auto& [node, m] : members_)
    all.push_back(m);
  return all;
}

bool member_table::may_work(const std::string& node) const {
  const auto* m = find(node);
  return m != nullptr && m->state == member_state::alive && !m->draining;
}

} // namespace flywheel
