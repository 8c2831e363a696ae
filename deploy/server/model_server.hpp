#pragma once
// Serves models over HTTP: Open Inference Protocol v2, a plain POST /predict, feedback, health and Prometheus metrics.
// The only file that sees RESTinio is model_server_restinio.cpp.

#include "models/tabular_model.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace flywheel {

/// A model behind a route. Shared with requests in flight, so that a swap never fails one.
struct served_model {
  std::string version;                          ///< "churn/v3"
  std::shared_ptr<const tabular_model> model;
};

/// Who answers: champion always; challenger takes `challenger_percent` of the requests, chosen by a stable hash of the
/// request id (or of the features where there is none), so that one customer sees one model. With no champion (the first
/// release ever) the challenger answers everything, whatever the percentage says.
struct route_table {
  served_model champion;
  served_model challenger;                      ///< model empty: none
  double challenger_percent = 0;
  std::uint64_t generation = 0;
};

/// One answered request, as the monitor and the rollout policy need it.
struct served_request {
  std::string id;                               ///< the client's, or made
  std::string version;
  bool challenger = false;
  int http_status = 200;
  double latency_ms = 0;                        ///< from the parsed request to the answer handed to the socket
  std::vector<float> features;                  ///< one row; a batch of n rows makes n of these, each with its share of
                                                ///< the latency (v2: ids "ID/0", "ID/1", ...)
  std::vector<float> outputs;
  std::int64_t wall_ns = 0;
};
/// A label that arrived later, by request id.
struct served_label { std::string id; std::string label; };

struct model_server_options {
  std::string name;                             ///< model name in URLs
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;                       ///< 0: any free port
  unsigned threads = 2;
  std::size_t observations_max = 65'536;        ///< bounded queue; beyond it observations are dropped and counted
  std::size_t connections_max = 1024;           ///< more wait in the backlog; also at most half the open-file limit
  std::chrono::nanoseconds request_time_max = std::chrono::seconds{15}; ///< to send a request, or to stay idle between two
};

/// Something that answers for models, as those who release them see it. Any thread.
class model_endpoint {
public:
  model_endpoint() = default;
  model_endpoint(const model_endpoint&) = delete;
  model_endpoint& operator=(const model_endpoint&) = delete;
  virtual ~model_endpoint() = default;
  /// Atomic for requests: each sees the old table or the new one, none fails.
  virtual void set_routes(route_table routes) = 0;
  virtual route_table routes() const = 0;
  virtual std::uint16_t port() const noexcept = 0;
  /// Moves out what was observed since the last call, oldest first.
  virtual std::vector<served_request> take_requests() = 0;
  virtual std::vector<served_label> take_labels() = 0;
};
/// Opens one that answers when it returns.
using endpoint_opener = std::function<result<std::shared_ptr<model_endpoint>>(model_server_options, route_table)>;

class model_server final : public model_endpoint {
public:
  /// Listens when it returns. address_in_use names the port and says what to do.
  static result<std::unique_ptr<model_server>> start(model_server_options options, route_table routes);
  void set_routes(route_table routes) override;
  route_table routes() const override;
  std::uint16_t port() const noexcept override;
  std::vector<served_request> take_requests() override;
  std::vector<served_label> take_labels() override;
  std::uint64_t dropped_observations() const noexcept;
  ~model_server() override;                     ///< answers what is in flight, then closes

private:
  model_server();
  struct impl;
  std::unique_ptr<impl> impl_;
};

} // namespace flywheel
