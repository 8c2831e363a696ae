#include "actors/client/event_source.hpp"

#include "actors/client/control_client.hpp"
#include "cluster/base/json.hpp"
#include "cluster/journal/journal.hpp"

namespace flywheel {

using nlohmann::json;

namespace {

class local_source final : public event_source {
public:
  explicit local_source(std::filesystem::path state) : state_(std::move(state)) {}
  result<std::uint64_t> read(const journal_filter& filter, const std::function<bool(const event&)>& visit) override {
    FLYWHEEL_TRY(const auto reader, journal_reader::open(state_));
    FLYWHEEL_CHECK(reader.read(filter, visit));
    return reader.last_seq();
  }
  status wait(std::uint64_t seq, nanoseconds at_most) override {
    FLYWHEEL_TRY(auto client, control_client::connect(state_));
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(at_most).count();
    const auto grown = client.ask({{"op", "wait"}, {"after", seq}, {"timeout_ms", ms}});
    return grown || grown.error().code != errc::unreachable ? success() : status{grown.error()};
  }
  bool is_remote() const noexcept override { return false; }

private:
  std::filesystem::path state_;
};

} // namespace

std::unique_ptr<event_source> local_events(std::filesystem::path state) { return std::make_unique<local_source>(std::move(state)); }

} // namespace flywheel
