#pragma once
// How a rehearsal of faults is shown: each stroke as it falls, the plan of a dry run, the verdicts.

#include "cluster/chaos/chaos_planner.hpp"
#include "cluster/chaos/promise_judge.hpp"

#include <nlohmann/json_fwd.hpp>

namespace flywheel {

/// " 12.3s  workers: container-kill node1/worker-0 (process 4711)". `problem`: why it did not work; empty: it did.
std::string stroke_line(const chaos_experiment& e, const chaos_stroke& s, const std::string& problem = {});
/// " 15.3s  node1 thaws"
std::string moment_line(nanoseconds since_the_beginning, const std::string& what);
/// One line a promise; of broken ones the evidence below.
std::vector<std::string> verdict_lines(const std::vector<promise_verdict>& verdicts, bool colour);
/// What stands of a stroke in the report.
nlohmann::json stroke_json(const chaos_experiment& e, const chaos_stroke& s, const std::string& problem);

} // namespace flywheel
