#include "nccl/communication_thread.hpp"

#include "tests/nccl/gang_fixture.hpp"

#include <algorithm>

namespace flywheel::testing {
namespace {

TEST(communication_thread, carries_out_what_it_is_given_in_order_while_the_caller_goes_on) {
  gang_of_processes gang{2, backend::shared_memory};
  gang.run_joined([](communicator& c) {
    communication_thread thread{c};
    std::vector<float> x(100'000, 1);
    // The second sums what the first has summed.
    const auto first = thread.all_reduce(std::span{x}, reduction::sum, plenty);
    const auto second = thread.all_reduce(std::span{x}, reduction::sum, plenty);
    GANG_OK(second.wait());
    GANG_CHECK(first.is_done(), "in order");
    GANG_OK(first.wait());
    GANG_CHECK(std::all_of(x.begin(), x.end(), [](float v) { return v == 4; }), "twice two");
    GANG_CHECK(collective_handle{}.is_done() && collective_handle{}.wait(), "no collective is done");
    return std::string{};
  });
}

TEST(communication_thread, a_caller_does_not_wait_when_it_gives_and_abort_frees_who_waits) {
  gang_of_processes gang{2, backend::shared_memory};
  gang.run_joined([](communicator& c) {
    if (c.rank() == 1)
      return std::string{c.barrier(plenty) ? "the barrier has no partner" : ""};
    communication_thread thread{c};
    std::vector<float> x(10);
    const auto wrong = thread.all_gather(std::span{x}, plenty); // rank 1 calls a barrier
    const auto outcome = wrong.wait();
    GANG_CHECK(!outcome && outcome.error().code == errc::protocol_violation, "mismatch");
    const auto after = thread.reduce_scatter(std::span{x}, reduction::sum, plenty).wait();
    GANG_CHECK(!after && after.error().code == errc::protocol_violation, "still failed");
    return std::string{};
  });
}

TEST(communication_thread, what_was_given_is_carried_out_before_it_ends) {
  gang_of_processes gang{2, backend::shared_memory};
  gang.run_joined([](communicator& c) {
    std::vector<float> x(50'000, 1);
    {
      communication_thread thread{c};
      for (int i = 0; i < 5; ++i)
        (void)thread.all_reduce(std::span{x}, reduction::sum, plenty);
    }
    GANG_CHECK(x.front() == 32 && x.back() == 32, "two to the fifth");
    return std::string{};
  });
}

} // namespace
} // namespace flywheel::testing
