#pragma once
// What the journal says of incidents and retrain goals. Pure: events in, records out. The learner answers from this when it
// starts, so that an incident survives the death of whoever was told of it.

#include "actors/learner/learner_policy.hpp"
#include "actors/protocol/messages.hpp"
#include "cluster/journal/event.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

/// The kinds of events that the folds below read.
std::vector<event_kind> incident_event_kinds();

/// The retrain goals of a model (its name, not a version) so far, in the order they were opened, and how each ended.
std::vector<retrain_record> retrains_of(const std::vector<event>& events, std::string_view model);

/// Incidents that the monitor confirmed and that are still open, oldest first: not answered yet, waiting for their time, or
/// to be answered with a retrain goal that was not opened. Of a person's business nothing is open.
std::vector<incident_found> open_incidents(const std::vector<event>& events);

/// Who submitted a goal: the one whose word its retrain goals need, too. Empty for a goal that is not there.
std::string submitter_of(const std::vector<event>& events, std::string_view goal);

/// The effect key under which an incident's retrain goal is opened (I3).
std::string retrain_key(const incident_found& m);
/// "churn" of "churn/v3".
std::string model_of_version(std::string_view version);

} // namespace flywheel
