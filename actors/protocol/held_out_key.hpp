#pragma once
// Where the evaluator leaves the key with which others may seal rows for it (not open them).

#include "cluster/journal/state_directory.hpp"
#include "cluster/security/sealed_box.hpp"

namespace flywheel {

/// Called by the evaluator when it starts; durable.
status publish_held_out_key(const state_layout& layout, const seal_public_key& key);
/// not_found if no evaluator has ever run on this state directory.
result<seal_public_key> read_held_out_key(const state_layout& layout);

} // namespace flywheel
