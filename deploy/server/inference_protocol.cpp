#include "deploy/server/inference_protocol.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "deploy/server/json_text.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace flywheel {
namespace {

using nlohmann::json;
constexpr std::size_t depth_max = 16;
constexpr std::string_view predict = "predict", predict_proba = "predict_proba";

enum class kind { boolean, integer, real, bytes };
struct datatype {
  std::string_view name;
  kind k;
  double low, high; ///< integers
};
constexpr std::array datatypes{
    datatype{"BOOL", kind::boolean, 0, 1},         datatype{"BYTES", kind::bytes, 0, 0},
    datatype{"FP16", kind::real, 0, 0},            datatype{"FP32", kind::real, 0, 0},
    datatype{"FP64", kind::real, 0, 0},            datatype{"INT8", kind::integer, -0x1p7, 0x1p7 - 1},
    datatype{"INT16", kind::integer, -0x1p15, 0x1p15 - 1}, datatype{"INT32", kind::integer, -0x1p31, 0x1p31 - 1},
    datatype{"INT64", kind::integer, -0x1p63, 0x1p63},     datatype{"UINT8", kind::integer, 0, 0x1p8 - 1},
    datatype{"UINT16", kind::integer, 0, 0x1p16 - 1},      datatype{"UINT32", kind::integer, 0, 0x1p32 - 1},
    datatype{"UINT64", kind::integer, 0, 0x1p64}};

error refuse(std::string what, std::string hint = {}) {
  return error{errc::invalid_argument, std::move(what), {}, std::move(hint)};
}

struct tensor {
  std::string name;
  const datatype* type = nullptr;
  std::size_t rows = 0, columns = 1;
  std::vector<const json*> values;
};

void flatten(const json& j, std::vector<const json*>& out) { // depth is bounded by depth_max
  if (!j.is_array())
    return out.push_back(&j);
  for (const auto& x : j)
    flatten(x, out);
}

result<tensor> read_tensor(const json& j, std::size_t columns_max) {
  tensor t;
  if (!j.is_object() || !j.contains("name") || !j["name"].is_string())
    return refuse("each of 'inputs' needs a 'name' (a string)");
  t.name = j["name"].get<std::string>();
  const std::string called = "input '" + printable(t.name, 64) + "'";
  const auto type = j.find("datatype");
  if (type == j.end() || !type->is_string())
    return refuse(called + " needs a 'datatype', such as FP32 or BYTES");
  const auto name = type->get<std::string>();
  const auto known = std::find_if(datatypes.begin(), datatypes.end(), [&](const auto& d) { return d.name == name; });
  if (known == datatypes.end()) {
    std::vector<std::string_view> names;
    for (const auto& d : datatypes)
      names.push_back(d.name);
    const auto near = nearest(name, names);
    return refuse(called + " has the unknown datatype '" + printable(name, 20) + "'",
                  near.empty() ? "use FP32, INT64, BOOL or BYTES" : "did you mean " + std::string{near} + "?");
  }
  t.type = &*known;
  const auto shape = j.find("shape");
  if (shape == j.end() || !shape->is_array() || shape->empty() || shape->size() > 2)
    return refuse(called + " needs a 'shape' of one or two numbers");
  std::array<std::uint64_t, 2> dims{0, 1};
  for (std::size_t i = 0; i < shape->size(); ++i) {
    const auto& d = (*shape)[i];
    if (!d.is_number_unsigned())
      return refuse(called + " has a shape that is not made of whole numbers");
    dims[i] = d.get<std::uint64_t>();
  }
  if (dims[0] > rows_per_request_max)
    return error{errc::too_large, called + " has more than " + std::to_string(rows_per_request_max) + " rows", {},
                 "send several requests"};
  if (dims[1] > std::max<std::size_t>(1, columns_max))
    return refuse(called + " has " + std::to_string(dims[1]) + " columns; the model has " + std::to_string(columns_max) + " inputs");
  t.rows = dims[0];
  t.columns = dims[1];
  const auto data = j.find("data");
  if (data == j.end() || !data->is_array())
    return refuse(called + " needs 'data' (an array)", "binary tensor data is not supported: send JSON");
  flatten(*data, t.values);
  if (t.values.size() != t.rows * t.columns)
    return refuse(called + " has " + std::to_string(t.values.size()) + " values, its shape asks for " +
                  std::to_string(t.rows * t.columns));
  return t;
}

/// One value as the number it says it is; NaN for null.
result<double> number_of(const json& v, const tensor& t) {
  const auto wrong = [&](std::string_view wanted) {
    return refuse("input '" + printable(t.name, 64) + "' is " + std::string{t.type->name} + ", so its values must be " +
                  std::string{wanted} + " or null, not " + v.type_name());
  };
  if (v.is_null())
    return std::numeric_limits<double>::quiet_NaN();
  switch (t.type->k) {
  case kind::boolean:
    if (v.is_boolean())
      return v.get<bool>() ? 1.0 : 0.0;
    return wrong("true, false");
  case kind::integer: {
    if (!v.is_number_integer())
      return wrong("whole numbers");
    const double x = v.get<double>();
    if (x < t.type->low || x > t.type->high)
      return refuse("input '" + printable(t.name, 64) + "': " + v.dump() + " does not fit " + std::string{t.type->name});
    return x;
  }
  case kind::real: {
    if (!v.is_number())
      return wrong("numbers");
    const double x = v.get<double>();
    if (std::abs(x) > static_cast<double>(std::numeric_limits<float>::max()))
      return refuse("input '" + printable(t.name, 64) + "': " + v.dump() + " is out of range");
    return x;
  }
  case kind::bytes: break;
  }
  return refuse("input '" + printable(t.name, 64) + "' is a number for the model and was sent as BYTES", "send FP32 or INT64");
}

/// One value of a categorical input, by its text. Counts unknown ones.
result<float> category_of(const json& v, const tensor& t, const row_layout& layout, std::size_t i, row_batch& rows) {
  if (v.is_null())
    return std::numeric_limits<float>::quiet_NaN();
  std::string text;
  if (t.type->k == kind::bytes && v.is_string())
    text = v.get<std::string>();
  else if (t.type->k == kind::boolean && v.is_boolean())
    text = v.get<bool>() ? "true" : "false";
  else if (t.type->k == kind::integer && v.is_number_integer() && layout.numbers_as_categories(i))
    text = v.dump();
  else
    return refuse("input '" + layout.name(i) + "' is a category for the model: its values must be strings or null, not " +
                      v.type_name() + " (" + std::string{t.type->name} + ")",
                  "send datatype BYTES");
  const auto code = layout.category(i, text);
  if (code >= 0)
    return static_cast<float>(code);
  rows.unknown_inputs.push_back(static_cast<std::uint32_t>(i));
  return unseen_category;
}

status read_column(const tensor& t, const row_layout& layout, std::size_t i, row_batch& rows) {
  for (std::size_t r = 0; r < t.rows; ++r) {
    float& out = rows.features[r * layout.size() + i];
    if (layout.type(i) == column_type::categorical) {
      FLYWHEEL_TRY(out, category_of(*t.values[r], t, layout, i, rows));
    } else {
      FLYWHEEL_TRY(const double x, number_of(*t.values[r], t));
      out = static_cast<float>(x);
    }
  }
  return success();
}

status read_matrix(const tensor& t, const row_layout& layout, row_batch& rows) {
  for (std::size_t r = 0; r < t.rows; ++r)
    for (std::size_t i = 0; i < layout.size(); ++i) {
      const json& v = *t.values[r * t.columns + i];
      float& out = rows.features[r * layout.size() + i];
      if (t.type->k == kind::bytes && layout.type(i) == column_type::categorical) {
        FLYWHEEL_TRY(out, category_of(v, t, layout, i, rows));
        continue;
      }
      FLYWHEEL_TRY(const double x, number_of(v, t));
      const auto categories = static_cast<double>(layout.categories(i).size());
      if (layout.type(i) == column_type::categorical && x >= 0 && (x >= categories || x != std::floor(x)))
        return refuse("row " + std::to_string(r + 1) + ": " + v.dump() + " is not a category code of '" + layout.name(i) + "'",
                      "codes are 0 to " + std::to_string(layout.categories(i).size() - 1) +
                          "; or send one BYTES tensor per input");
      out = static_cast<float>(x);
    }
  return success();
}

status read_wanted(const json& j, const model_signature& signature, infer_request& request) {
  const auto outputs = j.find("outputs");
  if (outputs == j.end() || (outputs->is_array() && outputs->empty()))
    return success();
  if (!outputs->is_array())
    return refuse("'outputs' must be an array");
  request.labels = request.probabilities = false;
  for (const auto& o : *outputs) {
    if (!o.is_object() || !o.contains("name") || !o["name"].is_string())
      return refuse("each of 'outputs' needs a 'name' (a string)");
    const auto& name = o["name"].get_ref<const std::string&>();
    if (name == predict)
      request.labels = true;
    else if (name == predict_proba && !signature.classes.empty())
      request.probabilities = true;
    else
      return refuse("the model has no output '" + printable(name, 64) + "'",
                    signature.classes.empty() ? "it has 'predict'" : "it has 'predict' and 'predict_proba'");
  }
  return success();
}

status read_request_id(const json& j, infer_request& request) {
  const auto id = j.find("id");
  if (id == j.end())
    return success();
  if (!id->is_string())
    return refuse("'id' must be a string");
  request.id = id->get<std::string>();
  if (request.id.size() > request_id_bytes_max)
    return refuse("'id' must have at most " + std::to_string(request_id_bytes_max) + " bytes");
  return success();
}

status read_tensors(const json& inputs, const row_layout& layout, row_batch& rows) {
  std::vector<tensor> tensors;
  for (const auto& j : inputs) {
    FLYWHEEL_TRY(auto t, read_tensor(j, layout.size()));
    tensors.push_back(std::move(t));
  }
  rows.rows = tensors[0].rows;
  rows.features.assign(rows.rows * layout.size(), std::numeric_limits<float>::quiet_NaN());
  if (tensors.size() == 1 && tensors[0].columns == layout.size() &&
      (layout.size() > 1 || layout.find(tensors[0].name) == row_layout::unknown))
    return read_matrix(tensors[0], layout, rows);

  std::vector<bool> seen(layout.size());
  for (const auto& t : tensors) {
    const auto i = layout.find(t.name);
    if (i == row_layout::ignored)
      continue;
    if (i == row_layout::unknown)
      return layout.unknown_name(t.name);
    const auto at = static_cast<std::size_t>(i);
    if (seen[at])
      return refuse("input '" + t.name + "' is given twice");
    seen[at] = true;
    if (t.columns != 1 || t.rows != rows.rows)
      return refuse("input '" + t.name + "' has another number of rows than the first one",
                    "every input has the shape [n] or [n, 1] with the same n");
    FLYWHEEL_CHECK(read_column(t, layout, at, rows));
  }
  std::vector<std::string> absent;
  for (std::size_t i = 0; i < layout.size(); ++i)
    if (!seen[i] && absent.size() < 5)
      absent.push_back("'" + layout.name(i) + "'");
  if (!absent.empty())
    return refuse("these inputs are absent: " + join(absent, ", "), "send null for a value that is not known");
  return success();
}

std::string_view datatype_of(const model_input& i) { return i.type == column_type::numeric ? "FP32" : "BYTES"; }

} // namespace

