#include "nccl/rendezvous.hpp"

#include "tests/nccl/gang_fixture.hpp"

#include <gmock/gmock.h>

#include <fstream>
#include <sys/stat.h>
#include <thread>

namespace flywheel::testing {
namespace {

mono_time in(nanoseconds d) { return system_clock().mono() + d; }

TEST(rendezvous, the_fence_only_rises) {
  gang_of_processes gang{1, backend::shared_memory};
  auto r = gang.record(0);
  const auto enter = [&](std::uint64_t generation) {
    r.generation = generation;
    return enter_generation(r);
  };
  EXPECT_TRUE(enter(9));
  EXPECT_TRUE(enter(9));
  EXPECT_TRUE(enter(10));
  EXPECT_EQ(enter(9).error().code, errc::stale_epoch);
  EXPECT_TRUE(enter(10));
  r.gang = "g-other"; // another gang in the same folder has its own fence
  EXPECT_TRUE(enter(1));
}

TEST(rendezvous, a_damaged_fence_and_an_open_folder_are_refused) {
  gang_of_processes gang{1, backend::shared_memory};
  const auto r = gang.record(0);
  std::ofstream(gang.folder() / "g-test.generation") << "12x";
  EXPECT_EQ(enter_generation(r).error().code, errc::invalid_format);
  std::filesystem::remove(gang.folder() / "g-test.generation");
  ASSERT_EQ(::chmod(gang.folder().c_str(), 0755), 0);
  EXPECT_EQ(enter_generation(r).error().code, errc::permission_denied);
  ASSERT_EQ(::chmod(gang.folder().c_str(), 0700), 0);
  auto nowhere = r;
  nowhere.folder += "/missing";
  EXPECT_EQ(enter_generation(nowhere).error().code, errc::not_found);
}

TEST(rendezvous, the_first_value_wins_and_is_never_seen_half) {
  gang_of_processes gang{4, backend::shared_memory};
  gang.run([&](int rank) {
    const std::string mine(30'000, static_cast<char>('a' + rank));
    const auto found = put_first(gang.folder(), "value", mine);
    GANG_CHECK(found, found ? "" : found.error().to_string());
    GANG_CHECK(found->size() == mine.size() && found->find_first_not_of(found->front()) == std::string::npos, "whole and of one writer");
    const auto again = look_up(gang.folder(), "value");
    GANG_CHECK(again && *again && **again == *found, "the same for ever");
    return std::string{};
  });
  EXPECT_FALSE(put_first(gang.folder(), "../value", ""));
  EXPECT_FALSE(put_first(gang.folder(), "large", std::string(70'000, 'x')));
  int files = 0;
  for ([[maybe_unused]] const auto& f : std::filesystem::directory_iterator(gang.folder()))
    ++files;
  EXPECT_EQ(files, 1) << "no temporary file is left";
}

TEST(rendezvous, waiting_ends_with_the_value_or_the_deadline) {
  gang_of_processes gang{1, backend::shared_memory};
  const auto start = system_clock().mono();
  EXPECT_EQ(await_value(gang.folder(), "late", in(100ms)).error().code, errc::timed_out);
  EXPECT_GE((system_clock().mono() - start).count(), 100'000'000);
  std::thread other{[&] { EXPECT_TRUE(put_first(gang.folder(), "late", "here")); }};
  EXPECT_EQ(await_value(gang.folder(), "late", in(plenty)).value_or("nothing"), "here");
  other.join();
}

} // namespace
} // namespace flywheel::testing
