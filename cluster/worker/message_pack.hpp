#pragma once
// The part of MessagePack (github.com/msgpack/msgpack/blob/master/spec.md) that the worker protocol uses, read from hostile
// bytes: nothing is reserved, nothing recursed into and no length believed before it is checked against what is there.

#include "cluster/base/error.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace flywheel::message_pack {

/// Appends values in their shortest form; floats always as float 64.
class writer {
public:
  void map(std::uint32_t pairs);
  void text(std::string_view utf8);
  void binary(std::string_view bytes);
  void number(std::uint64_t x);
  void number(double x);
  void boolean(bool x);
  std::string take() { return std::move(out_); }

private:
  void big_endian(std::uint64_t x, int bytes);
  std::string out_;
};

/// One value. `text` points into the bytes that were read.
struct value {
  enum class kind : std::uint8_t { nothing, boolean, unsigned_integer, negative_integer, real, text, binary, container } is = kind::nothing;
  bool boolean = false;
  std::uint64_t integer = 0; ///< unsigned_integer
  double real = 0;
  std::string_view text;     ///< text, or the bytes of a binary
};
std::string_view name_of(value::kind k) noexcept;

/// Every error is protocol_violation or too_large and names the byte offset.
class reader {
public:
  explicit reader(std::string_view bytes) : bytes_(bytes) {}
  /// The number of pairs of a map that starts here.
  result<std::uint32_t> map();
  /// A text that starts here; must be UTF-8.
  result<std::string_view> text();
  /// Any value; arrays, maps and extensions are checked and passed over (`container`).
  result<value> any();
  std::size_t offset() const noexcept { return at_; }
  bool at_end() const noexcept { return at_ == bytes_.size(); }

private:
  error broken(std::string what) const;
  std::size_t left() const noexcept { return bytes_.size() - at_; }
  result<std::uint64_t> big_endian(int bytes);
  result<std::string_view> take(std::uint64_t n);
  status skip_container(std::uint64_t children);
  /// Reads one header; scalars come back whole, containers set `children` to how many values follow.
  result<value> one(std::uint64_t& children);

  std::string_view bytes_;
  std::size_t at_ = 0;
};

} // namespace flywheel::message_pack
