#pragma once
// The bodies of a study's events, written and read in one place; described for other readers in docs/search.md.
// Reading trusts nothing: invalid_format names the field. Numbers that are not finite travel as text ("nan", "inf").

#include "actors/hpo/study_types.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace flywheel::study_format {

struct created { std::uint32_t number = 0; param_set params; std::string source, reason; };
struct running { std::uint32_t attempt = 0; nanoseconds time_max{0}; };
struct report { std::uint32_t attempt = 0; trial_report at; bool go_on = true; std::string reason; };
struct ended {
  trial_outcome how = trial_outcome::failed;
  double value = 0, standard_error = 0;
  std::uint32_t resource = 0;
  std::vector<double> fold_values;
  double seconds = 0;
  error cause{errc::ok, {}};
  std::string reason;
};
struct reserved { budget_use amount; };
struct settled { budget_use amount; };
struct stop_trial { std::string trial; std::string reason; };
struct finished { study_end why = study_end::running; std::string reason; };

/// What an event says about a study; monostate: nothing (another study, another kind of event).
using body = std::variant<std::monostate, created, running, report, ended, reserved, settled, stop_trial, finished>;

/// `study` is written into the body, so that several studies can share a step.
std::string write(const body& b, const std::string& study, const std::string& extra_evidence_json = {});
/// monostate if the event is of a kind a study does not write, or its body names another study or none.
result<body> read(event_kind kind, std::string_view json, const std::string& study);

} // namespace flywheel::study_format
