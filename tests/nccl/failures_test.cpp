// Ranks that die, freeze, give up, come too late or are not who they say: the others learn who it was, soon, and nothing is left.

#include "nccl/rendezvous.hpp"
#include "nccl/shared_segment.hpp"
#include "tests/nccl/gang_fixture.hpp"

#include <gmock/gmock.h>

#include <cstring>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>

namespace flywheel::testing {
namespace {

using ::testing::HasSubstr;

mono_time now() { return system_clock().mono(); }

struct progress {
  std::array<std::atomic<int>, 4> rounds{};
  std::atomic<std::int64_t> struck_at_ns{0};
};

/// Waits, as the outside world, until something became true; false after a minute.
bool eventually(const std::function<bool()>& is_true) {
  const auto give_up = now() + 60s;
  while (!is_true()) {
    if (now() >= give_up)
      return false;
    ::poll(nullptr, 0, 1);
  }
  return true;
}

class failures : public ::testing::TestWithParam<backend> {};

/// Reduces until something fails; returns the error's text, or what is wrong with it.
std::string reduce_until_failure(communicator& c, shared_value<progress>& seen, nanoseconds timeout, failure_kind kind, int culprit,
                                 nanoseconds within) {
  std::vector<float> x(c.rank() >= 0 ? 1'000'000 : 0, 1.0F);
  while (true) {
    const auto outcome = c.all_reduce(std::span{x}, reduction::max, timeout);
    if (outcome) {
      ++seen->rounds[static_cast<std::size_t>(c.rank())];
      continue;
    }
    const auto late = now().ns - seen->struck_at_ns.load();
    const auto text = outcome.error().to_string();
    GANG_CHECK(c.failure().has_value(), text);
    GANG_CHECK(c.failure()->kind == kind, text);
    GANG_CHECK(culprit < 0 || c.failure()->rank == culprit, text);
    GANG_CHECK(outcome.error().code == code_of(kind), text);
    GANG_CHECK(text.find("rank " + std::to_string(culprit)) != std::string::npos && text.find("all_reduce") != std::string::npos, text);
    GANG_CHECK(seen->struck_at_ns.load() != 0 && late < within.count(), std::to_string(late / 1'000'000) + " ms: " + text);
    const auto again = c.barrier(plenty);
    GANG_CHECK(!again && again.error().code == code_of(kind), "later calls fail at once, alike");
    return {};
  }
}

TEST_P(failures, a_killed_rank_is_named_by_all_survivors_within_a_second) {
  shared_value<progress> seen;
  gang_of_processes gang{3, GetParam()};
  for (int r = 0; r < 3; ++r)
    gang.start(r, [&](int rank) {
      return gang.joined(rank, [&](communicator& c) { return reduce_until_failure(c, seen, plenty, failure_kind::peer_lost, 1, 1s); });
    });
  ASSERT_TRUE(eventually([&] { return seen->rounds[1] > 3; }));
  seen->struck_at_ns = now().ns;
  ::kill(gang.pid_of(1), SIGKILL);
  EXPECT_EQ(gang.wait(1), "killed");
  EXPECT_EQ(gang.wait(0), "");
  EXPECT_EQ(gang.wait(2), "");
}

TEST_P(failures, a_killed_rank_0_is_noticed_too) {
  shared_value<progress> seen;
  gang_of_processes gang{3, GetParam()};
  for (int r = 0; r < 3; ++r)
    gang.start(r, [&](int rank) {
      return gang.joined(rank, [&](communicator& c) { return reduce_until_failure(c, seen, plenty, failure_kind::peer_lost, 0, 1s); });
    });
  ASSERT_TRUE(eventually([&] { return seen->rounds[0] > 3; }));
  seen->struck_at_ns = now().ns;
  ::kill(gang.pid_of(0), SIGKILL);
  EXPECT_EQ(gang.wait(1), "");
  EXPECT_EQ(gang.wait(2), "");
}

TEST_P(failures, a_frozen_rank_ends_in_the_deadlines_error) {
  shared_value<progress> seen;
  gang_of_processes gang{3, GetParam()};
  for (int r = 0; r < 3; ++r)
    gang.start(r, [&](int rank) {
      return gang.joined(rank, [&](communicator& c) { return reduce_until_failure(c, seen, 1s, failure_kind::timed_out, 2, 4s); });
    });
  ASSERT_TRUE(eventually([&] { return seen->rounds[2] > 3; }));
  seen->struck_at_ns = now().ns;
  ::kill(gang.pid_of(2), SIGSTOP);
  EXPECT_EQ(gang.wait(0), "");
  EXPECT_EQ(gang.wait(1), "");
  EXPECT_GE(now().ns - seen->struck_at_ns, 1'000'000'000) << "not before the deadline";
}

TEST_P(failures, an_abort_from_another_thread_ends_a_waiting_collective_on_all_ranks) {
  shared_value<progress> seen;
  gang_of_processes gang{2, GetParam()};
  gang.run_joined([&](communicator& c) {
    GANG_OK(c.barrier(plenty));
    if (c.rank() == 0) { // never calls the collective that rank 1 waits in
      GANG_CHECK(eventually([&] { return seen->rounds[1] == 1; }), "rank 1 aborted");
      const auto outcome = c.barrier(plenty);
      GANG_CHECK(!outcome && outcome.error().code == errc::cancelled, outcome ? "no error" : outcome.error().to_string());
      GANG_CHECK(c.failure()->kind == failure_kind::aborted && c.failure()->rank == 1, "aborted by rank 1");
      return std::string{};
    }
    std::thread other{[&] {
      ::poll(nullptr, 0, 50); // most likely the main thread waits by now; if not, it is refused at once
      seen->struck_at_ns = now().ns;
      c.abort("the operator said so");
      ++seen->rounds[1];
    }};
    std::vector<float> x(100'000);
    const auto outcome = c.all_reduce(std::span{x}, reduction::sum, plenty);
    const auto late = now().ns - seen->struck_at_ns.load();
    other.join();
    GANG_CHECK(!outcome && outcome.error().code == errc::cancelled, outcome ? "no error" : outcome.error().to_string());
    GANG_CHECK(late < 1'000'000'000, std::to_string(late));
    GANG_CHECK(outcome.error().what.find("the operator said so") != std::string::npos, outcome.error().to_string());
    return std::string{};
  });
}

TEST_P(failures, a_rank_that_left_is_not_waited_for) {
  gang_of_processes gang{2, GetParam()};
  gang.run([&](int rank) {
    const auto start = now();
    const auto wrong = gang.joined(rank, [&](communicator& c) {
      if (c.rank() == 1)
        return std::string{};
      const auto outcome = c.barrier(plenty);
      GANG_CHECK(!outcome && outcome.error().code == errc::worker_lost, outcome ? "no error" : outcome.error().to_string());
      return std::string{};
    });
    GANG_CHECK(wrong.empty(), wrong);
    if (rank == 1) // the process lives on, only its communicator is gone
      (void)eventually([&] { return now() - start > 300ms; });
    return std::string{};
  });
}

TEST_P(failures, a_missing_rank_is_named_when_the_gang_meets) {
  gang_of_processes gang{3, GetParam()};
  for (int r : {0, 2})
    gang.start(r, [&](int rank) {
      const auto c = join_gang(gang.record(rank), 500ms);
      GANG_CHECK(!c, "without rank 1");
      GANG_CHECK(c.error().code == errc::timed_out || c.error().code == errc::worker_lost, c.error().to_string());
      if (rank == 0 || gang.record(0).use == backend::gloo)
        GANG_CHECK(c.error().what.find("rank 1 did not come") != std::string::npos, c.error().to_string());
      return std::string{};
    });
  EXPECT_EQ(gang.wait(0), "");
  EXPECT_EQ(gang.wait(2), "");
}

TEST_P(failures, survivors_form_the_next_generation_and_the_older_one_cannot_come_back) {
  shared_value<progress> seen;
  gang_of_processes gang{2, GetParam()};
  gang.run([&](int rank) {
    auto record = gang.record(rank);
    record.generation = 7;
    {
      auto first = join_gang(record, plenty);
      GANG_CHECK(first, first ? "" : first.error().to_string());
      (void)(*first)->barrier(plenty).ok(); // the other may have aborted already
      (*first)->abort("next generation");
    }
    record.generation = 8;
    auto next = join_gang(record, plenty);
    GANG_CHECK(next, next ? "" : next.error().to_string());
    std::vector<float> x(1000, 1);
    GANG_OK((*next)->all_reduce(std::span{x}, reduction::sum, plenty));
    GANG_CHECK(x[999] == 2, "the next generation works");
    record.generation = 7;
    const auto late = join_gang(record, plenty);
    GANG_CHECK(!late && late.error().code == errc::stale_epoch, late ? "it joined" : late.error().to_string());
    return std::string{};
  });
}

INSTANTIATE_TEST_SUITE_P(gangs, failures, ::testing::Values(backend::shared_memory, backend::gloo),
                         [](const auto& p) { return std::string{name_of_param(p.param)}; });

TEST(shared_memory_gang, leaves_nothing_behind_even_when_all_ranks_are_killed) {
  const auto names = [](const std::filesystem::path& folder) {
    std::vector<std::string> found;
    for (const auto& e : std::filesystem::directory_iterator(folder))
      if (e.path().filename().string().find("flywheel") != std::string::npos || e.path().extension() == ".sock")
        found.push_back(e.path().filename().string());
    return found;
  };
  shared_value<progress> seen;
  gang_of_processes gang{2, backend::shared_memory};
  for (int r : {0, 1})
    gang.start(r, [&](int rank) {
      return gang.joined(rank, [&](communicator& c) { return reduce_until_failure(c, seen, plenty, failure_kind::peer_lost, 1 - rank, plenty); });
    });
  ASSERT_TRUE(eventually([&] { return seen->rounds[0] > 0 && seen->rounds[1] > 0; }));
  ::kill(gang.pid_of(0), SIGKILL);
  ::kill(gang.pid_of(1), SIGKILL);
  gang.wait(0);
  gang.wait(1);
  EXPECT_THAT(names("/dev/shm"), ::testing::IsEmpty());
  EXPECT_THAT(names(gang.folder()), ::testing::IsEmpty()) << "the socket";
}

/// A false rank 0: accepts one rank and answers what the test says.
class false_host {
public:
  explicit false_host(const gang_record& record) : listener_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    const auto path = record.folder + "/" + segment_socket_name(record);
    std::copy(path.begin(), path.end(), a.sun_path);
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&a), sizeof(a)), 0);
    EXPECT_EQ(::listen(listener_.get(), 1), 0);
  }
  void answer(const void* bytes, std::size_t n, int fd) const {
    const descriptor guest{::accept(listener_.get(), nullptr, nullptr)};
    segment_hello hello;
    (void)!::recv(guest.get(), &hello, sizeof(hello), 0);
    iovec part{const_cast<void*>(bytes), n};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr m{};
    m.msg_iov = &part;
    m.msg_iovlen = 1;
    if (fd >= 0) {
      m.msg_control = control.data();
      m.msg_controllen = control.size();
      cmsghdr* c = CMSG_FIRSTHDR(&m);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    }
    (void)!::sendmsg(guest.get(), &m, MSG_NOSIGNAL);
  }

private:
  descriptor listener_;
};

TEST(shared_memory_gang, malformed_and_foreign_segments_are_refused_before_they_are_mapped) {
  const auto file_with = [](const segment_header& h, std::uint64_t bytes, int seals) {
    descriptor f{::memfd_create("flywheel-test", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    (void)!::pwrite(f.get(), &h, std::min<std::size_t>(sizeof(h), bytes), 0);
    (void)!::ftruncate(f.get(), static_cast<off_t>(bytes));
    ::fcntl(f.get(), F_ADD_SEALS, seals);
    return f;
  };
  static constexpr int sealed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  segment_answer yes;
  yes.accepted = 1;
  const auto refusal = [&](const std::function<void(const false_host&, const gang_record&)>& act) {
    gang_of_processes gang{2, backend::shared_memory, 3, 1 << 20};
    const auto record = gang.record(1);
    const false_host host{record};
    std::thread answering{[&] { act(host, record); }};
    const auto c = join_gang(record, 5s);
    answering.join();
    EXPECT_FALSE(c);
    return c ? "" : c.error().to_string();
  };
  const auto with_header = [&](const std::function<void(segment_header&)>& change, std::int64_t size_change = 0,
                               int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) {
    return refusal([&](const false_host& host, const gang_record& record) {
      auto h = make_header(record);
      const auto bytes = static_cast<std::uint64_t>(static_cast<std::int64_t>(h.total_bytes) + size_change);
      change(h);
      host.answer(&yes, sizeof(yes), file_with(h, bytes, seals).get());
    });
  };
  EXPECT_THAT(with_header([](segment_header& h) { h.magic[0] = 'X'; }), HasSubstr("not made by this version"));
  EXPECT_THAT(with_header([](segment_header& h) { h.header_bytes += 8; }), HasSubstr("not made by this version"));
  EXPECT_THAT(with_header([](segment_header& h) { h.gang ^= 1; }), HasSubstr("another gang"));
  EXPECT_THAT(with_header([](segment_header& h) { h.generation = 2; }), HasSubstr("generation 2"));
  EXPECT_THAT(with_header([](segment_header& h) { h.generation = 4; }), HasSubstr("[stale_epoch]"));
  EXPECT_THAT(with_header([](segment_header& h) { h.ranks = 200; }), HasSubstr("200 ranks"));
  EXPECT_THAT(with_header([](segment_header& h) { h.total_bytes = ~std::uint64_t{0}; }), HasSubstr("[protocol_violation]"));
  EXPECT_THAT(with_header([](segment_header&) {}, -4096), HasSubstr("were announced"));
  EXPECT_THAT(with_header([](segment_header&) {}, 0, 0), HasSubstr("not sealed"));
  EXPECT_THAT(refusal([&](const false_host& host, const gang_record&) { host.answer(&yes, sizeof(yes), file_with({}, 10, sealed).get()); }),
              HasSubstr("10 bytes"));
  EXPECT_THAT(refusal([&](const false_host& host, const gang_record&) { host.answer(&yes, sizeof(yes), -1); }), HasSubstr("no shared memory"));
  EXPECT_THAT(refusal([&](const false_host& host, const gang_record&) { host.answer("hi", 2, -1); }), HasSubstr("does not speak"));
  EXPECT_THAT(refusal([&](const false_host& host, const gang_record&) {
                std::array<int, 2> ends{};
                (void)!::pipe(ends.data());
                host.answer(&yes, sizeof(yes), ends[0]);
                ::close(ends[0]);
                ::close(ends[1]);
              }),
              HasSubstr("no file"));
  segment_answer no;
  no.generation = 9;
  EXPECT_THAT(refusal([&](const false_host& host, const gang_record&) { host.answer(&no, sizeof(no), -1); }), HasSubstr("[stale_epoch]"));
}

TEST(shared_memory_gang, strangers_at_the_door_do_not_hold_up_the_gang) {
  gang_of_processes gang{2, backend::shared_memory};
  std::vector<descriptor> strangers;
  gang.start(0, [&](int rank) { return gang.joined(rank, [](communicator& c) { GANG_OK(c.barrier(plenty)); return std::string{}; }); });
  const auto path = gang.folder() / segment_socket_name(gang.record(0));
  ASSERT_TRUE(eventually([&] { return std::filesystem::exists(path); }));
  const auto knock = [&](const std::string& words) {
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    const auto name = path.string();
    std::copy(name.begin(), name.end(), a.sun_path);
    descriptor s{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
    EXPECT_EQ(::connect(s.get(), reinterpret_cast<const sockaddr*>(&a), sizeof(a)), 0);
    if (!words.empty()) {
      EXPECT_GT(::send(s.get(), words.data(), words.size(), MSG_NOSIGNAL), 0);
    }
    strangers.push_back(std::move(s));
  };
  knock("");                     // says nothing, stays
  knock("GET / HTTP/1.1\r\n");   // speaks something else
  segment_hello older;
  older.rank = 1;
  older.size = 2;
  older.generation = 0;
  knock({reinterpret_cast<const char*>(&older), sizeof(older)});
  gang.start(1, [&](int rank) { return gang.joined(rank, [](communicator& c) { GANG_OK(c.barrier(plenty)); return std::string{}; }); });
  EXPECT_EQ(gang.wait(0), "");
  EXPECT_EQ(gang.wait(1), "");
}

} // namespace
} // namespace flywheel::testing
