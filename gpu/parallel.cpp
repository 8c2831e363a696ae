#include "gpu/parallel.hpp"

#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace flywheel::gpu {

namespace {

void pause() noexcept {
#if defined(__SSE2__)
  _mm_pause();
#endif
}

unsigned denormal_mode() noexcept {
#if defined(__SSE2__)
  return _mm_getcsr();
#else
  return 0;
#endif
}

void set_denormal_mode([[maybe_unused]] unsigned mode) noexcept {
#if defined(__SSE2__)
  _mm_setcsr(mode);
#endif
}

// Between two loops of one step lie microseconds; a helper that went to sleep would miss the next one.
constexpr int spins_before_sleep = 4000;

/// Waits until `word` is no longer `seen`.
void wait_for_change(const std::atomic<std::uint64_t>& word, std::uint64_t seen) noexcept {
  for (int i = 0; i < spins_before_sleep; ++i) {
    if (word.load(std::memory_order_acquire) != seen)
      return;
    pause();
  }
  word.wait(seen, std::memory_order_acquire);
}

// `state_` counts what happened: bit 0 says that a loop may be joined, the next 15 bits how many helpers are in it, and
// the rest numbers the loops. The caller closes the door when nothing is left to claim and then waits only for those
// inside: a helper that the system has not woken yet is not waited for.
class team {
public:
  ~team() { resize(1); }

  void resize(unsigned count) {
    const std::lock_guard lock{busy_};
    stop_.store(true, std::memory_order_relaxed);
    state_.fetch_add(next_loop, std::memory_order_release);
    state_.notify_all();
    for (auto& h : helpers_)
      h.join();
    helpers_.clear();
    stop_.store(false, std::memory_order_relaxed);
    for (unsigned i = 1; i < count; ++i)
      helpers_.emplace_back([this] { help(); });
    size_.store(count < 1 ? 1 : count, std::memory_order_relaxed);
  }

  unsigned size() const noexcept { return size_.load(std::memory_order_relaxed); }

  void run(std::size_t parts, detail::loop_body body, const void* context) {
    std::unique_lock lock{busy_, std::defer_lock};
    if (parts < 2 || size() < 2 || inside_ || !lock.try_lock()) {
      for (std::size_t i = 0; i < parts; ++i)
        body(context, i);
      return;
    }
    parts_ = parts, body_ = body, context_ = context, mode_ = denormal_mode();
    next_.store(0, std::memory_order_relaxed);
    const auto now = (state_.load(std::memory_order_relaxed) & ~door_and_helpers) + next_loop + door;
    state_.store(now, std::memory_order_release);
    state_.notify_all();
    inside_ = true;
    work();
    inside_ = false;
    auto left = state_.fetch_and(~door, std::memory_order_acq_rel) & ~door;
    while ((left & door_and_helpers) != 0) {
      wait_for_change(state_, left);
      left = state_.load(std::memory_order_acquire);
    }
  }

private:
  static constexpr std::uint64_t door = 1, helper = 2, next_loop = 1u << 16, door_and_helpers = next_loop - 1;

  void work() {
    for (std::size_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < parts_;)
      body_(context_, i);
  }

  void help() {
    inside_ = true;
    auto seen = state_.load(std::memory_order_acquire);
    while (!stop_.load(std::memory_order_relaxed)) {
      if ((seen & door) != 0 && state_.compare_exchange_weak(seen, seen + helper, std::memory_order_acq_rel)) {
        set_denormal_mode(mode_);
        work();
        seen = state_.fetch_sub(helper, std::memory_order_acq_rel) - helper;
        if ((seen & door_and_helpers) == 0)
          state_.notify_all();
        // Nothing is left to claim; the caller is about to close the door, or has.
      } else if ((seen & door) != 0) {
        continue;
      }
      wait_for_change(state_, seen);
      seen = state_.load(std::memory_order_acquire);
    }
  }

  std::mutex busy_;
  std::vector<std::thread> helpers_;
  std::atomic<unsigned> size_{1};
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> state_{0};
  std::atomic<std::size_t> next_{0};
  // Written before the door opens, read by those who came through it.
  std::size_t parts_ = 0;
  detail::loop_body body_ = nullptr;
  const void* context_ = nullptr;
  unsigned mode_ = 0;
  static thread_local bool inside_;
};

thread_local bool team::inside_ = false;

team& the_team() {
  static team one;
  return one;
}

} // namespace

void set_threads(unsigned count) {
  if (count != threads())
    the_team().resize(count);
}

unsigned threads() noexcept { return the_team().size(); }

void detail::run_loop(std::size_t parts, loop_body body, const void* context) { the_team().run(parts, body, context); }

} // namespace flywheel::gpu
