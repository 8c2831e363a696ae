#pragma once
// Is it good enough? One rule, the same for the whole and for each slice:
//
//   pass          the measured value reaches the threshold
//   fail          it does not
//   inconclusive  neither may be said: the interval holds the threshold AND is wider than `half_width_max` to a side,
//                 or there are fewer than `rows_min` rows, or the metric is not defined on them
//
// A goal that asks for 0.95 asks that the held-out rows show 0.95. It does not ask for proof that the true value is above
// 0.95, which would quietly ask for more than was written; how sure that is stands in the verdict instead.

#include "actors/evaluator/interval.hpp"

#include <optional>
#include <string>
#include <vector>

namespace flywheel {

enum class gate_result : std::uint8_t { pass, fail, inconclusive };
std::string_view name_of(gate_result g) noexcept;
std::optional<gate_result> gate_result_from_name(std::string_view name) noexcept;

struct gate_options {
  std::uint64_t rows_min = 30;
  /// In the metric's unit. For metrics without a natural scale (rmse, mae, log_loss) it is a share of the threshold.
  double half_width_max = 0.05;
};

struct gate_verdict {
  gate_result result = gate_result::inconclusive;
  double threshold = 0;
  double reached_with = 0;   ///< confidence that the true value reaches the threshold; nan if unknown
  std::string reason;        ///< one sentence with the numbers and the rule
};

gate_verdict judge_gate(const metric_estimate& e, double threshold, const gate_options& o = {});

/// The whole and its slices: fail if any fails, else inconclusive if any is, else pass.
struct named_gate {
  std::string name;          ///< "all rows" or the slice
  gate_verdict verdict;
};
gate_verdict combine_gates(const std::vector<named_gate>& gates);

} // namespace flywheel
