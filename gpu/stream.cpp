#include "gpu/stream.hpp"

#include <utility>

namespace flywheel::gpu {

result<event> event::make(compute_device& device) {
  void* handle = nullptr;
  FLYWHEEL_CHECK(device.check(device.operations().make_event(&handle), "making an event"));
  return event{device, handle};
}
event::event(event&& other) noexcept : device_(other.device_), handle_(std::exchange(other.handle_, nullptr)) {}
event::~event() {
  if (handle_ != nullptr)
    static_cast<void>(device_->operations().drop_event(handle_));
}
result<double> event::milliseconds_since(const event& before) const {
  float milliseconds = 0;
  FLYWHEEL_CHECK(device_->check(device_->operations().event_milliseconds(&milliseconds, before.handle_, handle_), "measuring between events"));
  return static_cast<double>(milliseconds);
}

result<stream> stream::make(compute_device& device) {
  void* handle = nullptr;
  FLYWHEEL_CHECK(device.check(device.operations().make_stream(&handle), "making a stream"));
  return stream{device, handle};
}
stream::stream(stream&& other) noexcept : device_(other.device_), handle_(std::exchange(other.handle_, nullptr)), failed_(other.failed_) {}
stream::~stream() {
  if (handle_ == nullptr)
    return;
  static_cast<void>(device_->operations().wait_stream(handle_)); // what it works on may go next
  static_cast<void>(device_->operations().drop_stream(handle_));
}

void stream::record(event& mark) {
  if (!failed_)
    note("recording an event", device_->operations().record_event(mark.handle_, handle_));
}
void stream::wait_for(const event& mark) {
  if (!failed_)
    note("waiting for an event", device_->operations().stream_waits(handle_, mark.handle_));
}
status stream::finish() {
  const int e = device_->operations().wait_stream(handle_);
  if (!failed_)
    note("waiting for the stream", e);
  if (const auto first = std::exchange(failed_, std::nullopt))
    return device_->error_of(first->number, first->what);
  return {};
}

} // namespace flywheel::gpu
