#pragma once
// Rows for `flywheel predict`: from NAME=VALUE words or a file (CSV with a header, JSONL, or JSON), as JSON objects with
// every input of the model; what was not given is null (missing).

#include "models/tabular_model.hpp"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace flywheel {

/// invalid_argument naming the word, with the nearest input, if a name is not an input or a value does not fit its type.
result<nlohmann::json> row_of_assignments(const std::vector<std::string>& words, const model_signature& signature);
/// `file` may be "-" (standard input). Columns that are no input are ignored. At most 64 MiB; errors name the line.
result<nlohmann::json> rows_of_file(const std::string& file, const model_signature& signature);
/// The same from text, for tests; `name` is for errors.
result<nlohmann::json> rows_of_text(std::string_view text, std::string_view name, const model_signature& signature);

} // namespace flywheel
