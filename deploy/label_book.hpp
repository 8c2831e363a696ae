#pragma once
// Labels come long after the answers they judge. Keeps what was answered during a rollout, and when a label comes says how good the
// answer was - and how good the other model's answer to the same row would have been, by asking that model then.

#include "models/tabular_model.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace flywheel {

struct judged_answer {
  bool challenger = false;     ///< who had answered the client
  double score = 0;            ///< of that answer; higher is better: 1 or 0 for right or wrong, minus the absolute error for a number
  std::optional<double> other; ///< of the other model on the same row; none if there is no other, or it needs inputs the row lacks
};

/// Not thread-safe. Answers that get no label are forgotten, oldest first, beyond `answers_max`.
class label_book {
public:
  /// `champion` may be null (a first release). The two may have been trained on different columns.
  label_book(std::shared_ptr<const tabular_model> champion, std::shared_ptr<const tabular_model> challenger,
             std::size_t answers_max = 200'000);

  /// `features`: the row as the model that answered takes it. A second answer under one id replaces the first.
  void answered(const std::string& id, bool challenger, std::vector<float> features, std::vector<float> outputs);
  /// Nothing if the id is unknown, or the label is not one of this model's task.
  std::optional<judged_answer> judge(const std::string& id, const std::string& label);
  std::size_t waiting() const noexcept { return waiting_.size(); }

private:
  struct answer {
    bool challenger = false;
    std::uint64_t order = 0;
    std::vector<float> features, outputs;
  };
  /// Where the other model finds one of its inputs in a row of this one, and what its category codes become.
  struct source {
    std::size_t column = 0;
    std::vector<float> codes; ///< by this model's code; empty: a number
  };
  struct side {
    std::shared_ptr<const tabular_model> model;
    std::optional<std::vector<source>> to_other; ///< none: the other needs an input that this one does not have
  };
  static std::optional<std::vector<source>> translation(const model_signature& from, const model_signature& to);
  static std::optional<double> score(const model_signature& s, const std::vector<float>& outputs, const std::string& label);
  std::optional<double> ask_other(const answer& a, const std::string& label) const;
  void forget_oldest();

  side champion_, challenger_;
  std::size_t answers_max_;
  std::uint64_t next_order_ = 0;
  std::unordered_map<std::string, answer> waiting_;
};

} // namespace flywheel
