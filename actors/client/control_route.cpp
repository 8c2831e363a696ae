#include "actors/client/control_route.hpp"

#include "actors/client/control_client.hpp"
#include "actors/node/cluster_client_actor.hpp"
#include "actors/protocol/control_format.hpp"
#include "cluster/base/json.hpp"

#include <algorithm>

namespace flywheel {

using nlohmann::json;

namespace {

class local_route final : public control_route {
public:
  explicit local_route(control_client c) : client_(std::move(c)) {}
  result<json> ask(const json& request, nanoseconds wait) override { return client_.ask(request, wait); }

private:
  control_client client_;
};

class cluster_route final : public control_route {
public:
  explicit cluster_route(std::unique_ptr<cluster_client> c) : client_(std::move(c)) {}
  result<json> ask(const json& request, nanoseconds wait) override {
    FLYWHEEL_TRY(const auto bytes, client_->ask(control::encode(request), wait));
    FLYWHEEL_TRY(auto reply, control::decode(bytes));
    FLYWHEEL_CHECK(control::outcome(reply));
    return reply;
  }

private:
  std::unique_ptr<cluster_client> client_;
};

} // namespace

bool asks_cluster(const command_context& c) {
  const auto& options = c.line.command()->options;
  return std::any_of(options.begin(), options.end(), [](const auto& o) { return o.name == "cluster"; }) && c.line.given("cluster");
}

result<std::unique_ptr<control_route>> open_route(const command_context& c) {
  if (!asks_cluster(c)) {
    FLYWHEEL_TRY(auto client, control_client::connect(c.state));
    return std::unique_ptr<control_route>{std::make_unique<local_route>(std::move(client))};
  }
  if (!c.line.given("certs"))
    return error{errc::invalid_argument, "--cluster needs --certs: who you are", {}, "ask the cluster's administrator for a certificate (flywheel certs issue)"};
  FLYWHEEL_TRY(const auto files, tls_files_in(c.line.text("certs")));
  FLYWHEEL_TRY(auto client, cluster_client::connect(c.line.text("cluster"), files, system_clock()));
  return std::unique_ptr<control_route>{std::make_unique<cluster_route>(std::move(client))};
}

} // namespace flywheel
