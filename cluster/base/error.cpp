#include "cluster/base/error.hpp"

#include <array>
#include <cerrno>
#include <cstring>

namespace flywheel {
namespace {

struct entry {
  std::string_view name;
  error_class klass;
  std::string_view sentence;
};

constexpr std::array table{
#define FLYWHEEL_X(name, klass, sentence) entry{#name, error_class::klass, sentence},
    FLYWHEEL_ERRORS(FLYWHEEL_X)
#undef FLYWHEEL_X
};

const entry& entry_of(errc code) noexcept {
  const auto i = static_cast<std::size_t>(code);
  return i < table.size() ? table[i] : table[static_cast<std::size_t>(errc::internal)];
}

errc errc_from_errno(int value) noexcept {
  switch (value) {
  case 0: return errc::ok;
  case ENOENT: case ENOTDIR: return errc::not_found;
  case EACCES: case EPERM: case EROFS: return errc::permission_denied;
  case ENOSPC: case EDQUOT: case EFBIG: return errc::disk_full;
  case ENOMEM: return errc::out_of_memory;
  case EMFILE: case ENFILE: case EAGAIN: return errc::no_capacity;
  case EADDRINUSE: return errc::address_in_use;
  case EINTR: return errc::interrupted;
  case ETIMEDOUT: return errc::timed_out;
  case EEXIST: return errc::already_exists;
  case ECONNREFUSED: case EHOSTUNREACH: case ENETUNREACH: return errc::unreachable;
  default: return errc::io_failed;
  }
}

} // namespace

std::string_view name_of(errc code) noexcept { return entry_of(code).name; }
std::string_view sentence_of(errc code) noexcept { return entry_of(code).sentence; }
error_class class_of(errc code) noexcept { return entry_of(code).klass; }

std::optional<errc> errc_from_name(std::string_view name) noexcept {
  for (std::size_t i = 0; i < table.size(); ++i)
    if (table[i].name == name)
      return static_cast<errc>(i);
  return std::nullopt;
}

std::string_view name_of(error_class c) noexcept {
  switch (c) {
  case error_class::none: return "none";
  case error_class::bad_input: return "bad_input";
  case error_class::not_found: return "not_found";
  case error_class::denied: return "denied";
  case error_class::unreachable: return "unreachable";
  case error_class::waiting: return "waiting";
  case error_class::transient: return "transient";
  case error_class::resource: return "resource";
  case error_class::damaged: return "damaged";
  case error_class::conflict: return "conflict";
  case error_class::cancelled: return "cancelled";
  case error_class::failed: return "failed";
  case error_class::internal: return "internal";
  }
  return "internal";
}

int exit_code_of(errc code) noexcept {
  switch (class_of(code)) {
  case error_class::none: return 0;
  case error_class::bad_input: return 2;
  case error_class::not_found: return 3;
  case error_class::denied: return 4;
  case error_class::unreachable: return 5;
  case error_class::waiting: return 6;
  default: return 1;
  }
}

std::string error::to_string() const {
  std::string s;
  if (!where.empty())
    s += where + ": ";
  s += sentence_of(code);
  if (!what.empty())
    s += ": " + what;
  s += " [";
  s += name_of(code);
  s += ']';
  if (!hint.empty())
    s += "; " + hint;
  return s;
}

error&& error::in(std::string_view outer) && {
  what = what.empty() ? std::string{outer} : std::string{outer} + ": " + what;
  return std::move(*this);
}

error error_from_errno(int errno_value, std::string what, std::string where) {
  std::array<char, 128> buffer{};
  const char* text = ::strerror_r(errno_value, buffer.data(), buffer.size());
  return error{errc_from_errno(errno_value), std::move(what) + ": " + text, std::move(where)};
}

} // namespace flywheel
