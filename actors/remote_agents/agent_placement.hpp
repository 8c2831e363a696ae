#pragma once
// Which node an agent lives on. Pure: told which nodes offer themselves, where agents are and how they fared there, it says where one should
// go. The head's own processor is left to those who must be with the journal; without another node everything is on the head.
//
// An agent goes to the node that has the fewest; it moves when the head has it and a node offers itself, when its node drains, or when its node
// has two more than another. A node on which an agent could not be started, or died, is not tried for it again for `pause`.

#include "cluster/base/clock.hpp"

#include <map>
#include <optional>
#include <string>

namespace flywheel {

class agent_placement {
public:
  static constexpr std::chrono::seconds pause{60};
  /// The head, as a place.
  static constexpr const char* head = "";

  /// The node takes agents from now on. What was there before is not there any more.
  void offer(const std::string& node);
  /// It went; so did every agent on it.
  void withdraw(const std::string& node);
  void drain(const std::string& node);

  /// Where `agent` should live, whatever it does now.
  std::string choose(const std::string& agent, mono_time now) const;
  void put(const std::string& agent, const std::string& node);
  /// It is nowhere now.
  void remove(const std::string& agent) { where_.erase(agent); }
  /// It could not be started there, or died there.
  void failed(const std::string& agent, const std::string& node, mono_time now);

  struct move { std::string agent, reason; };
  /// One agent that had better be elsewhere; again until there is none. `mobile`: whether it may move now.
  std::optional<move> next_move(mono_time now, const std::map<std::string, bool>& mobile) const;

  /// Where it is; nothing if it is nowhere.
  std::optional<std::string> place_of(const std::string& agent) const;
  const std::map<std::string, std::string>& places() const noexcept { return where_; }
  /// When next_move() may say something new for no other reason than the time.
  std::optional<mono_time> next_look(mono_time now) const;

private:
  int load(const std::string& node, const std::string& but) const;
  std::map<std::string, bool> nodes_;         ///< -> draining
  std::map<std::string, std::string> where_;
  std::map<std::pair<std::string, std::string>, mono_time> avoid_; ///< agent and node: until when
};

} // namespace flywheel
