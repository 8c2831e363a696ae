#include "actors/protocol/serving_record.hpp"

#include "cluster/base/ids.hpp"
#include "cluster/base/text.hpp"
#include "cluster/content/publish.hpp"

namespace flywheel {

status record_serving(const state_layout& layout, const std::string& model, const std::string& url) {
  return publish_file(layout.run() / ("serving-" + model), url + "\n");
}

result<std::string> read_serving(const state_layout& layout, const std::string& model) {
  if (!is_valid_name(model))
    return error{errc::not_found, "'" + printable(model, 80) + "' cannot be a model"};
  FLYWHEEL_TRY(const auto text, read_file(layout.run() / ("serving-" + model), 4096));
  return std::string{trim(text)};
}

} // namespace flywheel
