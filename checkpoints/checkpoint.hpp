#pragma once
// What a checkpoint holds: a step, a JSON text, and named tensors. Values only; bytes are checkpoint_file.hpp.

#include "cluster/base/assert.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace flywheel {

/// f16 is IEEE binary16, bf16 the upper half of an f32. New types go to the end.
enum class tensor_type : std::uint8_t { f32, f64, i32, i64, u8, u16, u32, u64, i8, i16, f16, bf16 };
inline constexpr int tensor_type_count = 12;
std::string_view name_of(tensor_type type) noexcept;
std::size_t size_of(tensor_type type) noexcept;
/// The inverse of name_of; nothing for an unknown name.
std::optional<tensor_type> tensor_type_from_name(std::string_view name) noexcept;

/// The bits of a 16-bit float; arithmetic on them belongs to who trains.
enum class f16_bits : std::uint16_t {};
enum class bf16_bits : std::uint16_t {};

template <class T> constexpr tensor_type tensor_type_of() noexcept {
  if constexpr (std::is_same_v<T, float>)
    return tensor_type::f32;
  else if constexpr (std::is_same_v<T, double>)
    return tensor_type::f64;
  else if constexpr (std::is_same_v<T, std::int32_t>)
    return tensor_type::i32;
  else if constexpr (std::is_same_v<T, std::int64_t>)
    return tensor_type::i64;
  else if constexpr (std::is_same_v<T, std::uint16_t>)
    return tensor_type::u16;
  else if constexpr (std::is_same_v<T, std::uint32_t>)
    return tensor_type::u32;
  else if constexpr (std::is_same_v<T, std::uint64_t>)
    return tensor_type::u64;
  else if constexpr (std::is_same_v<T, std::int8_t>)
    return tensor_type::i8;
  else if constexpr (std::is_same_v<T, std::int16_t>)
    return tensor_type::i16;
  else if constexpr (std::is_same_v<T, f16_bits>)
    return tensor_type::f16;
  else if constexpr (std::is_same_v<T, bf16_bits>)
    return tensor_type::bf16;
  else {
    static_assert(std::is_same_v<T, std::uint8_t>, "not an element type of a tensor");
    return tensor_type::u8;
  }
}

/// Row-major, little-endian. `bytes` holds exactly the product of `shape` elements; an empty shape is a scalar.
struct tensor {
  std::string name;               ///< letters, digits, '.', '_' and '-'; 1 to 200 characters; unique in a checkpoint
  tensor_type type = tensor_type::f32;
  std::vector<std::uint64_t> shape;
  std::vector<std::byte> bytes;

  /// A one-dimensional tensor, or one of `shape`, with a copy of `values`.
  template <class T> static tensor of(std::string name, std::span<const T> values, std::vector<std::uint64_t> shape = {}) {
    tensor t{std::move(name), tensor_type_of<T>(), std::move(shape), {}};
    if (t.shape.empty())
      t.shape = {values.size()};
    const auto raw = std::as_bytes(values);
    t.bytes.assign(raw.begin(), raw.end());
    return t;
  }
  template <class T> static tensor of(std::string name, const std::vector<T>& values) {
    return of<T>(std::move(name), std::span<const T>{values});
  }
  /// A copy of the elements; T must be the element type (ask type first where the file decides it).
  template <class T> std::vector<T> to() const {
    FLYWHEEL_ASSERT(type == tensor_type_of<T>(), "a tensor read as another type than it has");
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!values.empty())
      std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  bool operator==(const tensor&) const = default;
};

struct checkpoint {
  std::uint64_t step = 0;
  std::string attributes;         ///< JSON text; its meaning belongs to who wrote it
  std::vector<tensor> tensors;

  const tensor* find(std::string_view name) const noexcept;
  /// The tensor if it is there with this type, else nullptr.
  const tensor* find(std::string_view name, tensor_type type) const noexcept;
  bool operator==(const checkpoint&) const = default;
};

} // namespace flywheel
