#pragma once
// The model servers of this node, by model name. Shared between the deployer and the job that runs a rollout.

#include "cluster/journal/state_directory.hpp"
#include "deploy/server/model_server.hpp"

#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace flywheel {

/// One model in service.
struct serving {
  std::shared_ptr<model_endpoint> server;
  std::string goal;        ///< whose version is champion, or becomes it
  std::string url;
  bool rolling = false;    ///< a rollout takes the observations itself
};

/// Thread-safe.
class serving_table {
public:
  explicit serving_table(endpoint_opener open) : open_(std::move(open)) {}
  /// The running server of `model` with these routes, or a new one.
  result<serving> serve(const state_layout& layout, const std::string& goal, const model_server_options& options,
                        route_table routes, bool rolling);
  void set_rolling(const std::string& model, bool rolling);
  std::map<std::string, serving> all() const;
  /// Nothing if the model is not served here.
  std::optional<serving> find(const std::string& model) const;
  void stop(const std::string& model);

private:
  endpoint_opener open_;
  mutable std::mutex mutex_;
  std::map<std::string, serving> models_;
};

} // namespace flywheel
