#pragma once
// Work in the order it was given, and marks in it. On the host everything is done when a call returns; on a GPU nothing is
// done before finish() says so.

#include "gpu/compute_device.hpp"

#include <optional>

namespace flywheel::gpu {

class stream;

/// A point in a stream's work: to measure by, and for another stream to wait for. Moves; not thread-safe.
class event {
public:
  static result<event> make(compute_device& device);
  ~event();
  event(event&& other) noexcept;
  event& operator=(event&&) = delete;

  /// Milliseconds from `before` to this; both were recorded, and their streams have finished.
  result<double> milliseconds_since(const event& before) const;

private:
  friend class stream;
  event(compute_device& device, void* handle) : device_(&device), handle_(handle) {}
  compute_device* device_;
  void* handle_;
};

/// Keeps the first error of what was put on it: after one, further work is dropped until finish() has told it. Not
/// thread-safe: one thread puts work on it.
class stream {
public:
  static result<stream> make(compute_device& device);
  ~stream();
  stream(stream&& other) noexcept;
  stream& operator=(stream&&) = delete;

  /// Puts an operation of the device's table on the stream; the stream is its last argument. `what` names it in an error
  /// and lives for ever (a literal).
  template <class... P, class... A> void run(const char* what, int (*operation)(P...), A&&... arguments) {
    if (!failed_)
      note(what, operation(std::forward<A>(arguments)..., handle_));
  }
  void record(event& mark);
  /// Later work of this stream begins after `mark`.
  void wait_for(const event& mark);
  /// Waits for everything, and returns the first error since the last finish().
  status finish();

  compute_device& device() const noexcept { return *device_; }

private:
  stream(compute_device& device, void* handle) : device_(&device), handle_(handle) {}
  void note(const char* what, int number) {
    if (number != 0) [[unlikely]]
      failed_ = failure{what, number};
  }
  struct failure {
    const char* what;
    int number;
  };
  compute_device* device_;
  void* handle_;
  std::optional<failure> failed_;
};

} // namespace flywheel::gpu
