#include "cluster/base/json.hpp"
#include "models/trial.hpp"

namespace flywheel {

nlohmann::json to_json(const param_set& p) {
  auto object = nlohmann::json::object();
  for (const auto& [name, value] : p)
    std::visit([&, &key = name](const auto& v) { object[key] = v; }, value);
  return object;
}

result<param_set> params_from_json(const nlohmann::json& j) {
  if (!j.is_object())
    return error{errc::invalid_format, std::string{"parameters must be an object, got "} + j.type_name()};
  param_set params;
  for (const auto& [name, value] : j.items()) {
    if (value.is_number_integer())
      params[name] = value.get<std::int64_t>();
    else if (value.is_number_float())
      params[name] = value.get<double>();
    else if (value.is_string())
      params[name] = value.get<std::string>();
    else
      return error{errc::invalid_format, "parameter " + name + " must be a number or a text, got " + value.type_name(), name};
  }
  return params;
}

} // namespace flywheel
