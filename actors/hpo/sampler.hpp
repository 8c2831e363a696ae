#pragma once
// Which configuration to try next. A sampler is a pure function of its arguments: the same space, history, seed and trial
// number always propose the same parameters, so that a study replayed from the journal goes on as if nothing had
// happened (I13). Samplers keep nothing between calls; any thread may call them.

#include "cluster/base/error.hpp"
#include "models/trial.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

enum class trial_outcome : std::uint8_t { running, completed, pruned, failed };

/// What a sampler may know about an earlier trial.
struct past_trial {
  std::uint32_t number = 0;
  param_set params;
  trial_outcome how = trial_outcome::running;
  double value = 0;           ///< the metric at `resource`; means nothing while running with resource 0, or when failed
  std::uint32_t resource = 0; ///< where it was measured; a pruned trial is compared by how far it came, then by value
};

struct sampler_history {
  bool maximise = true;
  std::vector<past_trial> trials; ///< in the order of their numbers
};

struct suggestion {
  param_set params;
  std::string source;     ///< "random", "tpe" or "" if exhausted
  std::string reason;     ///< one sentence for `flywheel why`
  bool exhausted = false; ///< a finite space of which every point was tried; params is empty
};

class sampler {
public:
  virtual ~sampler() = default;
  virtual std::string_view name() const noexcept = 0;
  /// One value for each parameter of `space`, inside its range. `space` must have passed check_space().
  /// A trial of the history with parameters missing, or outside the space, is ignored where it cannot be used.
  virtual suggestion propose(const search_space& space, const sampler_history& history, std::uint64_t seed,
                             std::uint32_t trial_number) const = 0;
};

/// Independent uniform (or log-uniform) draws; never a point that was tried, as long as there is another.
std::unique_ptr<sampler> make_random_sampler();

/// Tree-structured Parzen estimator; see tpe_sampler.cpp for the formulas and their papers.
struct tpe_options {
  std::uint32_t startup = 10;     ///< trials drawn at random before the densities mean anything
  std::uint32_t candidates = 24;  ///< drawn from the good density; the best ratio wins
  double gamma = 0.12;            ///< share of finished trials called good ...
  std::uint32_t good_max = 25;    ///< ... and at most so many
  double prior_weight = 1.0;      ///< of the flat prior, in trials
  std::uint32_t recent = 25;      ///< so many newest trials weigh 1, older ones less, down to 1/n
};
std::unique_ptr<sampler> make_tpe_sampler(const tpe_options& options = {});

/// "random" or "tpe"; not_found with the nearest name otherwise.
result<std::unique_ptr<sampler>> make_sampler(std::string_view name);

/// invalid_argument naming the parameter: empty space, low > high, a bound that is not finite, log with low <= 0,
/// an integer without an integer in its range, a choice without choices or with the same one twice.
status check_space(const search_space& space);

/// How many different points there are; 0 means too many to count (a real parameter, or more than 2^32).
std::uint64_t cardinality(const search_space& space);

/// True if `params` has every parameter of `space`, of the right type and in its range. What `params` has beyond them
/// (a family's fixed settings) does not matter.
bool inside(const search_space& space, const param_set& params);

/// `params` made to fit: values outside go to the nearest bound, a number of the wrong type is converted, an unknown
/// choice or a missing parameter becomes the first choice or the middle of the range, what `space` does not have is dropped.
param_set clamp_into(const search_space& space, const param_set& params);

} // namespace flywheel
