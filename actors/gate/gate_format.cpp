#include "actors/gate/gate_format.hpp"

#include "cluster/base/limits.hpp"
#include "cluster/base/text.hpp"
#include "cluster/worker/message_pack.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <map>

namespace flywheel::gate {

using message_pack::value;

namespace {

constexpr std::array<std::string_view, 10> names{"hello", "challenge", "proof", "welcome", "refuse", "note", "call", "answer", "ack", "goodbye"};
constexpr std::uint32_t pairs_max = 64;

bool before_welcome(envelope_kind k) { return k <= envelope_kind::refuse; }

error broken(std::string_view field, std::string_view expected, const value* got) {
  return {errc::protocol_violation, "envelope." + std::string{field} + ": expected " + std::string{expected} + ", got " +
                                        std::string{got != nullptr ? name_of(got->is) : "no such key"}};
}

using pairs = std::map<std::string_view, value>;

const value* find(const pairs& all, std::string_view key) {
  const auto i = all.find(key);
  return i == all.end() ? nullptr : &i->second;
}

/// Absent is 0.
result<std::uint64_t> number(const pairs& all, std::string_view key, std::uint64_t max = std::numeric_limits<std::uint64_t>::max()) {
  const auto* v = find(all, key);
  if (v == nullptr)
    return std::uint64_t{0};
  if (v->is != value::kind::unsigned_integer || v->integer > max)
    return broken(key, "an integer up to " + std::to_string(max), v);
  return v->integer;
}

/// Absent is empty.
result<std::string> text(const pairs& all, std::string_view key) {
  const auto* v = find(all, key);
  if (v == nullptr)
    return std::string{};
  if (v->is != value::kind::text)
    return broken(key, "a string", v);
  return std::string{v->text};
}

} // namespace

std::string_view name_of(envelope_kind k) noexcept { return names[static_cast<std::size_t>(k)]; }

bool envelope::operator==(const envelope& o) const {
  return kind == o.kind && incarnation == o.incarnation && sequence == o.sequence && received == o.received && call == o.call &&
         wait_ms == o.wait_ms && service == o.service && body == o.body && problem.code == o.problem.code && problem.what == o.problem.what &&
         problem.where == o.problem.where && problem.hint == o.problem.hint;
}

std::string encode(const envelope& e) {
  message_pack::writer w;
  const bool failed = e.problem.code != errc::ok;
  w.map(3u + (e.sequence != 0) + (e.received != 0) + (e.call != 0) + (e.wait_ms != 0) + !e.service.empty() + !e.body.empty() + (failed ? 4u : 0u));
  w.text("v"), w.number(std::uint64_t{protocol_version});
  w.text("kind"), w.text(name_of(e.kind));
  w.text("inc"), w.number(e.incarnation);
  const auto add = [&](std::string_view key, std::uint64_t x) {
    if (x != 0)
      w.text(key), w.number(x);
  };
  add("seq", e.sequence);
  add("rcvd", e.received);
  add("call", e.call);
  add("wait", e.wait_ms);
  if (!e.service.empty())
    w.text("to"), w.text(e.service);
  if (failed) {
    w.text("error"), w.text(flywheel::name_of(e.problem.code));
    w.text("what"), w.text(printable(e.problem.what, 1000));
    w.text("where"), w.text(printable(e.problem.where, 500));
    w.text("hint"), w.text(printable(e.problem.hint, 500));
  }
  if (!e.body.empty())
    w.text("body"), w.binary(e.body);
  return w.take();
}

result<envelope> decode(std::string_view bytes) {
  if (bytes.size() > limits::gate_envelope_bytes_max + header_bytes_max)
    return error{errc::too_large, "an envelope of " + format_bytes(bytes.size()) + ", at most " + format_bytes(limits::gate_envelope_bytes_max) + " are allowed"};
  message_pack::reader r{bytes};
  FLYWHEEL_TRY(const auto count, r.map());
  if (count > pairs_max)
    return error{errc::protocol_violation, "an envelope with " + std::to_string(count) + " fields"};
  pairs all;
  for (std::uint32_t i = 0; i < count; ++i) {
    FLYWHEEL_TRY(const auto key, r.text());
    FLYWHEEL_TRY(const auto v, r.any());
    if (!all.emplace(key, v).second)
      return error{errc::protocol_violation, "envelope." + printable(key, 40) + " stands there twice"};
  }
  if (!r.at_end())
    return error{errc::protocol_violation, "bytes behind the envelope's end at byte " + std::to_string(r.offset())};

  FLYWHEEL_TRY(const auto version, number(all, "v"));
  if (version != protocol_version)
    return error{errc::incompatible_version, "the peer speaks version " + std::to_string(version) + " of the gate's protocol, this program " +
                                                 std::to_string(protocol_version),
                 {}, "run the same version of flywheel on all nodes"};
  envelope e;
  FLYWHEEL_TRY(const auto kind, text(all, "kind"));
  const auto named = std::find(names.begin(), names.end(), kind);
  if (named == names.end())
    return error{errc::protocol_violation, "no envelope is of kind '" + printable(kind, 40) + "'"};
  e.kind = static_cast<envelope_kind>(named - names.begin());
  if (before_welcome(e.kind) && bytes.size() > handshake_bytes_max)
    return error{errc::too_large, "a " + kind + " of " + format_bytes(bytes.size())};
  FLYWHEEL_TRY(e.incarnation, number(all, "inc"));
  FLYWHEEL_TRY(e.sequence, number(all, "seq"));
  FLYWHEEL_TRY(e.received, number(all, "rcvd"));
  FLYWHEEL_TRY(e.call, number(all, "call"));
  FLYWHEEL_TRY(const auto wait, number(all, "wait", std::numeric_limits<std::uint32_t>::max()));
  e.wait_ms = static_cast<std::uint32_t>(wait);
  FLYWHEEL_TRY(e.service, text(all, "to"));
  if (const auto* body = find(all, "body")) {
    if (body->is != value::kind::binary)
      return broken("body", "a binary", body);
    e.body = body->text;
  }
  FLYWHEEL_TRY(const auto problem, text(all, "error"));
  if (!problem.empty()) {
    e.problem.code = errc_from_name(problem).value_or(errc::internal);
    if (e.problem.code == errc::ok)
      return error{errc::protocol_violation, "envelope.error says that there is no error"};
    FLYWHEEL_TRY(e.problem.what, text(all, "what"));
    FLYWHEEL_TRY(e.problem.where, text(all, "where"));
    FLYWHEEL_TRY(e.problem.hint, text(all, "hint"));
  }
  const bool numbered = e.kind == envelope_kind::note || e.kind == envelope_kind::call || e.kind == envelope_kind::answer;
  if (numbered != (e.sequence != 0))
    return error{errc::protocol_violation, "a " + kind + (numbered ? " without" : " with") + " a sequence number"};
  if ((e.kind == envelope_kind::call || e.kind == envelope_kind::answer) != (e.call != 0))
    return error{errc::protocol_violation, "a " + kind + (e.call == 0 ? " without" : " with") + " a call's number"};
  if ((e.kind == envelope_kind::note || e.kind == envelope_kind::call) && (e.service.empty() || e.service.size() > 64))
    return error{errc::protocol_violation, "a " + kind + " that names no service"};
  if (e.kind == envelope_kind::refuse && e.problem.code == errc::ok)
    return error{errc::protocol_violation, "a refusal without a reason"};
  return e;
}

} // namespace flywheel::gate
