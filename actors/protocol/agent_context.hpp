#pragma once
// What every agent of a node is given at birth: the doors to the durable plane. Outlives all agents of the node.

#include "cluster/base/clock.hpp"
#include "cluster/journal/event_log.hpp"
#include "cluster/journal/state_directory.hpp"

#include <nlohmann/json_fwd.hpp>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

class agent_directory;

struct agent_context {
  state_layout layout;
  std::uint64_t epoch = 0;       ///< of this owner of the state directory (I5)
  event_log* log = nullptr;      ///< thread-safe
  const time_source* time = nullptr;
  agent_directory* agents = nullptr; ///< who plays which part now
  std::string code;              ///< program version, for lineage
  unsigned cores = 1;            ///< CPU slots of this node
  std::shared_ptr<const std::atomic<unsigned>> cluster_slots = {}; ///< what all nodes have to offer now; null in embedded mode

  /// How many trials can run at once now.
  unsigned slots() const { return cluster_slots ? std::max(1u, cluster_slots->load()) : cores; }
};

/// Writes events as one agent. Appending blocks until durable, so agents that use it are detached actors.
class scribe {
public:
  scribe(const agent_context& context, std::string actor) : context_(&context), actor_(std::move(actor)) {}

  event_draft draft(event_kind kind, std::string goal, std::string step, std::string subject, std::string text,
                    const nlohmann::json& body) const;
  /// A decision with its reason. `rejected`: [{"what","why"}], may be an empty array.
  event_draft decision(std::string goal, std::string step, std::string choice, std::string reason,
                       const nlohmann::json& evidence, const nlohmann::json& rejected) const;
  /// Durable when it returns.
  result<std::uint64_t> write(std::vector<event_draft> drafts) const;
  result<std::uint64_t> write(event_draft d) const;
  /// Everything in the journal that matches; reads beside the writer.
  result<std::vector<event>> read(const journal_filter& filter) const;

  const agent_context& context() const noexcept { return *context_; }

private:
  const agent_context* context_;
  std::string actor_;
};

/// What the goal's steps have put out so far, from the journal: {"<step>": outputs}; done steps only.
result<nlohmann::json> steps_done(const scribe& log, const std::string& goal);

/// The effect protocol (design.md, "How an effect happens"): appends the intent, acts, appends the outcome. If an earlier
/// outcome for `key` is in the journal it is returned and nothing is done. `act` must itself be safe to repeat by key,
/// because a crash may lie between acting and recording. Returns the outcome's JSON text.
result<std::string> perform_effect(const scribe& s, const std::string& goal, const std::string& step,
                                   const std::string& key, const std::string& text, const nlohmann::json& intent,
                                   const std::function<result<nlohmann::json>()>& act);

} // namespace flywheel
