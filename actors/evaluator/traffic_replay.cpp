#include "actors/evaluator/traffic_replay.hpp"

#include "cluster/base/json.hpp"
#include "deploy/http_client.hpp"

#include <cmath>

namespace flywheel {

using nlohmann::json;

namespace {

json cell(const column& c, std::size_t row) {
  if (c.type == column_type::numeric)
    return std::isnan(c.numbers[row]) ? json(nullptr) : json(c.numbers[row]);
  const auto code = c.codes[row];
  return code < 0 ? json(nullptr) : json(c.categories[static_cast<std::size_t>(code)]);
}

} // namespace

result<replay_counts> replay_rows(const table& held_out, const learning_task& task, const std::string& url,
                                  std::uint64_t offset, std::uint64_t count) {
  FLYWHEEL_TRY(auto client, http_client::to(url));
  const auto* target = held_out.find(task.target);
  replay_counts counts;
  json labels = json::array();
  for (std::uint64_t i = offset; i < offset + count && held_out.rows() > 0; ++i) {
    const auto row = static_cast<std::size_t>(i % held_out.rows());
    const auto id = "replay-" + std::to_string(i / held_out.rows()) + "-" + std::to_string(held_out.row_ids[row]);
    json features = json::object();
    for (const auto& name : task.inputs)
      if (const auto* c = held_out.find(name); c != nullptr)
        features[name] = cell(*c, row);
    FLYWHEEL_TRY(const auto answer, client.post_json("/predict", json{{"id", id}, {"features", features}}.dump()));
    if (answer.code != 200) {
      ++counts.failed;
      continue;
    }
    ++counts.sent;
    if (target != nullptr)
      labels.push_back({{"id", id}, {"label", cell(*target, row)}});
  }
  if (!labels.empty()) {
    FLYWHEEL_TRY([[maybe_unused]] const auto answer, client.post_json("/feedback", labels.dump()));
  }
  return counts;
}

} // namespace flywheel