status read_infer(const row_layout& layout, const model_signature& signature, std::string_view body, infer_request& request,
                  row_batch& rows) {
  rows.clear();
  request = {};
  if (json_depth(body, depth_max) > depth_max)
    return error{errc::too_large, "values are nested deeper than " + std::to_string(depth_max)};
  json j;
  try {
    j = json::parse(body);
  } catch (const json::exception& e) {
    const std::string_view what = e.what(); // "[json.exception.parse_error.101] parse error at line 1, column 2: ..."
    const auto text = what.find("] ");
    return error{errc::invalid_format, "the body is not JSON: " + printable(text == what.npos ? what : what.substr(text + 2))};
  }
  if (!j.is_object())
    return refuse("the body must be an object with 'inputs'");
  FLYWHEEL_CHECK(read_request_id(j, request));
  FLYWHEEL_CHECK(read_wanted(j, signature, request));
  const auto inputs = j.find("inputs");
  if (inputs == j.end() || !inputs->is_array() || inputs->empty())
    return refuse("'inputs' must be an array with at least one tensor",
                  "send {\"inputs\":[{\"name\":...,\"shape\":[1],\"datatype\":\"FP32\",\"data\":[...]}]}");
  if (inputs->size() > layout.size() * 2 + 1)
    return refuse("there are " + std::to_string(inputs->size()) + " tensors; the model has " + std::to_string(layout.size()) +
                  " inputs");
  return read_tensors(*inputs, layout, rows);
}

