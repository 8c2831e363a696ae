#pragma once
// `flywheel why`: the journal in sentences, also about what was not done. Pure: events in, lines out.

#include "cluster/journal/event.hpp"

#include <string>
#include <vector>

namespace flywheel {

struct why_options {
  bool all = false;      ///< with evidence and every small decision
  bool colour = false;
};

/// What the question is about, found among the events: goal id or name, "step", "goal/step", trial id, model or
/// model version, approval id, alias. Empty: nothing in the journal is called so.
struct why_subject {
  std::string kind;      ///< "goal" "step" "trial" "model" "approval" "gang"
  std::string goal;      ///< goal id the answer is taken from; may be empty
  std::string name;
};
std::vector<why_subject> find_subjects(const std::vector<event>& events, const std::string& question);
/// Everything that can be asked about, for "did you mean".
std::vector<std::string> known_subjects(const std::vector<event>& events);

std::vector<std::string> why(const std::vector<event>& events, const why_subject& subject, const why_options& options);

} // namespace flywheel
