#include "cluster/worker/message_pack.hpp"

#include "cluster/base/limits.hpp"
#include "cluster/base/text.hpp"

#include <array>
#include <bit>

namespace flywheel::message_pack {

void writer::big_endian(std::uint64_t x, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
    out_.push_back(static_cast<char>((x >> shift) & 0xff));
}

void writer::map(std::uint32_t pairs) {
  if (pairs < 16) {
    big_endian(0x80u | pairs, 1);
  } else {
    big_endian(0xdf, 1);
    big_endian(pairs, 4);
  }
}

void writer::text(std::string_view utf8) {
  const auto n = utf8.size();
  if (n < 32) {
    big_endian(0xa0u | n, 1);
  } else if (n < 0x100) {
    big_endian(0xd9, 1);
    big_endian(n, 1);
  } else if (n < 0x10000) {
    big_endian(0xda, 1);
    big_endian(n, 2);
  } else {
    big_endian(0xdb, 1);
    big_endian(n, 4);
  }
  out_.append(utf8);
}

void writer::binary(std::string_view bytes) {
  const auto n = bytes.size();
  if (n < 0x100) {
    big_endian(0xc4, 1);
    big_endian(n, 1);
  } else if (n < 0x10000) {
    big_endian(0xc5, 1);
    big_endian(n, 2);
  } else {
    big_endian(0xc6, 1);
    big_endian(n, 4);
  }
  out_.append(bytes);
}

void writer::number(std::uint64_t x) {
  if (x < 0x80) {
    big_endian(x, 1);
  } else if (x < 0x100) {
    big_endian(0xcc, 1);
    big_endian(x, 1);
  } else if (x < 0x10000) {
    big_endian(0xcd, 1);
    big_endian(x, 2);
  } else if (x < 0x100000000) {
    big_endian(0xce, 1);
    big_endian(x, 4);
  } else {
    big_endian(0xcf, 1);
    big_endian(x, 8);
  }
}

void writer::number(double x) {
  big_endian(0xcb, 1);
  big_endian(std::bit_cast<std::uint64_t>(x), 8);
}

void writer::boolean(bool x) { big_endian(x ? 0xc3 : 0xc2, 1); }

std::string_view name_of(value::kind k) noexcept {
  switch (k) {
  case value::kind::nothing: return "nil";
  case value::kind::boolean: return "a boolean";
  case value::kind::unsigned_integer: return "an integer";
  case value::kind::negative_integer: return "a negative integer";
  case value::kind::real: return "a float";
  case value::kind::text: return "a string";
  case value::kind::binary: return "a binary";
  case value::kind::container: return "an array, map or extension";
  }
  return "?";
}

error reader::broken(std::string what) const {
  return {errc::protocol_violation, std::move(what) + " at byte " + std::to_string(at_)};
}

result<std::string_view> reader::take(std::uint64_t n) {
  if (n > left())
    return broken("a length of " + std::to_string(n) + " bytes where " + std::to_string(left()) + " are left");
  const auto part = bytes_.substr(at_, static_cast<std::size_t>(n));
  at_ += static_cast<std::size_t>(n);
  return part;
}

result<std::uint64_t> reader::big_endian(int bytes) {
  FLYWHEEL_TRY(const auto part, take(static_cast<std::uint64_t>(bytes)));
  std::uint64_t x = 0;
  for (char c : part)
    x = (x << 8) | static_cast<unsigned char>(c);
  return x;
}

result<value> reader::one(std::uint64_t& children) {
  using kind = value::kind;
  children = 0;
  FLYWHEEL_TRY(const auto head, big_endian(1));
  value v;
  const auto unsigned_integer = [&](std::uint64_t x) {
    v.is = kind::unsigned_integer;
    v.integer = x;
    return v;
  };
  const auto text_of = [&](std::uint64_t n) -> result<value> {
    const auto start = at_;
    FLYWHEEL_TRY(v.text, take(n));
    if (!is_valid_utf8(v.text)) {
      at_ = start;
      return broken("a string that is not UTF-8");
    }
    v.is = kind::text;
    return v;
  };
  const auto container = [&](std::uint64_t n, std::uint64_t values_each) -> result<value> {
    // Each value needs a byte at least, so a larger count is a lie; checked before anything loops over it.
    if (n > left() / values_each)
      return broken("a count of " + std::to_string(n) + " elements where " + std::to_string(left()) + " bytes are left");
    children = n * values_each;
    v.is = kind::container;
    return v;
  };
  const auto passed_over = [&](std::uint64_t n) -> result<value> {
    FLYWHEEL_TRY(v.text, take(n));
    v.text = {};
    v.is = kind::container;
    return v;
  };
  const auto signed_integer = [&](std::uint64_t x, int bytes) {
    const bool negative = ((x >> (8 * bytes - 1)) & 1) != 0;
    if (!negative)
      return unsigned_integer(x);
    v.is = kind::negative_integer; // no field of the protocol may be negative; the value is not needed
    return v;
  };

  if (head < 0x80)
    return unsigned_integer(head);
  if (head < 0x90)
    return container(head & 0x0f, 2);
  if (head < 0xa0)
    return container(head & 0x0f, 1);
  if (head < 0xc0)
    return text_of(head & 0x1f);
  if (head >= 0xe0) {
    v.is = kind::negative_integer;
    return v;
  }
  switch (head) {
  case 0xc0: return v;
  case 0xc2:
  case 0xc3:
    v.is = kind::boolean;
    v.boolean = head == 0xc3;
    return v;
  case 0xc4:
  case 0xc5:
  case 0xc6: {
    FLYWHEEL_TRY(const auto n, big_endian(1 << (head - 0xc4)));
    FLYWHEEL_TRY(v.text, take(n));
    v.is = kind::binary;
    return v;
  }
  case 0xc7:
  case 0xc8:
  case 0xc9: {
    FLYWHEEL_TRY(const auto n, big_endian(1 << (head - 0xc7)));
    return passed_over(n + 1);
  }
  case 0xca: {
    FLYWHEEL_TRY(const auto bits, big_endian(4));
    v.is = kind::real;
    v.real = static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
    return v;
  }
  case 0xcb: {
    FLYWHEEL_TRY(const auto bits, big_endian(8));
    v.is = kind::real;
    v.real = std::bit_cast<double>(bits);
    return v;
  }
  case 0xcc:
  case 0xcd:
  case 0xce:
  case 0xcf: {
    FLYWHEEL_TRY(const auto x, big_endian(1 << (head - 0xcc)));
    return unsigned_integer(x);
  }
  case 0xd0:
  case 0xd1:
  case 0xd2:
  case 0xd3: {
    const int bytes = 1 << (head - 0xd0);
    FLYWHEEL_TRY(const auto x, big_endian(bytes));
    return signed_integer(x, bytes);
  }
  case 0xd4:
  case 0xd5:
  case 0xd6:
  case 0xd7:
  case 0xd8: return passed_over((std::uint64_t{1} << (head - 0xd4)) + 1);
  case 0xd9:
  case 0xda:
  case 0xdb: {
    FLYWHEEL_TRY(const auto n, big_endian(1 << (head - 0xd9)));
    return text_of(n);
  }
  case 0xdc:
  case 0xdd: {
    FLYWHEEL_TRY(const auto n, big_endian(head == 0xdc ? 2 : 4));
    return container(n, 1);
  }
  case 0xde:
  case 0xdf: {
    FLYWHEEL_TRY(const auto n, big_endian(head == 0xde ? 2 : 4));
    return container(n, 2);
  }
  default:
    --at_;
    return broken("the reserved byte 0xc1");
  }
}

status reader::skip_container(std::uint64_t children) {
  // The map of the message itself is level 1, and its values level 2.
  std::array<std::uint64_t, limits::worker_message_depth_max> open{};
  std::size_t depth = 1;
  open[0] = children;
  while (depth > 0) {
    if (open[depth - 1] == 0) {
      --depth;
      continue;
    }
    --open[depth - 1];
    FLYWHEEL_TRY(const auto v, one(children));
    if (v.is != value::kind::container || children == 0)
      continue;
    if (depth + 1 >= limits::worker_message_depth_max)
      return error{errc::too_large, "nesting deeper than " + std::to_string(limits::worker_message_depth_max) +
                                        " levels at byte " + std::to_string(at_)};
    open[depth++] = children;
  }
  return success();
}

result<value> reader::any() {
  std::uint64_t children = 0;
  FLYWHEEL_TRY(const auto v, one(children));
  if (children > 0)
    FLYWHEEL_CHECK(skip_container(children));
  return v;
}

result<std::uint32_t> reader::map() {
  FLYWHEEL_TRY(const auto head, big_endian(1));
  std::uint64_t pairs = 0;
  if (head >= 0x80 && head < 0x90) {
    pairs = head & 0x0f;
  } else if (head == 0xde || head == 0xdf) {
    FLYWHEEL_TRY(pairs, big_endian(head == 0xde ? 2 : 4));
  } else {
    --at_;
    return broken("expected a map");
  }
  if (pairs > left() / 2)
    return broken("a map of " + std::to_string(pairs) + " pairs where " + std::to_string(left()) + " bytes are left");
  return static_cast<std::uint32_t>(pairs);
}

result<std::string_view> reader::text() {
  const auto start = at_;
  std::uint64_t children = 0;
  FLYWHEEL_TRY(const auto v, one(children));
  if (v.is != value::kind::text) {
    at_ = start;
    return broken("expected a string");
  }
  return v.text;
}

} // namespace flywheel::message_pack