void write_infer(std::string& out, std::string_view model, std::string_view version, const infer_request& request,
                 const model_signature& signature, std::span<const float> outputs, std::size_t rows) {
  const std::size_t width = signature.outputs();
  out += "{\"model_name\":";
  append_json_string(out, model);
  out += ",\"model_version\":";
  append_json_string(out, protocol_version(version));
  if (!request.id.empty()) {
    out += ",\"id\":";
    append_json_string(out, request.id);
  }
  out += ",\"outputs\":[";
  if (request.labels) {
    out += "{\"name\":\"predict\",\"shape\":[";
    append_json_number(out, std::uint64_t{rows});
    out += signature.classes.empty() ? "],\"datatype\":\"FP32\",\"data\":[" : "],\"datatype\":\"BYTES\",\"data\":[";
    for (std::size_t r = 0; r < rows; ++r) {
      if (r > 0)
        out += ',';
      if (signature.classes.empty())
        append_json_number(out, outputs[r]);
      else
        append_json_string(out, signature.classes[best_class(outputs.subspan(r * width, width))]);
    }
    out += "]}";
  }
  if (request.probabilities && !signature.classes.empty()) {
    out += request.labels ? ",{" : "{";
    out += "\"name\":\"predict_proba\",\"shape\":[";
    append_json_number(out, std::uint64_t{rows});
    out += ',';
    append_json_number(out, std::uint64_t{width});
    out += "],\"datatype\":\"FP32\",\"data\":[";
    for (std::size_t i = 0; i < rows * width; ++i) {
      if (i > 0)
        out += ',';
      append_json_number(out, outputs[i]);
    }
    out += "]}";
  }
  out += "]}";
}

