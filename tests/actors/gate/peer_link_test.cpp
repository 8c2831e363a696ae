#include "actors/gate/peer_link.hpp"

#include "cluster/base/limits.hpp"
#include "cluster/base/random.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

using namespace flywheel;
using namespace flywheel::gate;
using testing::ElementsAre;
using testing::HasSubstr;
using std::chrono::seconds;
using what = peer_link::arrival::what;

namespace {
mono_time at(int s) { return mono_time{} + seconds{s}; }

/// Everything `from` may send now goes to `to`; what arrives, without acks.
std::vector<peer_link::arrival> carry(peer_link& from, peer_link& to) {
  std::vector<peer_link::arrival> all;
  for (auto& e : from.take_outgoing()) {
    auto bytes = decode(encode(e)); // as on the wire
    EXPECT_TRUE(bytes) << bytes.error().to_string();
    auto a = to.receive(std::move(*bytes));
    EXPECT_TRUE(a) << a.error().to_string();
    if (a && a->is != what::nothing)
      all.push_back(std::move(*a));
  }
  return all;
}
} // namespace

TEST(peer_link, a_call_and_its_answer) {
  peer_link a{1, 2}, b{2, 1};
  const auto call = a.call("workers", "add 2 and 2", at(0), seconds{5});
  ASSERT_TRUE(call);
  auto arrived = carry(a, b);
  ASSERT_EQ(arrived.size(), 1U);
  EXPECT_EQ(arrived[0].is, what::call);
  EXPECT_EQ(arrived[0].service, "workers");
  EXPECT_EQ(arrived[0].body, "add 2 and 2");
  EXPECT_EQ(arrived[0].wait, seconds{5});
  b.answer(arrived[0].call, "4", {errc::ok, {}});
  arrived = carry(b, a);
  ASSERT_EQ(arrived.size(), 1U);
  EXPECT_EQ(arrived[0].is, what::answer);
  EXPECT_EQ(arrived[0].call, *call);
  EXPECT_EQ(arrived[0].body, "4");
  EXPECT_TRUE(a.waiting_calls().empty());
}

TEST(peer_link, a_call_that_takes_too_long_is_given_up_once_and_its_late_answer_ignored) {
  peer_link a{1, 2}, b{2, 1};
  const auto first = *a.call("s", "", at(0), seconds{5});
  const auto second = *a.call("s", "", at(0), seconds{9});
  carry(a, b);
  EXPECT_EQ(a.next_expiry(), at(5));
  EXPECT_TRUE(a.expire(at(4)).empty());
  EXPECT_THAT(a.expire(at(5)), ElementsAre(first));
  EXPECT_TRUE(a.expire(at(5)).empty());
  EXPECT_THAT(a.waiting_calls(), ElementsAre(second));
  b.answer(first, "late", {errc::ok, {}});
  EXPECT_TRUE(carry(b, a).empty());
}

TEST(peer_link, an_error_is_an_answer_and_so_is_one_that_is_too_large) {
  peer_link a{1, 2}, b{2, 1};
  (void)*a.call("s", "", at(0), seconds{5});
  (void)*a.call("s", "", at(0), seconds{5});
  const auto calls = carry(a, b);
  b.answer(calls[0].call, "half a result", error{errc::disk_full, "no room", "node b", "make some"});
  b.answer(calls[1].call, std::string(limits::gate_envelope_bytes_max + 1, 'x'), {errc::ok, {}});
  const auto answers = carry(b, a);
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_EQ(answers[0].problem.code, errc::disk_full);
  EXPECT_EQ(answers[0].problem.where, "node b");
  EXPECT_EQ(answers[0].body, "");
  EXPECT_EQ(answers[1].problem.code, errc::too_large);
}

TEST(peer_link, a_peer_that_does_not_keep_up_gets_no_more_than_its_credit) {
  link_limits limits;
  limits.frames_in_flight = 4;
  limits.bytes_waiting = 1000;
  limits.ack_every = 2;
  peer_link a{1, 2, limits}, b{2, 1, limits};
  int queued = 0;
  status last = success();
  while ((last = a.note("s", std::string(35, 'x')))) // 35 + 1 + 64 bytes each
    ++queued;
  EXPECT_EQ(queued, 10);
  EXPECT_EQ(last.error().code, errc::no_capacity);
  auto frames = a.take_outgoing();
  EXPECT_EQ(frames.size(), 4U);
  EXPECT_TRUE(a.take_outgoing().empty()) << "not before the peer has taken some in";
  for (int i = 0; i < 2; ++i)
    ASSERT_TRUE(b.receive(frames[static_cast<std::size_t>(i)]));
  const auto credit = b.take_outgoing();
  ASSERT_EQ(credit.size(), 1U);
  EXPECT_EQ(credit[0].kind, envelope_kind::ack);
  ASSERT_TRUE(a.receive(credit[0]));
  EXPECT_EQ(a.take_outgoing().size(), 2U);
}

