#include "actors/client/cluster_events.hpp"

#include "actors/client/control_route.hpp"
#include "actors/protocol/log_format.hpp"
#include "cluster/base/json.hpp"

namespace flywheel {

using nlohmann::json;

namespace {

class cluster_source final : public event_source {
public:
  explicit cluster_source(std::unique_ptr<control_route> route) : route_(std::move(route)) {}
  result<std::uint64_t> read(const journal_filter& filter, const std::function<bool(const event&)>& visit) override {
    auto f = filter;
    for (;;) {
      FLYWHEEL_TRY(const auto reply, route_->ask({{"op", "events"}, {"filter", log_format::to_json(f)}}));
      FLYWHEEL_TRY(const auto events, log_format::events_from(reply.value("events", json{})));
      const auto last = reply.contains("last") && reply["last"].is_number_unsigned() ? reply["last"].get<std::uint64_t>() : 0;
      for (const auto& e : events)
        if (!visit(e))
          return last;
      if (events.empty() || reply.value("more", json{}) != true)
        return last;
      f.after_seq = events.back().seq;
      if (f.limit != 0)
        f.limit = f.limit > events.size() ? f.limit - events.size() : 0;
      if (filter.limit != 0 && f.limit == 0)
        return last;
    }
  }
  status wait(std::uint64_t seq, nanoseconds at_most) override {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(at_most).count();
    const auto grown = route_->ask({{"op", "wait"}, {"after", seq}, {"timeout_ms", ms}}, at_most + std::chrono::seconds{5});
    return grown ? success() : status{grown.error()};
  }
  bool is_remote() const noexcept override { return true; }

private:
  std::unique_ptr<control_route> route_;
};

} // namespace

result<std::unique_ptr<event_source>> open_events(const command_context& c) {
  if (!asks_cluster(c))
    return local_events(c.state);
  FLYWHEEL_TRY(auto route, open_route(c));
  return std::unique_ptr<event_source>{std::make_unique<cluster_source>(std::move(route))};
}

} // namespace flywheel
