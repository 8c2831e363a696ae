#pragma once
// Champion against challenger on the same rows: what the same examples say about both is worth far more than two separate
// intervals.

#include "actors/evaluator/interval.hpp"

#include <string>

namespace flywheel {

enum class comparison_result : std::uint8_t { better, worse, no_difference, inconclusive };
std::string_view name_of(comparison_result c) noexcept;
std::optional<comparison_result> comparison_result_from_name(std::string_view name) noexcept;

struct comparison_options {
  double confidence = 0.95;
  double margin = 0.01;           ///< a difference smaller than this does not matter
  std::uint64_t seed = 1;
  std::uint32_t resamples = 1000;
};

/// All differences are challenger - champion in the metric's unit; `better` already knows which way is up.
struct paired_comparison {
  comparison_result result = comparison_result::inconclusive;
  metric_name metric = metric_name::accuracy;
  double champion = 0, challenger = 0, difference = 0;
  interval range;                 ///< of the difference, at `confidence`
  double confidence = 0.95;
  double p_value = 1;             ///< two-sided: of a difference this large when there is none
  std::string method;             ///< "mcnemar exact" or "paired bootstrap"
  std::uint64_t rows = 0;
  std::uint64_t only_champion = 0, only_challenger = 0; ///< rows that only one of them got right (classification)
  std::string reason;             ///< one sentence with the numbers
};

/// Accuracy: McNemar's test, exact (binomial over the rows that only one got right); every other metric: the paired
/// percentile bootstrap. better/worse: significant at 1 - confidence. no_difference: not significant and the interval of
/// the difference lies within +-margin. inconclusive: otherwise.
/// invalid_argument if the two were not judged on the same rows.
result<paired_comparison> compare_paired(metric_name m, const judged_rows& champion, const judged_rows& challenger,
                                         const comparison_options& o = {});

} // namespace flywheel
