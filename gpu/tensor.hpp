#pragma once
// Numbers in a device's memory, with their type and shape.

#include "cluster/base/assert.hpp"
#include "gpu/stream.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace flywheel::gpu {

/// bf16 is stored as its bits (gpu/kernels/bf16.hpp).
enum class number_type : std::uint8_t { f32, f64, bf16, u32 };

constexpr std::uint64_t bytes_of(number_type t) noexcept {
  return t == number_type::f64 ? 8 : t == number_type::bf16 ? 2 : 4;
}
template <class T> inline constexpr number_type type_of = number_type::f32;
template <> inline constexpr number_type type_of<double> = number_type::f64;
template <> inline constexpr number_type type_of<std::uint16_t> = number_type::bf16;
template <> inline constexpr number_type type_of<std::uint32_t> = number_type::u32;

/// Owns its memory, taken from the device's pool and given back there; row-major and dense. Its content is undefined until
/// written. Give it back (destroy it) in the order of the stream that used it. Moves, does not copy.
class tensor {
public:
  tensor() = default;
  /// out_of_memory: the pool's bound, or the device's memory. invalid_argument: the shape has more bytes than 64 bits count.
  static result<tensor> make(compute_device& device, number_type type, std::vector<std::uint64_t> shape);
  ~tensor();
  tensor(tensor&& other) noexcept;
  tensor& operator=(tensor&& other) noexcept;

  number_type type() const noexcept { return type_; }
  const std::vector<std::uint64_t>& shape() const noexcept { return shape_; }
  std::uint64_t size() const noexcept { return size_; }                   ///< elements
  std::uint64_t bytes() const noexcept { return size_ * bytes_of(type_); }
  void* memory() const noexcept { return memory_; }
  /// T is the tensor's type. Memory of the device: not to be read here.
  template <class T> T* data() const {
    FLYWHEEL_ASSERT(size_ == 0 || type_ == type_of<T>, "a tensor's own type");
    return static_cast<T*>(memory_);
  }

  /// To or from the host, in the order of the stream; `host` stays as it is until the stream has finished.
  template <class T> void copy_from(stream& order, std::span<const T> host, std::uint64_t offset = 0) {
    FLYWHEEL_ASSERT(offset <= size_ && host.size() <= size_ - offset, "a copy inside of the tensor");
    order.run("copying to the device", order.device().operations().copy_to_device, data<T>() + offset, host.data(), host.size_bytes());
  }
  template <class T> void copy_to(stream& order, std::span<T> host, std::uint64_t offset = 0) const {
    FLYWHEEL_ASSERT(offset <= size_ && host.size() <= size_ - offset, "a copy inside of the tensor");
    order.run("copying to the host", order.device().operations().copy_to_host, host.data(), data<T>() + offset, host.size_bytes());
  }
  void zero(stream& order) { order.run("clearing a tensor", order.device().operations().fill_zero, memory_, bytes()); }

private:
  void give_back();

  compute_device* device_ = nullptr;
  void* memory_ = nullptr;
  number_type type_ = number_type::f32;
  std::vector<std::uint64_t> shape_;
  std::uint64_t size_ = 0;
};

} // namespace flywheel::gpu
