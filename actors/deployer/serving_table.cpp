#include "actors/deployer/serving_table.hpp"

#include "actors/protocol/serving_record.hpp"

namespace flywheel {

result<serving> serving_table::serve(const state_layout& layout, const std::string& goal,
                                     const model_server_options& options, route_table routes, bool rolling) {
  const std::lock_guard lock{mutex_};
  auto& s = models_[options.name];
  if (!s.server) {
    auto started = open_(options, std::move(routes));
    if (!started) {
      models_.erase(options.name);
      return std::move(started).error();
    }
    s.server = std::move(*started);
    s.url = "http://" + options.address + ":" + std::to_string(s.server->port());
  } else {
    s.server->set_routes(std::move(routes));
  }
  s.goal = goal;
  s.rolling = rolling;
  FLYWHEEL_CHECK(record_serving(layout, options.name, s.url));
  return s;
}

void serving_table::set_rolling(const std::string& model, bool rolling) {
  const std::lock_guard lock{mutex_};
  if (const auto i = models_.find(model); i != models_.end())
    i->second.rolling = rolling;
}

std::map<std::string, serving> serving_table::all() const {
  const std::lock_guard lock{mutex_};
  return models_;
}

std::optional<serving> serving_table::find(const std::string& model) const {
  const std::lock_guard lock{mutex_};
  const auto i = models_.find(model);
  return i == models_.end() ? std::nullopt : std::optional{i->second};
}

void serving_table::stop(const std::string& model) {
  const std::lock_guard lock{mutex_};
  models_.erase(model);
}

} // namespace flywheel