TEST(peer_link, one_large_envelope_may_always_go_and_is_acknowledged) {
  link_limits limits;
  limits.bytes_in_flight = 100;
  limits.bytes_waiting = 10'000;
  peer_link a{1, 2, limits};
  ASSERT_TRUE(a.note("s", std::string(5000, 'x')));
  ASSERT_TRUE(a.note("s", "y"));
  auto large = a.take_outgoing();
  ASSERT_EQ(large.size(), 1U);
  peer_link b{2, 1, limits};
  ASSERT_TRUE(b.receive(std::move(large[0])));
  const auto ack = b.take_outgoing();
  ASSERT_EQ(ack.size(), 1U);
  ASSERT_TRUE(a.receive(ack[0]));
  EXPECT_EQ(a.take_outgoing().size(), 1U);
}

TEST(peer_link, a_peer_that_breaks_the_rules_is_found_out) {
  const auto note = [](std::uint64_t sequence, std::uint64_t incarnation = 2, std::uint64_t received = 0) {
    envelope e;
    e.kind = envelope_kind::note;
    e.service = "s";
    e.sequence = sequence;
    e.incarnation = incarnation;
    e.received = received;
    return e;
  };
  envelope answer = note(1);
  answer.kind = envelope_kind::answer;
  answer.call = 5;
  envelope call = note(1);
  call.kind = envelope_kind::call;
  call.call = 1;
  envelope again = call;
  again.sequence = 2;
  envelope hello = note(0);
  hello.kind = envelope_kind::hello;
  std::vector<envelope> flood;
  for (std::uint64_t i = 1; i <= 65; ++i)
    flood.push_back(note(i));
  struct line {
    const char* situation;
    std::vector<envelope> envelopes; ///< all but the last are fine
    const char* reason;
  };
  for (const line& l : std::initializer_list<line>{
           {"one is missing", {note(1), note(3)}, "envelope 3 came where 2 was due"},
           {"one comes twice", {note(1), note(1)}, "envelope 1 came where 2 was due"},
           {"from its predecessor", {note(1, 1)}, "incarnation 1 on the connection of 2"},
           {"took in what was never sent", {note(1, 2, 9)}, "9 envelopes where 0 were sent"},
           {"an answer to nothing", {answer}, "call 5, which nobody made"},
           {"a call twice", {call, again}, "call 1 was made twice"},
           {"another hello", {hello}, "a hello after the handshake"},
           {"more than its credit", flood, "more than the 64"},
       }) {
    peer_link a{1, 2};
    for (std::size_t i = 0; i < l.envelopes.size(); ++i) {
      const auto r = a.receive(l.envelopes[i]);
      if (i + 1 < l.envelopes.size()) {
        ASSERT_TRUE(r) << l.situation << ": " << r.error().to_string();
        continue;
      }
      ASSERT_FALSE(r) << l.situation;
      EXPECT_EQ(r.error().code, errc::protocol_violation);
      EXPECT_THAT(r.error().what, HasSubstr(l.reason)) << l.situation;
    }
  }
}

// Both sides talk at random; the wire delays but keeps the order. All arrives, once, in order, within the bounds.
TEST(peer_link, everything_arrives_once_and_in_order_however_slow_the_wire) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    random_source random{seed};
    link_limits limits;
    limits.frames_in_flight = 1 + random.below(8);
    limits.bytes_in_flight = 64 + random.below(2000);
    limits.ack_every = 1 + random.below(limits.frames_in_flight);
    peer_link link[2] = {{1, 2, limits}, {2, 1, limits}};
    std::deque<envelope> wire[2];
    std::uint64_t said[2] = {0, 0}, heard[2] = {0, 0};
    std::set<std::uint64_t> open[2];
    std::vector<std::uint64_t> owed[2];
    bool talking = true;
    for (int step = 0; step < 16'000; ++step) {
      talking = step < 1000;
      const auto me = random.below(2);
      switch (random.below(talking ? 5 : 4)) {
      case 4:
        if (random.below(3) == 0)
          open[me].insert(*link[me].call("s", std::string(random.below(300), 'c'), mono_time{}, seconds{100}));
        else
          ASSERT_TRUE(link[me].note("s", std::to_string(++said[me])));
        break;
      case 0:
        for (auto& e : link[me].take_outgoing())
          wire[me].push_back(std::move(e));
        break;
      case 1:
        if (!owed[me].empty()) {
          link[me].answer(owed[me].back(), "done", {errc::ok, {}});
          owed[me].pop_back();
        }
        break;
      default:
        if (!wire[1 - me].empty()) {
          auto a = link[me].receive(std::move(wire[1 - me].front()));
          wire[1 - me].pop_front();
          ASSERT_TRUE(a) << a.error().to_string() << " seed " << seed;
          if (a->is == what::note) {
            ASSERT_EQ(a->body, std::to_string(++heard[me])) << seed;
          }
          if (a->is == what::call)
            owed[me].push_back(a->call);
          if (a->is == what::answer) {
            ASSERT_EQ(open[me].erase(a->call), 1U) << seed;
          }
        }
      }
      for (const auto& w : wire) {
        ASSERT_LE(std::count_if(w.begin(), w.end(), [](const auto& e) { return e.sequence != 0; }), static_cast<std::ptrdiff_t>(limits.frames_in_flight)) << seed;
      }
    }
    EXPECT_EQ(heard[0], said[1]) << seed;
    EXPECT_EQ(heard[1], said[0]) << seed;
    EXPECT_TRUE(open[0].empty() && open[1].empty()) << seed;
  }
}
