#pragma once
// What the model server answers, without the network: a request's parts in, an answer out.

#include "deploy/server/observation_queue.hpp"
#include "deploy/server/route_snapshot.hpp"
#include "deploy/server/row_reader.hpp"

#include "cluster/base/clock.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

enum class http_verb : std::uint8_t { get, head, post, other };

struct service_question {
  http_verb verb = http_verb::get;
  std::string_view target; ///< path and query
  std::string_view body;
  std::string_view accept; ///< the Accept header
};

struct service_answer {
  int status = 200;
  std::string_view content_type = "application/json"; ///< static text
  std::string_view allow;                             ///< for 405; static text
  std::string body;
};

/// Buffers of one thread, reused from request to request.
struct service_scratch {
  row_batch rows, other_rows;
  std::vector<float> gathered, outputs;
  struct place {
    const prepared_model* model;
    std::size_t offset; ///< of the row's first output
  };
  std::vector<place> places;
  std::vector<std::uint32_t> indices;
};

class model_service {
public:
  /// `entropy` makes the ids of this server's requests differ from those of others.
  model_service(model_server_options options, const time_source& time, std::uint64_t entropy);

  void set_routes(route_table routes);
  route_table routes() const;
  /// Never throws: what goes wrong becomes an answer with a status and {"error": ...}. Any thread, one scratch each.
  void answer(const service_question& question, service_answer& out, service_scratch& scratch) noexcept;

  std::vector<served_request> take_requests();
  std::vector<served_label> take_labels();
  std::uint64_t dropped_observations() const noexcept { return requests_.dropped(); }
  const model_server_options& options() const noexcept { return options_; }

private:
  void dispatch(const service_question& q, service_answer& out, service_scratch& scratch);
  void dispatch_v2(const service_question& q, std::string_view rest, service_answer& out, service_scratch& scratch);
  void predict(std::string_view body, service_answer& out, service_scratch& scratch);
  void infer(std::string_view body, std::string_view version, service_answer& out, service_scratch& scratch);
  void feedback(std::string_view body, service_answer& out);
  void metrics(service_answer& out) const;
  void about(bool html, service_answer& out) const;
  void fail(service_answer& out, int status, std::string_view what);
  void fail(service_answer& out, const error& e);
  /// False (and a 500 answered and observed) if the model failed.
  bool run_model(const prepared_model& p, std::span<const float> features, std::size_t rows, std::span<float> outputs,
                 service_answer& out);
  void make_id(std::string& out);
  void observe(const prepared_model& p, std::string_view id, std::string_view id_suffix, int status, double latency_ms,
               std::span<const float> features, std::span<const float> outputs);
  void finish(const prepared_model& p, int status, std::int64_t latency_ns, std::size_t rows);

  const model_server_options options_;
  const time_source& time_;
  server_metrics metrics_;
  snapshot_cell<route_snapshot> routes_;
  observation_queue<served_request> requests_;
  observation_queue<served_label> labels_;
  std::string id_prefix_;
  alignas(64) std::atomic<std::uint64_t> next_id_{0};
};

} // namespace flywheel
