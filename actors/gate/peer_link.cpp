#include "actors/gate/peer_link.hpp"

#include "cluster/base/limits.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <utility>

namespace flywheel::gate {

namespace {
std::size_t size_of(const envelope& e) { return e.body.size() + e.service.size() + 64; }
} // namespace

status peer_link::enqueue(envelope e, bool bounded) {
  if (e.body.size() > limits::gate_envelope_bytes_max)
    return error{errc::too_large, "a message of " + format_bytes(e.body.size()) + " to " + e.service + "; at most " +
                                      format_bytes(limits::gate_envelope_bytes_max) + " go in one",
                 {}, "send it in pieces"};
  const auto bytes = size_of(e);
  if (bounded && bytes_waiting_ + bytes > limits_.bytes_waiting)
    return error{errc::no_capacity, format_bytes(bytes_waiting_) + " wait for the peer, which does not keep up", {}, "try again later"};
  e.incarnation = own_;
  bytes_waiting_ += bytes;
  waiting_.push_back(std::move(e));
  return success();
}

status peer_link::note(std::string service, std::string body) {
  envelope e;
  e.kind = envelope_kind::note;
  e.service = std::move(service);
  e.body = std::move(body);
  return enqueue(std::move(e), true);
}

result<std::uint64_t> peer_link::call(std::string service, std::string body, mono_time now, nanoseconds wait) {
  if (calls_.size() >= limits_.calls_waiting)
    return error{errc::no_capacity, std::to_string(calls_.size()) + " calls wait for the peer's answers", {}, "try again later"};
  envelope e;
  e.kind = envelope_kind::call;
  e.call = last_call_ + 1;
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(wait).count();
  e.wait_ms = static_cast<std::uint32_t>(std::clamp<std::int64_t>(ms, 1, 0xffff'ffff));
  e.service = std::move(service);
  e.body = std::move(body);
  FLYWHEEL_CHECK(enqueue(std::move(e), true));
  calls_[++last_call_] = now + wait;
  return last_call_;
}

void peer_link::answer(std::uint64_t call, std::string body, const error& problem) {
  envelope e;
  e.kind = envelope_kind::answer;
  e.call = call;
  e.problem = problem;
  if (problem.code == errc::ok)
    e.body = std::move(body);
  peer_calls_.erase(call);
  if (const auto queued = enqueue(e, true); !queued) {
    e.body.clear();
    e.problem = queued.error();
    (void)enqueue(std::move(e), false); // small, and at most one for each call that the peer may have open
  }
}

result<peer_link::arrival> peer_link::receive(envelope e) {
  if (e.incarnation != peer_)
    return error{errc::protocol_violation, "an envelope of incarnation " + std::to_string(e.incarnation) + " on the connection of " + std::to_string(peer_)};
  if (e.received > last_sent_)
    return error{errc::protocol_violation, "the peer has taken in " + std::to_string(e.received) + " envelopes where " + std::to_string(last_sent_) + " were sent"};
  while (!in_flight_.empty() && in_flight_.front().first <= e.received) {
    bytes_in_flight_ -= in_flight_.front().second;
    in_flight_.pop_front();
  }
  arrival a;
  switch (e.kind) {
  case envelope_kind::ack: return a;
  case envelope_kind::note: a.is = arrival::what::note; break;
  case envelope_kind::call: a.is = arrival::what::call; break;
  case envelope_kind::answer: a.is = arrival::what::answer; break;
  default: return error{errc::protocol_violation, "a " + std::string{name_of(e.kind)} + " after the handshake"};
  }
  if (e.sequence != last_received_ + 1)
    return error{errc::protocol_violation, "envelope " + std::to_string(e.sequence) + " came where " + std::to_string(last_received_ + 1) + " was due"};
  last_received_ = e.sequence;
  if (last_received_ - last_told_ > limits_.frames_in_flight)
    return error{errc::protocol_violation, "more than the " + std::to_string(limits_.frames_in_flight) + " envelopes that the peer had credit for"};
  bytes_untold_ += size_of(e);
  // The peer is out of credit only with more than that untold, so it never waits for an ack that does not come.
  peer_waits_ = peer_waits_ || last_received_ - last_told_ >= std::min(limits_.ack_every, limits_.frames_in_flight) ||
                bytes_untold_ >= limits_.bytes_in_flight / 2;
  a.call = e.call;
  a.wait = std::chrono::milliseconds{e.wait_ms};
  a.service = std::move(e.service);
  a.body = std::move(e.body);
  a.problem = std::move(e.problem);
  if (a.is == arrival::what::call) {
    if (!peer_calls_.insert(a.call).second)
      return error{errc::protocol_violation, "call " + std::to_string(a.call) + " was made twice"};
    if (peer_calls_.size() > limits_.calls_waiting)
      return error{errc::protocol_violation, "more than " + std::to_string(limits_.calls_waiting) + " calls that wait for our answer"};
  }
  if (a.is == arrival::what::answer) {
    if (a.call > last_call_)
      return error{errc::protocol_violation, "an answer to call " + std::to_string(a.call) + ", which nobody made"};
    if (calls_.erase(a.call) == 0)
      a.is = arrival::what::nothing;
  }
  return a;
}

std::uint64_t peer_link::tell() {
  peer_waits_ = false;
  bytes_untold_ = 0;
  return last_told_ = last_received_;
}

std::vector<envelope> peer_link::take_outgoing() {
  std::vector<envelope> out;
  while (!waiting_.empty()) {
    const auto bytes = size_of(waiting_.front());
    if (in_flight_.size() >= limits_.frames_in_flight || bytes_in_flight_ >= limits_.bytes_in_flight)
      break;
    envelope e = std::move(waiting_.front());
    waiting_.pop_front();
    bytes_waiting_ -= bytes;
    bytes_in_flight_ += bytes;
    e.sequence = ++last_sent_;
    e.received = tell();
    in_flight_.emplace_back(e.sequence, bytes);
    out.push_back(std::move(e));
  }
  if (peer_waits_) {
    envelope ack;
    ack.kind = envelope_kind::ack;
    ack.incarnation = own_;
    ack.received = tell();
    out.push_back(std::move(ack));
  }
  return out;
}

std::vector<std::uint64_t> peer_link::expire(mono_time now) {
  std::vector<std::uint64_t> over;
  std::erase_if(calls_, [&](const auto& c) {
    if (c.second > now)
      return false;
    over.push_back(c.first);
    return true;
  });
  return over;
}

std::optional<mono_time> peer_link::next_expiry() const {
  const auto first = std::min_element(calls_.begin(), calls_.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return first == calls_.end() ? std::nullopt : std::optional{first->second};
}

std::vector<std::uint64_t> peer_link::waiting_calls() const {
  std::vector<std::uint64_t> all;
  for (const auto& [call, until] : calls_)
    all.push_back(call);
  return all;
}

} // namespace flywheel::gate
