#pragma once
// Until when a node's workers may work, in memory that the node shares with them. A node that is frozen can stop nobody; its workers read
// here that its lease is over, and end themselves. Page: docs/worker-protocol.md.

#include "cluster/base/clock.hpp"
#include "cluster/base/error.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

namespace flywheel {

inline constexpr const char* lease_page_variable = "FLYWHEEL_LEASE_FD"; ///< in a worker's environment: the descriptor of the page

class lease_page {
public:
  /// Without an end at first.
  static result<std::shared_ptr<lease_page>> make();
  /// The workers end when CLOCK_MONOTONIC of this machine reaches `t`; they look every 50 ms at least. Any thread.
  void set_end(mono_time t) noexcept { word_->store(t.ns, std::memory_order_release); }
  int fd() const noexcept { return fd_; }
  ~lease_page();
  lease_page(const lease_page&) = delete;
  lease_page& operator=(const lease_page&) = delete;

private:
  lease_page() = default;
  int fd_ = -1;
  std::atomic<std::int64_t>* word_ = nullptr;
};

/// The page as another process sees it.
class lease_view {
public:
  /// Nothing where the environment names no page; io_failed if it names one that cannot be read.
  static result<std::optional<lease_view>> from_environment();
  bool is_over(mono_time now) const noexcept {
    const auto end = word_->load(std::memory_order_acquire);
    return end != 0 && now.ns >= end;
  }

private:
  explicit lease_view(const std::atomic<std::int64_t>* word) : word_(word) {}
  const std::atomic<std::int64_t>* word_; ///< mapped for as long as the process lives
};

/// In a worker: ends the process (exit code 71, at once, whatever it is doing) when the lease of the node is over. Starts a thread; does
/// nothing where the environment names no page.
void end_with_lease();

} // namespace flywheel
