#pragma once
// Reads what a state folder tells about the promises: the journal, the registry, and whether secrets stand where they must not.

#include "cluster/chaos/promise_judge.hpp"
#include "cluster/journal/state_directory.hpp"

namespace flywheel {

/// Everything of promise_evidence that files tell; what was acknowledged, whether it is quiet and what is left is the caller's. Works beside
/// the owner. Errors only if there is no journal or it may not be read; damage is evidence.
result<promise_evidence> gather_evidence(const state_layout& layout);

/// Temporary files that nobody will finish any more, and those of `more` that are still there. For a cluster at rest.
std::vector<std::string> files_left(const state_layout& layout, const std::vector<std::filesystem::path>& more = {});

} // namespace flywheel
