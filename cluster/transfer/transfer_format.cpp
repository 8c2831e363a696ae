#include "cluster/transfer/transfer_format.hpp"

#include "cluster/base/text.hpp"
#include "cluster/worker/message_pack.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

namespace flywheel::transfer {
namespace {

using message_pack::value;

constexpr std::array<std::string_view, 7> names{"list", "read", "begin", "put", "publish", "remove", "finish"};
constexpr std::uint32_t pairs_max = 32;
constexpr std::size_t text_bytes_max = 2048;

/// Counts first, because a map begins with its count.
class map_writer {
public:
  map_writer() = default;
  void number(std::string_view key, std::uint64_t x) {
    if (x != 0)
      add(key).number(x);
  }
  void text(std::string_view key, std::string_view x) {
    if (!x.empty())
      add(key).text(x);
  }
  void binary(std::string_view key, std::string_view x) {
    if (!x.empty())
      add(key).binary(x);
  }
  void flag(std::string_view key, bool x) {
    if (x)
      add(key).boolean(true);
  }
  std::string take() {
    message_pack::writer head;
    head.map(count_);
    return head.take() + body_.take();
  }

private:
  message_pack::writer& add(std::string_view key) {
    ++count_;
    body_.text(key);
    return body_;
  }
  message_pack::writer body_;
  std::uint32_t count_ = 0;
};

std::string_view bytes_of(const digest& d) { return {reinterpret_cast<const char*>(d.bytes.data()), d.bytes.size()}; }

/// One map: its fields taken out one by one; the first problem stays.
class map_reader {
public:
  static result<map_reader> read(message_pack::reader& from) {
    map_reader m;
    FLYWHEEL_TRY(const auto count, from.map());
    if (count > pairs_max)
      return error{errc::too_large, "a map of " + std::to_string(count) + " pairs, at most " + std::to_string(pairs_max) + " are allowed"};
    for (std::uint32_t i = 0; i < count; ++i) {
      FLYWHEEL_TRY(const auto key, from.text());
      if (m.find(key) != nullptr)
        return error{errc::protocol_violation, "the key " + printable(key, 40) + " repeats before byte " + std::to_string(from.offset())};
      FLYWHEEL_TRY(auto v, from.any());
      m.pairs_.emplace_back(key, v);
    }
    return m;
  }
  void number(std::string_view key, std::uint64_t& x) {
    if (const auto* v = of(key, value::kind::unsigned_integer, "an integer that is not negative"))
      x = v->integer;
  }
  void text(std::string_view key, std::string& x, std::size_t bytes_max = text_bytes_max) {
    if (const auto* v = of(key, value::kind::text, "a string")) {
      if (v->text.size() > bytes_max)
        return complain(key, "at most " + std::to_string(bytes_max) + " bytes");
      x = v->text;
    }
  }
  void binary(std::string_view key, std::string_view& x) {
    if (const auto* v = of(key, value::kind::binary, "a binary")) {
      if (v->text.size() > chunk_bytes_max)
        return complain(key, "at most " + std::to_string(chunk_bytes_max) + " bytes");
      x = v->text;
    }
  }
  void sha256(std::string_view key, digest& x) {
    std::string_view bytes;
    binary(key, bytes);
    if (bytes.empty())
      return;
    if (bytes.size() != x.bytes.size())
      return complain(key, "32 bytes");
    std::memcpy(x.bytes.data(), bytes.data(), bytes.size());
  }
  void flag(std::string_view key, bool& x) {
    if (const auto* v = of(key, value::kind::boolean, "a boolean"))
      x = v->boolean;
  }
  void complain(std::string_view key, const std::string& expected) {
    if (!problem_)
      problem_ = error{errc::protocol_violation, std::string{key} + ": expected " + expected};
  }
  status outcome() const { return problem_ ? status{*problem_} : success(); }

private:
  const value* find(std::string_view key) const {
    const auto i = std::find_if(pairs_.begin(), pairs_.end(), [&](const auto& p) { return p.first == key; });
    return i == pairs_.end() ? nullptr : &i->second;
  }
  /// Nothing if it is not there, or of another kind.
  const value* of(std::string_view key, value::kind kind, const char* expected) {
    const auto* v = find(key);
    if (v == nullptr || v->is == kind)
      return v;
    complain(key, std::string{expected} + ", got " + std::string{name_of(v->is)});
    return nullptr;
  }
  std::vector<std::pair<std::string_view, value>> pairs_;
  std::optional<error> problem_;
};

result<map_reader> whole_message(std::string_view bytes) {
  if (bytes.size() > message_bytes_max)
    return error{errc::too_large, "a message of " + format_bytes(bytes.size()) + ", at most " + format_bytes(message_bytes_max) + " are allowed"};
  message_pack::reader from{bytes};
  FLYWHEEL_TRY(auto m, map_reader::read(from));
  if (!from.at_end())
    return error{errc::protocol_violation, "bytes after the message, at byte " + std::to_string(from.offset())};
  std::uint64_t v = 0;
  m.number("v", v);
  FLYWHEEL_CHECK(m.outcome());
  if (v != version)
    return error{errc::incompatible_version, "the peer speaks version " + std::to_string(v) + " of the transfer protocol, this program speaks " + std::to_string(version), {},
                 "run the same version of flywheel on all nodes"};
  return m;
}

} // namespace

std::string_view name_of(op o) noexcept { return names[static_cast<std::size_t>(o)]; }

std::string encode(const request& r) {
  map_writer m;
  m.number("v", version);
  m.text("op", name_of(r.is));
  m.number("id", r.id);
  m.number("lease", r.lease);
  m.number("root", r.root);
  m.text("name", r.name);
  m.number("offset", r.offset);
  m.number("size", r.size);
  if (r.sha256 != digest{})
    m.binary("sha256", bytes_of(r.sha256));
  m.binary("bytes", r.bytes);
  return m.take();
}

std::string encode(const reply& r) {
  map_writer m;
  m.number("v", version);
  m.number("id", r.id);
  m.number("offset", r.offset);
  m.number("size", r.size);
  m.flag("more", r.more);
  m.binary("bytes", r.bytes);
  if (r.problem.code != errc::ok) {
    m.text("error", flywheel::name_of(r.problem.code));
    m.text("what", printable(r.problem.what, text_bytes_max - 16));
    m.text("where", printable(r.problem.where, text_bytes_max - 16));
    m.text("hint", printable(r.problem.hint, text_bytes_max - 16));
  }
  return m.take();
}

std::string encode(const std::vector<file_entry>& files) {
  std::string all;
  for (const auto& f : files) {
    map_writer m;
    m.text("name", f.name);
    m.number("size", f.size);
    m.binary("sha256", bytes_of(f.sha256));
    all += m.take();
  }
  return all;
}

result<request> request_from(std::string_view bytes) {
  FLYWHEEL_TRY(auto m, whole_message(bytes));
  request r;
  std::string what;
  m.text("op", what);
  const auto i = std::find(names.begin(), names.end(), what);
  if (i == names.end())
    m.complain("op", "an operation, got '" + printable(what, 40) + "'");
  else
    r.is = static_cast<op>(i - names.begin());
  m.number("id", r.id);
  m.number("lease", r.lease);
  m.number("root", r.root);
  m.text("name", r.name, name_bytes_max);
  m.number("offset", r.offset);
  m.number("size", r.size);
  m.sha256("sha256", r.sha256);
  m.binary("bytes", r.bytes);
  FLYWHEEL_CHECK(m.outcome());
  return r;
}

result<reply> reply_from(std::string_view bytes) {
  FLYWHEEL_TRY(auto m, whole_message(bytes));
  reply r;
  std::string code;
  m.number("id", r.id);
  m.number("offset", r.offset);
  m.number("size", r.size);
  m.flag("more", r.more);
  m.binary("bytes", r.bytes);
  m.text("error", code);
  m.text("what", r.problem.what);
  m.text("where", r.problem.where);
  m.text("hint", r.problem.hint);
  FLYWHEEL_CHECK(m.outcome());
  if (!code.empty())
    r.problem.code = errc_from_name(code).value_or(errc::internal);
  return r;
}

result<std::vector<file_entry>> files_from(std::string_view bytes) {
  std::vector<file_entry> files;
  message_pack::reader from{bytes};
  while (!from.at_end()) {
    FLYWHEEL_TRY(auto m, map_reader::read(from));
    file_entry f;
    m.text("name", f.name, name_bytes_max);
    m.number("size", f.size);
    m.sha256("sha256", f.sha256);
    FLYWHEEL_CHECK(m.outcome());
    if (!f.name.empty())
      FLYWHEEL_CHECK(check_name(f.name));
    if (f.size > file_bytes_max)
      return error{errc::too_large, "a file of " + format_bytes(f.size), printable(f.name)};
    if (!files.empty() && !(files.back().name < f.name))
      return error{errc::protocol_violation, "the files are not in order", printable(f.name)};
    files.push_back(std::move(f));
  }
  return files;
}

status check_name(std::string_view name) {
  const auto refuse = [&](const char* why) { return error{errc::not_allowed, "not a name beneath a root: " + std::string{why}, printable(name)}; };
  if (name.empty() || name.size() > name_bytes_max)
    return refuse("it is empty, or too long");
  if (!is_valid_utf8(name))
    return refuse("it is not UTF-8");
  if (std::any_of(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }))
    return refuse("it has control bytes");
  const auto parts = split(name, '/');
  if (parts.size() > name_depth_max)
    return refuse("it is nested too deeply");
  for (const auto part : parts)
    if (part.empty() || part.size() > 255 || part == "." || part == "..")
      return refuse("a part of it is empty, too long, '.' or '..'");
  return success();
}

digest digest_of(const std::vector<file_entry>& files) {
  hasher h;
  for (const auto& f : files)
    h.field(f.name).field(f.size).field(bytes_of(f.sha256));
  return h.finish();
}

} // namespace flywheel::transfer
