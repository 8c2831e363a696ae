#include "actors/gate/handshake.hpp"

#include "cluster/base/json.hpp"
#include "cluster/content/digest.hpp"

#include <utility>

namespace flywheel::gate {

using nlohmann::json;

namespace {

std::string hex_of(std::string_view bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out.push_back(digits[byte >> 4]);
    out.push_back(digits[byte & 15]);
  }
  return out;
}

std::string bytes_of(std::string_view hex) {
  const auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; };
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    if (digit(hex[i]) < 0 || digit(hex[i + 1]) < 0)
      return {};
    out.push_back(static_cast<char>(digit(hex[i]) * 16 + digit(hex[i + 1])));
  }
  return hex.size() % 2 == 0 ? out : std::string{};
}

std::string new_nonce(const credentials& c) {
  std::string raw;
  for (int i = 0; i < 4; ++i) {
    const auto x = c.draw();
    raw.append(reinterpret_cast<const char*>(&x), sizeof x);
  }
  return hex_of(raw);
}

/// What a side signs.
std::string statement(std::string_view side, std::string_view dialler_nonce, std::string_view acceptor_nonce, std::string_view dialler,
                      std::string_view acceptor, std::uint64_t incarnation, std::string_view greeting) {
  return hasher{}
      .field("flywheel gate 1")
      .field(side)
      .field(dialler_nonce)
      .field(acceptor_nonce)
      .field(dialler)
      .field(acceptor)
      .field(incarnation)
      .field(greeting)
      .finish()
      .hex();
}

result<json> body_of(const envelope& e, envelope_kind wanted) {
  if (e.kind == envelope_kind::refuse)
    return e.problem;
  if (e.kind != wanted)
    return error{errc::protocol_violation, "a " + std::string{name_of(e.kind)} + " came where a " + std::string{name_of(wanted)} + " was due"};
  auto body = json::parse(e.body, nullptr, false);
  if (!body.is_object())
    return error{errc::protocol_violation, "a " + std::string{name_of(wanted)} + " whose body is no JSON object"};
  return body;
}

result<std::string> text_of(const json& body, const char* key) {
  const auto i = body.find(key);
  if (i == body.end() || !i->is_string())
    return error{errc::protocol_violation, std::string{"the handshake lacks its "} + key};
  return i->get<std::string>();
}

result<std::string> nonce_of(const json& body) {
  FLYWHEEL_TRY(auto nonce, text_of(body, "nonce"));
  if (nonce.size() != 64 || bytes_of(nonce).size() != 32)
    return error{errc::protocol_violation, "a nonce that is not 32 bytes"};
  return nonce;
}

envelope make(envelope_kind kind, const credentials& c, const json& body) {
  envelope e;
  e.kind = kind;
  e.incarnation = c.incarnation;
  e.body = body.dump();
  return e;
}

} // namespace

dialler_handshake::dialler_handshake(credentials c, std::string greeting) : mine_(std::move(c)), greeting_(std::move(greeting)) {}

envelope dialler_handshake::hello() {
  nonce_ = new_nonce(mine_);
  return make(envelope_kind::hello, mine_, {{"certificate", mine_.certificate}, {"nonce", nonce_}, {"greeting", greeting_}});
}

result<envelope> dialler_handshake::answer(const envelope& challenge, wall_time now) {
  if (nonce_.empty())
    return error{errc::protocol_violation, "a challenge before the hello"};
  FLYWHEEL_TRY(const auto body, body_of(challenge, envelope_kind::challenge));
  FLYWHEEL_TRY(const auto certificate, text_of(body, "certificate"));
  FLYWHEEL_TRY(const auto theirs, nonce_of(body));
  FLYWHEEL_TRY(const auto signature, text_of(body, "signature"));
  FLYWHEEL_TRY(peer_.who, identify(certificate, mine_.authority, now));
  peer_.incarnation = challenge.incarnation;
  if (peer_.who.as != role::node)
    return error{errc::not_allowed, "a " + std::string{name_of(peer_.who.as)} + " (" + peer_.who.name + ") answers where a node should", {},
                 "somebody poses as a node: find out who listens there"};
  const auto said = [&](std::string_view side) { return statement(side, nonce_, theirs, mine_.certificate, certificate, mine_.incarnation, greeting_); };
  FLYWHEEL_CHECK(verify(certificate, said("acceptor"), bytes_of(signature)));
  FLYWHEEL_TRY(const auto proof, mine_.sign(said("dialler")));
  nonce_.clear(); // one answer per hello
  return make(envelope_kind::proof, mine_, {{"signature", hex_of(proof)}});
}

result<envelope> acceptor_handshake::challenge(const envelope& hello, wall_time now) {
  if (!certificate_.empty())
    return error{errc::protocol_violation, "a second hello"};
  FLYWHEEL_TRY(const auto body, body_of(hello, envelope_kind::hello));
  FLYWHEEL_TRY(const auto certificate, text_of(body, "certificate"));
  FLYWHEEL_TRY(const auto theirs, nonce_of(body));
  FLYWHEEL_TRY(peer_.greeting, text_of(body, "greeting"));
  FLYWHEEL_TRY(peer_.who, identify(certificate, mine_.authority, now));
  peer_.incarnation = hello.incarnation;
  if (peer_.incarnation == 0)
    return error{errc::protocol_violation, "a hello without an incarnation"};
  const auto nonce = new_nonce(mine_);
  const auto said = [&](std::string_view side) { return statement(side, theirs, nonce, certificate, mine_.certificate, hello.incarnation, peer_.greeting); };
  FLYWHEEL_TRY(const auto signature, mine_.sign(said("acceptor")));
  certificate_ = certificate;
  signed_text_ = said("dialler");
  return make(envelope_kind::challenge, mine_, {{"certificate", mine_.certificate}, {"nonce", nonce}, {"signature", hex_of(signature)}});
}

result<peer_identity> acceptor_handshake::accept(const envelope& proof) {
  if (signed_text_.empty())
    return error{errc::protocol_violation, "the peer began with '" + std::string{name_of(proof.kind)} + "', not with a hello"};
  const auto wanted = std::exchange(signed_text_, {}); // one attempt
  FLYWHEEL_TRY(const auto body, body_of(proof, envelope_kind::proof));
  FLYWHEEL_TRY(const auto signature, text_of(body, "signature"));
  FLYWHEEL_CHECK(verify(certificate_, wanted, bytes_of(signature)));
  if (proof.incarnation != peer_.incarnation)
    return error{errc::protocol_violation, "a proof of another incarnation than its hello"};
  return peer_;
}

envelope acceptor_handshake::welcome(std::string body) const {
  envelope e;
  e.kind = envelope_kind::welcome;
  e.incarnation = mine_.incarnation;
  e.body = std::move(body);
  return e;
}

envelope acceptor_handshake::refuse(const error& why) const {
  envelope e;
  e.kind = envelope_kind::refuse;
  e.incarnation = mine_.incarnation;
  e.problem = why;
  return e;
}

} // namespace flywheel::gate
