#pragma once
// The release step: the evaluated model becomes an immutable version with its lineage. Blocking; safe to repeat.

#include "actors/protocol/agent_context.hpp"
#include "actors/protocol/messages.hpp"
#include "checkpoints/registry.hpp"

namespace flywheel {

/// Inputs: {"evaluate": {...}} with the winner; the earlier steps' outputs are read from the journal.
result<step_outcome> release_model(const agent_context& context, const run_step& m);

/// The journal's entry about a version that stands in the registry.
event_draft registration_of(const scribe& log, const model_version& v);

} // namespace flywheel
