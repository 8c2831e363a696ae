#pragma once
// Counters of the model server and their Prometheus text (exposition format 0.0.4).

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

/// Upper bounds of the latency buckets, in seconds; the last bucket has none.
inline constexpr std::array latency_bounds_s{25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3,
                                             250e-3, 1.0};
/// Statuses that are counted one by one; any other counts as 500.
inline constexpr std::array counted_statuses{200, 400, 404, 405, 413, 500, 503};

/// Of one model version (or of the requests that reached none). Counting is relaxed and lock-free, from any thread.
struct version_metrics {
  std::string version;
  std::array<std::atomic<std::uint64_t>, counted_statuses.size()> requests{};
  std::array<std::atomic<std::uint64_t>, latency_bounds_s.size() + 1> buckets{};
  std::atomic<std::uint64_t> latency_ns{0};
  std::atomic<std::uint64_t> rows{0};
  std::vector<std::string> inputs;
  std::unique_ptr<std::atomic<std::uint64_t>[]> unknown_categories; ///< one per input

  version_metrics(std::string version, std::vector<std::string> inputs);
  void count_request(int status, std::int64_t latency_ns) noexcept;
};

/// All of them, for one server. Keeps the newest `versions_max`, so that a server that lives through many models does not
/// grow.
class server_metrics {
public:
  static constexpr std::size_t versions_max = 64;
  server_metrics();
  /// The counters of `version`, which outlive their stay in this table.
  std::shared_ptr<version_metrics> of(const std::string& version, const std::vector<std::string>& inputs);
  version_metrics& no_model() noexcept { return *no_model_; }
  /// Appends the text. Callable from any thread.
  void write(std::string& out) const;

private:
  mutable std::mutex mutex_;
  std::shared_ptr<version_metrics> no_model_;
  std::vector<std::shared_ptr<version_metrics>> versions_; ///< oldest first
};

/// "name{label=\"value\"} " with the value escaped; for the few lines that the server adds itself.
void append_sample(std::string& out, std::string_view name, std::string_view labels, double value);
/// Escapes backslash, quote and newline, as the format asks.
std::string escape_label(std::string_view value);

} // namespace flywheel
