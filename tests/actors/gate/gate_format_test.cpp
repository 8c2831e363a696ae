#include "actors/gate/gate_format.hpp"

#include "cluster/base/limits.hpp"
#include "cluster/base/random.hpp"
#include "cluster/worker/message_pack.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace flywheel;
using namespace flywheel::gate;
using testing::HasSubstr;

namespace {

envelope full_call() {
  envelope e;
  e.kind = envelope_kind::call;
  e.incarnation = 7;
  e.sequence = 3;
  e.received = 2;
  e.call = 9;
  e.wait_ms = 1500;
  e.service = "workers";
  e.body = std::string("\x00\xff{}", 4);
  return e;
}

} // namespace

TEST(gate_format, one_call_byte_by_byte) {
  using namespace std::string_literals;
  EXPECT_EQ(encode(full_call()), "\x89\xa1v\x01\xa4kind\xa4" "call\xa3inc\x07\xa3seq\x03\xa4rcvd\x02\xa4" "call\x09\xa4wait\xcd\x05\xdc\xa2to\xa7workers\xa4" "body\xc4\x04\x00\xff{}"s);
}

TEST(gate_format, every_kind_comes_back_as_it_went) {
  for (auto kind : {envelope_kind::hello, envelope_kind::challenge, envelope_kind::proof, envelope_kind::welcome, envelope_kind::refuse, envelope_kind::note,
                    envelope_kind::call, envelope_kind::answer, envelope_kind::ack, envelope_kind::goodbye}) {
    auto e = full_call();
    e.kind = kind;
    if (kind != envelope_kind::call && kind != envelope_kind::answer)
      e.call = 0;
    if (kind != envelope_kind::call && kind != envelope_kind::answer && kind != envelope_kind::note)
      e.sequence = 0;
    if (kind == envelope_kind::refuse || kind == envelope_kind::answer)
      e.problem = error{errc::not_allowed, "no", "here", "ask"};
    const auto back = decode(encode(e));
    ASSERT_TRUE(back) << name_of(kind) << ": " << back.error().to_string();
    EXPECT_EQ(*back, e) << name_of(kind);
  }
}

TEST(gate_format, unknown_fields_are_for_later_versions) {
  message_pack::writer w;
  w.map(5);
  w.text("v"), w.number(std::uint64_t{1});
  w.text("colour"), w.text("blue");
  w.text("kind"), w.text("ack");
  w.text("rcvd"), w.number(std::uint64_t{4});
  w.text("blob"), w.binary("xyz");
  const auto e = decode(w.take());
  ASSERT_TRUE(e) << e.error().to_string();
  EXPECT_EQ(e->received, 4U);
}

TEST(gate_format, what_is_no_envelope_is_refused_with_the_reason) {
  const auto made = [](auto&& change) {
    auto e = full_call();
    change(e);
    return encode(e);
  };
  struct line {
    const char* situation;
    std::string bytes;
    errc code;
    const char* reason;
  };
  message_pack::writer twice, version, list;
  twice.map(2), twice.text("v"), twice.number(std::uint64_t{1}), twice.text("v"), twice.number(std::uint64_t{1});
  version.map(2), version.text("v"), version.number(std::uint64_t{2}), version.text("kind"), version.text("ack");
  list.number(std::uint64_t{4});
  const std::string big(limits::gate_envelope_bytes_max + header_bytes_max + 1, 'x');
  for (const line& l : std::initializer_list<line>{
           {"nothing", "", errc::protocol_violation, "byte 0"},
           {"no map", list.take(), errc::protocol_violation, "byte"},
           {"a key twice", twice.take(), errc::protocol_violation, "twice"},
           {"another version", version.take(), errc::incompatible_version, "version 2"},
           {"more than an envelope", encode(full_call()) + "x", errc::protocol_violation, "behind"},
           {"too large", big, errc::too_large, "1.0 MiB"},
           {"a call of nobody", made([](auto& e) { e.call = 0; }), errc::protocol_violation, "call's number"},
           {"a call without order", made([](auto& e) { e.sequence = 0; }), errc::protocol_violation, "sequence"},
           {"a call to nobody", made([](auto& e) { e.service.clear(); }), errc::protocol_violation, "no service"},
           {"a long name", made([](auto& e) { e.service.assign(65, 'x'); }), errc::protocol_violation, "no service"},
           {"an ack with a place in the order", made([](auto& e) { e.kind = envelope_kind::ack; e.call = 0; }), errc::protocol_violation, "sequence"},
           {"a refusal without a reason", made([](auto& e) { e.kind = envelope_kind::refuse; e.call = e.sequence = 0; }), errc::protocol_violation, "reason"},
           {"a hello as long as a book", made([](auto& e) { e.kind = envelope_kind::hello; e.call = e.sequence = 0; e.body.assign(handshake_bytes_max, 'x'); }),
            errc::too_large, "hello"},
       }) {
    const auto e = decode(l.bytes);
    ASSERT_FALSE(e) << l.situation;
    EXPECT_EQ(e.error().code, l.code) << l.situation;
    EXPECT_THAT(e.error().what, HasSubstr(l.reason)) << l.situation;
  }
}

TEST(gate_format, damaged_and_random_bytes_never_do_more_than_fail) {
  random_source random{11};
  const auto good = encode(full_call());
  for (int i = 0; i < 20'000; ++i) {
    auto bytes = good;
    for (std::uint64_t n = 1 + random.below(3); n > 0; --n)
      bytes[random.below(bytes.size())] = static_cast<char>(random.below(256));
    bytes.resize(random.below(4) == 0 ? random.below(bytes.size()) : bytes.size());
    if (const auto e = decode(bytes)) {
      EXPECT_LE(e->body.size(), bytes.size());
    }
  }
}
