#include "gpu/tensor.hpp"

#include <limits>
#include <utility>

namespace flywheel::gpu {

result<tensor> tensor::make(compute_device& device, number_type type, std::vector<std::uint64_t> shape) {
  std::uint64_t bytes = bytes_of(type);
  for (const auto extent : shape) {
    if (extent != 0 && bytes > std::numeric_limits<std::uint64_t>::max() / extent)
      return error{errc::invalid_argument, "a tensor's shape has more bytes than 64 bits can count", device.name()};
    bytes *= extent;
  }
  tensor t;
  FLYWHEEL_TRY(t.memory_, device.memory().allocate(bytes));
  t.device_ = &device, t.type_ = type, t.shape_ = std::move(shape), t.size_ = bytes / bytes_of(type);
  return t;
}

void tensor::give_back() {
  if (device_ != nullptr)
    device_->memory().release(memory_);
}
tensor::~tensor() { give_back(); }
tensor::tensor(tensor&& other) noexcept
    : device_(std::exchange(other.device_, nullptr)), memory_(std::exchange(other.memory_, nullptr)), type_(other.type_),
      shape_(std::move(other.shape_)), size_(std::exchange(other.size_, 0)) {}
tensor& tensor::operator=(tensor&& other) noexcept {
  if (this != &other) {
    give_back();
    device_ = std::exchange(other.device_, nullptr), memory_ = std::exchange(other.memory_, nullptr);
    type_ = other.type_, shape_ = std::move(other.shape_), size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

} // namespace flywheel::gpu
