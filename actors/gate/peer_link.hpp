#pragma once
// One connection to one peer, after the handshake: order, credit, and calls that wait. A pure machine: envelopes in, envelopes out,
// told the time. A connection that breaks takes its link with it; what waited is failed, and whoever asked decides whether to ask
// again (so every request between nodes must be safe to repeat).

#include "actors/gate/gate_format.hpp"
#include "cluster/base/clock.hpp"

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <vector>

namespace flywheel::gate {

struct link_limits {
  std::uint64_t frames_in_flight = 64;              ///< sent and not yet taken in by the peer
  std::size_t bytes_in_flight = 8u << 20;           ///< likewise; the envelope that reaches it still goes
  std::size_t bytes_waiting = 64u << 20;            ///< behind that; beyond it nothing more is accepted: `no_capacity`
  std::size_t calls_waiting = 4096;
  std::uint64_t ack_every = 16;                     ///< envelopes taken in before credit is given back unasked
};

class peer_link {
public:
  /// `own` and `peer`: the incarnations that the handshake agreed on.
  peer_link(std::uint64_t own, std::uint64_t peer, link_limits limits = {}) : own_(own), peer_(peer), limits_(limits) {}

  /// Queues a message that nobody answers. too_large: a body above limits::gate_envelope_bytes_max; no_capacity: the peer does not
  /// keep up. Nothing is queued then.
  status note(std::string service, std::string body);
  /// Queues a question; the number comes back with its answer. Errors as of note().
  result<std::uint64_t> call(std::string service, std::string body, mono_time now, nanoseconds wait);
  /// Queues what answers the peer's call. One that is too large, or for which there is no room, becomes an error for the caller.
  void answer(std::uint64_t call, std::string body, const error& problem);

  struct arrival {
    enum class what : std::uint8_t { note, call, answer, nothing } is = what::nothing;
    std::uint64_t call = 0;        ///< call: to answer with; answer: what call() returned
    nanoseconds wait{};            ///< call
    std::string service, body;
    error problem{errc::ok, {}};   ///< answer
  };
  /// Takes in one envelope. protocol_violation: out of order, of another incarnation, an answer nobody asked for twice, more than the
  /// credit; the connection must be closed. A late answer, whose caller has given up, is `nothing`.
  result<arrival> receive(envelope e);

  /// Envelopes that may leave now, in order; an ack if the peer waits for credit and nothing else goes.
  std::vector<envelope> take_outgoing();
  /// Calls whose time is over; their answers will be ignored.
  std::vector<std::uint64_t> expire(mono_time now);
  std::optional<mono_time> next_expiry() const;
  /// Every call that waits; for when the connection is gone.
  std::vector<std::uint64_t> waiting_calls() const;
  std::size_t bytes_queued() const noexcept { return bytes_waiting_; }

private:
  status enqueue(envelope e, bool bounded);
  std::uint64_t tell();

  std::uint64_t own_, peer_;
  link_limits limits_;
  std::uint64_t last_sent_ = 0, last_received_ = 0, last_told_ = 0, last_call_ = 0;
  std::deque<envelope> waiting_;
  std::size_t bytes_waiting_ = 0;
  std::deque<std::pair<std::uint64_t, std::size_t>> in_flight_; ///< sequence, bytes
  std::size_t bytes_in_flight_ = 0;
  std::map<std::uint64_t, mono_time> calls_;                    ///< until when
  std::set<std::uint64_t> peer_calls_;                          ///< not answered yet
  std::size_t bytes_untold_ = 0;                                ///< taken in since credit was given back
  bool peer_waits_ = false;                                     ///< enough was taken in that the peer may be out of credit
};

} // namespace flywheel::gate
