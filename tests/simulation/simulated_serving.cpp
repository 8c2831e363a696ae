#include "tests/simulation/simulated_serving.hpp"

#include <charconv>
#include <cmath>

namespace flywheel::simulation {

using std::chrono::milliseconds;

class marketplace::endpoint final : public model_endpoint {
public:
  endpoint(std::uint16_t port, route_table routes, std::shared_ptr<const bool> alive) : routes_(std::move(routes)), port_(port), alive_(std::move(alive)) {}
  void set_routes(route_table routes) override { routes_ = std::move(routes); }
  route_table routes() const override { return routes_; }
  std::uint16_t port() const noexcept override { return port_; }
  std::vector<served_request> take_requests() override { return std::exchange(requests_, {}); }
  std::vector<served_label> take_labels() override { return std::exchange(labels_, {}); }
  bool answers() const { return *alive_; }

  void answer(const std::string& id, const served_model& by, bool challenger, std::vector<float> features, std::vector<float> outputs, double latency_ms) {
    requests_.push_back({id, by.version, challenger, 200, latency_ms, std::move(features), std::move(outputs), 0});
  }
  void label(served_label l) { labels_.push_back(std::move(l)); }

private:
  route_table routes_;
  std::uint16_t port_;
  std::shared_ptr<const bool> alive_;
  std::vector<served_request> requests_;
  std::vector<served_label> labels_;
};

endpoint_opener marketplace::opener(std::shared_ptr<const bool> alive) {
  return [this, alive](model_server_options, route_table routes) -> result<std::shared_ptr<model_endpoint>> {
    const auto e = std::make_shared<endpoint>(++ports_, std::move(routes), alive);
    open_[e->port()] = e;
    return std::shared_ptr<model_endpoint>{e};
  };
}

traffic_sender marketplace::sender() {
  return [this](const table& held_out, const learning_task& task, const std::string& url, std::uint64_t offset, std::uint64_t count) -> result<replay_counts> {
    stage_->sleep(stage_->between(milliseconds{20}, milliseconds{200}));
    std::uint16_t port = 0;
    std::from_chars(url.data() + url.rfind(':') + 1, url.data() + url.size(), port);
    const auto e = open_[port].lock();
    if (!e || !e->answers())
      return error{errc::unreachable, "connection refused", url};
    const auto routes = e->routes();
    const auto* target = held_out.find(task.target);
    replay_counts counts;
    std::map<const tabular_model*, std::pair<std::vector<float>, std::vector<float>>> answers; // features and outputs of all rows
    for (const auto* m : {&routes.champion, &routes.challenger})
      if (m->model) {
        FLYWHEEL_TRY(auto features, encode_features(m->model->signature(), held_out));
        std::vector<float> outputs(held_out.rows() * m->model->signature().outputs());
        m->model->predict(features, held_out.rows(), outputs);
        answers[m->model.get()] = {std::move(features), std::move(outputs)};
      }
    for (std::uint64_t i = offset; i < offset + count && held_out.rows() > 0; ++i) {
      const auto row = static_cast<std::size_t>(i % held_out.rows());
      const auto id = "replay-" + std::to_string(i / held_out.rows()) + "-" + std::to_string(held_out.row_ids[row]);
      const bool challenger = routes.challenger.model && (!routes.champion.model || static_cast<double>(stable_hash(id) % 100) < routes.challenger_percent);
      const auto& by = challenger ? routes.challenger : routes.champion;
      if (!by.model) {
        ++counts.failed;
        continue;
      }
      const auto& [features, outputs] = answers[by.model.get()];
      const auto wide = static_cast<std::ptrdiff_t>(features.size() / held_out.rows()), out = static_cast<std::ptrdiff_t>(outputs.size() / held_out.rows());
      const auto at = static_cast<std::ptrdiff_t>(row);
      e->answer(id, by, challenger, {features.begin() + at * wide, features.begin() + (at + 1) * wide}, {outputs.begin() + at * out, outputs.begin() + (at + 1) * out},
                0.5 + stage_->random.uniform());
      ++counts.sent;
      if (target != nullptr && target->codes.size() > row && target->codes[row] >= 0)
        e->label({id, target->categories[static_cast<std::size_t>(target->codes[row])]});
    }
    return counts;
  };
}

} // namespace flywheel::simulation
