#include "deploy/server/route_snapshot.hpp"

#include "deploy/server/inference_protocol.hpp"
#include "deploy/server/json_text.hpp"
#include "deploy/server/traffic_split.hpp"

namespace flywheel {
namespace {

std::vector<std::string> input_names(const served_model& m) {
  std::vector<std::string> names;
  if (m.model != nullptr)
    for (const auto& i : m.model->signature().inputs)
      names.push_back(i.name);
  return names;
}

prepared_model prepare(const std::string& name, const served_model& served, const served_model& other, bool challenger,
                       server_metrics& metrics) {
  const auto& signature = served.model->signature();
  prepared_model p{served, challenger, row_layout{signature, input_names(other)},
                   metrics.of(served.version, input_names(served)), ",\"model\":", {}};
  append_json_string(p.answer_middle, name);
  p.answer_middle += ",\"version\":";
  append_json_string(p.answer_middle, served.version);
  p.answer_middle += ",\"prediction\":";
  for (const auto& c : signature.classes)
    append_json_string(p.class_json.emplace_back(), c);
  return p;
}

} // namespace

const prepared_model& route_snapshot::choose(std::string_view key) const noexcept {
  if (!champion)
    return *challenger;
  if (!challenger || !goes_to_challenger(key, challenger->served.version, table.challenger_percent))
    return *champion;
  return *challenger;
}

const prepared_model* route_snapshot::by_version(std::string_view version) const noexcept {
  for (const auto* p : {&champion, &challenger})
    if (*p && protocol_version((*p)->served.version) == protocol_version(version))
      return &**p;
  return nullptr;
}

std::shared_ptr<const route_snapshot> prepare_routes(const std::string& model, route_table table, server_metrics& metrics) {
  auto s = std::make_shared<route_snapshot>();
  if (table.champion.model != nullptr)
    s->champion.emplace(prepare(model, table.champion, table.challenger, false, metrics));
  if (table.challenger.model != nullptr)
    s->challenger.emplace(prepare(model, table.challenger, table.champion, true, metrics));
  s->same_coding = !s->champion || !s->challenger || s->champion->layout.same_coding(s->challenger->layout);
  s->table = std::move(table);
  return s;
}

} // namespace flywheel
