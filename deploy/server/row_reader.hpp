#pragma once
// The plain JSON of POST /predict and POST /feedback, read in one pass over the bytes: no tree, and no allocation once
// the buffers have grown. Grammar: RFC 8259; forms and rules: docs/serving.md.

#include "cluster/base/error.hpp"
#include "deploy/server/row_layout.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

/// Rows decoded for one model. Reused from request to request by the thread that owns it.
struct row_batch {
  bool array = false;                        ///< the body was an array, so the answer is one too
  std::size_t rows = 0;
  std::vector<float> features;               ///< rows x inputs, as tabular_model::predict wants them
  std::vector<std::string> ids;              ///< at least `rows`; empty where the client gave none
  std::vector<std::uint32_t> unknown_inputs; ///< input index of each value that was not a known category

  void clear() noexcept {
    array = false;
    rows = 0;
    features.clear();
    unknown_inputs.clear();
  }

  std::vector<std::uint32_t> seen_; ///< scratch: row number + 1 in which an input was last seen
  std::string scratch_;             ///< scratch: unescaped text
};

inline constexpr std::size_t rows_per_request_max = 16'384;
inline constexpr std::size_t request_id_bytes_max = 128;

/// Reads one row or an array of rows:
///   {"<input>": value, ...}   optionally with "id" (unless the model has an input of that name)
///   {"id": "...", "features": {"<input>": value, ...}}
/// Every input must be there; null says that the value is missing. Numbers for numeric inputs, strings for categories
/// (also numbers or true/false where a category is written so). Unknown categories count as missing.
/// Errors name the input or the byte: invalid_format (not JSON), invalid_argument (not a row of this model), too_large.
status read_rows(const row_layout& layout, std::string_view body, row_batch& out);

/// One label: {"id": "...", "label": "yes"}. A label may be a string, a number, true or false; kept as text.
struct label_entry {
  std::string id, label;
};
/// One entry or an array of them.
status read_labels(std::string_view body, std::vector<label_entry>& out);

/// Nesting depth of JSON text without parsing it; stops counting beyond `limit`. For parsers that build trees.
std::size_t json_depth(std::string_view body, std::size_t limit) noexcept;

} // namespace flywheel
