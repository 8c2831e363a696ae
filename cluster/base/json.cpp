#include "cluster/base/json.hpp"

template class nlohmann::basic_json<>;

namespace nlohmann::detail {

template class serializer<json>;
template class lexer<json, string_input>;
template class lexer<json, view_input>;
template class parser<json, string_input>;
template class parser<json, view_input>;
template class json_sax_dom_parser<json>;
template class json_sax_dom_callback_parser<json>;

} // namespace nlohmann::detail
