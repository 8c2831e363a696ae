#pragma once
// From a model's features to what a tabular network eats: numbers standardised and cut into segments of equally many
// rows, categories shifted so that 0 is "missing or unknown". Fitted on training rows only.

#include "cluster/base/error.hpp"
#include "models/tabular_model.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace flywheel {

class tabular_encoder {
public:
  /// `features` is rows x inputs. At most `segments` segments a number; fewer where it takes few values. Sorting each
  /// column costs O(rows log rows).
  static tabular_encoder fit(const model_signature& s, std::span<const float> features, std::uint32_t segments);

  std::size_t numbers() const noexcept { return numeric_inputs_.size(); }
  std::size_t categories() const noexcept { return category_inputs_.size(); }
  /// Standardised edges per number, increasing, at least two.
  const std::vector<std::vector<double>>& edges() const noexcept { return edges_; }
  /// Rows of the embedding table per category: its known categories and one.
  const std::vector<std::uint32_t>& table_rows() const noexcept { return table_rows_; }

  /// One row of features to numbers() floats (NaN stays NaN) and categories() indices.
  void encode_row(const float* features, float* to_numbers, std::uint32_t* to_categories) const noexcept;

  /// The fitted numbers, for a file: means, deviations, edges one after another and how many of them each number has.
  struct state {
    std::vector<double> means, deviations, edges;
    std::vector<std::uint32_t> edge_counts;
  };
  state save() const;
  /// invalid_format if it does not fit the signature or is not what fit() can make.
  static result<tabular_encoder> load(const model_signature& s, const state& from);

private:
  explicit tabular_encoder(const model_signature& s);

  std::vector<std::uint32_t> numeric_inputs_, category_inputs_; ///< which inputs they are
  std::vector<double> means_, deviations_;
  std::vector<std::vector<double>> edges_;
  std::vector<std::uint32_t> table_rows_;
};

} // namespace flywheel