void write_model_metadata(std::string& out, std::string_view model, const std::vector<std::string>& versions,
                          std::string_view family, const model_signature& signature) {
  out += "{\"name\":";
  append_json_string(out, model);
  out += ",\"versions\":[";
  for (std::size_t i = 0; i < versions.size(); ++i) {
    out += i > 0 ? "," : "";
    append_json_string(out, protocol_version(versions[i]));
  }
  out += "],\"platform\":";
  append_json_string(out, "flywheel_" + std::string{family});
  out += ",\"inputs\":[";
  for (std::size_t i = 0; i < signature.inputs.size(); ++i) {
    out += i > 0 ? ",{\"name\":" : "{\"name\":";
    append_json_string(out, signature.inputs[i].name);
    out.append(",\"datatype\":\"").append(datatype_of(signature.inputs[i])).append("\",\"shape\":[-1]}");
  }
  out += "],\"outputs\":[{\"name\":\"predict\",\"datatype\":\"";
  out += signature.classes.empty() ? "FP32" : "BYTES";
  out += "\",\"shape\":[-1]}";
  if (!signature.classes.empty()) {
    out += ",{\"name\":\"predict_proba\",\"datatype\":\"FP32\",\"shape\":[-1,";
    append_json_number(out, std::uint64_t{signature.classes.size()});
    out += "],\"parameters\":{";
    for (std::size_t i = 0; i < signature.classes.size(); ++i) {
      out += i > 0 ? "," : "";
      append_json_string(out, "class_" + std::to_string(i));
      out += ':';
      append_json_string(out, signature.classes[i]);
    }
    out += "}}";
  }
  out += "]}";
}

void write_server_metadata(std::string& out, std::string_view program_version) {
  out += "{\"name\":\"flywheel\",\"version\":";
  append_json_string(out, program_version);
  out += ",\"extensions\":[]}";
}

std::string_view protocol_version(std::string_view version_id) noexcept {
  if (const auto slash = version_id.rfind('/'); slash != version_id.npos)
    version_id.remove_prefix(slash + 1);
  if (version_id.size() > 1 && version_id[0] == 'v')
    version_id.remove_prefix(1);
  return version_id;
}

std::size_t best_class(std::span<const float> outputs) noexcept {
  return static_cast<std::size_t>(std::max_element(outputs.begin(), outputs.end()) - outputs.begin());
}

} // namespace flywheel
