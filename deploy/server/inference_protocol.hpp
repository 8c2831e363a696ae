#pragma once
// Open Inference Protocol v2 (JSON): requests into rows, predictions into answers, and the metadata pages.
// What of it is spoken, field by field: docs/serving.md.

#include "deploy/server/row_reader.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

struct infer_request {
  std::string id;            ///< empty: none given
  bool labels = true;        ///< output "predict" is wanted
  bool probabilities = true; ///< output "predict_proba" is wanted
};

/// Reads an infer request into rows of `layout`: one tensor [n] or [n,1] per input, or one 2-D tensor [n, inputs].
/// Datatypes BOOL, INT8..INT64, UINT8..UINT64, FP16, FP32, FP64, BYTES. null is a missing value. In the 2-D form categories
/// travel as their codes. Errors name the tensor: invalid_format, invalid_argument, too_large (body nesting, rows).
status read_infer(const row_layout& layout, const model_signature& signature, std::string_view body, infer_request& request,
                  row_batch& rows);

/// Appends the answer. `outputs`: rows x signature.outputs(), finite.
void write_infer(std::string& out, std::string_view model, std::string_view version, const infer_request& request,
                 const model_signature& signature, std::span<const float> outputs, std::size_t rows);

/// GET /v2/models/{model}: inputs and outputs with datatypes and shapes.
void write_model_metadata(std::string& out, std::string_view model, const std::vector<std::string>& versions,
                          std::string_view family, const model_signature& signature);
/// GET /v2
void write_server_metadata(std::string& out, std::string_view program_version);

/// "churn/v3" -> "3": how versions are called in this protocol.
std::string_view protocol_version(std::string_view version_id) noexcept;
/// Index of the largest of a row's outputs; the first of equals.
std::size_t best_class(std::span<const float> outputs) noexcept;

} // namespace flywheel
