#include "models/model_file.hpp"

#include "cluster/base/ids.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/limits.hpp"
#include "cluster/content/digest.hpp"
#include "cluster/content/publish.hpp"

namespace flywheel {

namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr const char* file_name = "model.json";
constexpr const char* format_name = "flywheel-model";
// The last key is the SHA-256 of every byte of the file before the comma that precedes it.
constexpr std::string_view seal_before = ",\n  \"sha256\": \"", seal_after = "\"\n}\n";
constexpr std::size_t seal_size = seal_before.size() + 64 + seal_after.size();

error damaged(const fs::path& path, const std::string& what) {
  return error{errc::checksum_mismatch, what, path.string(), "restore the model from its registry or train it again"};
}

ordered_json to_json(const model_signature& s) {
  auto inputs = ordered_json::array();
  for (const auto& input : s.inputs) {
    ordered_json one{{"name", input.name}, {"type", std::string{name_of(input.type)}}};
    if (input.type == column_type::categorical)
      one["categories"] = input.categories;
    inputs.push_back(std::move(one));
  }
  return {{"task", std::string{name_of(s.type)}}, {"target", s.target}, {"classes", s.classes}, {"inputs", inputs}};
}

model_signature signature_from(const ordered_json& j) {
  model_signature s;
  const auto type = task_type_from_name(j.at("task").get<std::string>());
  if (!type)
    throw std::invalid_argument("unknown task " + j.at("task").dump());
  s.type = *type;
  s.target = j.at("target").get<std::string>();
  s.classes = j.at("classes").get<std::vector<std::string>>();
  for (const auto& one : j.at("inputs")) {
    model_input input{one.at("name").get<std::string>(), column_type::numeric, {}};
    if (one.at("type") == name_of(column_type::categorical)) {
      input.type = column_type::categorical;
      input.categories = one.at("categories").get<std::vector<std::string>>();
    } else if (one.at("type") != name_of(column_type::numeric)) {
      throw std::invalid_argument("unknown type of input " + one.at("type").dump());
    }
    s.inputs.push_back(std::move(input));
  }
  return s;
}

status check_seal(std::string_view text, const fs::path& path) {
  if (text.size() < seal_size || !text.ends_with(seal_after) ||
      text.substr(text.size() - seal_size, seal_before.size()) != seal_before)
    return damaged(path, "the last key, the file's own SHA-256, is missing or damaged");
  const auto body = text.substr(0, text.size() - seal_size);
  if (digest_of(body).hex() != text.substr(body.size() + seal_before.size(), 64))
    return damaged(path, "the file does not match its own SHA-256");
  return success();
}

} // namespace

status write_model_file(const fs::path& folder, const model_file& m) {
  auto files = ordered_json::object();
  for (const auto& name : m.files) {
    FLYWHEEL_TRY(const auto hash, digest_of_file(folder / name));
    files[name] = hash.hex();
  }
  const ordered_json document{{"format", format_name},
                              {"version", model_format_version},
                              {"family", m.family},
                              {"signature", to_json(m.signature)},
                              {"files", std::move(files)}};
  // Labels come from a person's data and may be any bytes; what is not UTF-8 cannot be kept in JSON.
  std::string body;
  try {
    body = document.dump(2);
  } catch (const std::exception&) {
    return error{errc::invalid_data, "a column, category or class is not valid UTF-8", folder.string(),
                 "convert the data to UTF-8 first"};
  }
  body.resize(body.size() - 2); // the closing "\n}" comes back with the seal
  const auto hash = digest_of(body).hex();
  return publish_file(folder / file_name, body + std::string{seal_before} + hash + std::string{seal_after});
}

result<model_file> read_model_file(const fs::path& folder) {
  const auto path = folder / file_name;
  FLYWHEEL_TRY(const auto text, read_file(path, 256 * limits::mib));
  FLYWHEEL_CHECK(check_seal(text, path));
  model_file m;
  try {
    const auto document = ordered_json::parse(text);
    if (document.at("format") != format_name)
      return error{errc::invalid_format, "it is no model but " + document.at("format").dump(), path.string()};
    if (document.at("version") != model_format_version)
      return error{errc::incompatible_version,
                   "the model has format version " + document.at("version").dump() + ", this program reads " +
                       std::to_string(model_format_version),
                   path.string(), "use the program that wrote it, or a newer one"};
    m.family = document.at("family").get<std::string>();
    m.signature = signature_from(document.at("signature"));
    for (const auto& [name, hash] : document.at("files").items()) {
      if (!is_valid_name(name))
        return error{errc::invalid_format, "a file outside of the model's folder is named: " + name, path.string()};
      FLYWHEEL_TRY(const auto actual, digest_of_file(folder / name));
      if (actual.hex() != hash.get<std::string>())
        return damaged(folder / name, "the file does not match the SHA-256 in model.json");
      m.files.push_back(name);
    }
  } catch (const std::exception& e) {
    return error{errc::invalid_format, e.what(), path.string()};
  }
  return m;
}

} // namespace flywheel
