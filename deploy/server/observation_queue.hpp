#pragma once
// What the monitor has yet to see: a bounded ring that many request threads fill and one reader empties, without a lock
// between them (the bounded queue of D. Vyukov: a sequence number per cell). Cells keep their buffers, so that a steady
// server does not allocate per observation.

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

namespace flywheel {

template <class T> class observation_queue {
public:
  /// Rounds `capacity` up to a power of two, at least 2.
  explicit observation_queue(std::size_t capacity)
      : mask_(std::bit_ceil(capacity < 2 ? std::size_t{2} : capacity) - 1), cells_(new cell[mask_ + 1]) {
    for (std::size_t i = 0; i <= mask_; ++i)
      cells_[i].turn.store(i, std::memory_order_relaxed);
  }

  /// `fill(T&)` writes into a cell that still holds an older value's buffers. False, and counted, if the queue is full.
  /// Any thread. `fill` must not throw.
  template <class Fill> bool push(Fill&& fill) {
    std::uint64_t at = head_.load(std::memory_order_relaxed);
    for (;;) {
      cell& c = cells_[at & mask_];
      const auto turn = c.turn.load(std::memory_order_acquire);
      if (turn == at) {
        if (head_.compare_exchange_weak(at, at + 1, std::memory_order_relaxed)) {
          fill(c.value);
          c.turn.store(at + 1, std::memory_order_release);
          return true;
        }
      } else if (turn < at) {
        dropped_.fetch_add(1, std::memory_order_relaxed);
        return false;
      } else {
        at = head_.load(std::memory_order_relaxed);
      }
    }
  }

  /// Calls `take(T&)` for each value, oldest first; at most one round of the ring. Any thread; callers take turns.
  template <class Take> void drain(Take&& take) {
    const std::scoped_lock lock{reader_};
    for (std::size_t n = 0; n <= mask_; ++n) {
      cell& c = cells_[tail_ & mask_];
      if (c.turn.load(std::memory_order_acquire) != tail_ + 1)
        return;
      take(c.value);
      c.turn.store(tail_ + mask_ + 1, std::memory_order_release);
      ++tail_;
    }
  }

  std::uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }

private:
  struct cell {
    std::atomic<std::uint64_t> turn;
    T value;
  };
  const std::size_t mask_;
  std::unique_ptr<cell[]> cells_;
  alignas(64) std::atomic<std::uint64_t> head_{0};
  alignas(64) std::atomic<std::uint64_t> dropped_{0};
  std::mutex reader_;
  std::uint64_t tail_ = 0;
};

} // namespace flywheel
