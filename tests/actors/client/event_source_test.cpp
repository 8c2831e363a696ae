#include "actors/client/event_source.hpp"

#include "cluster/journal/journal.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

using namespace flywheel;

// The head's journal from elsewhere: tests/process/watching_test.cpp.
TEST(event_source, of_a_state_folder_reads_its_journal_whether_or_not_somebody_runs_it) {
  char name[] = "/tmp/fw-source-XXXXXX";
  const std::filesystem::path folder = ::mkdtemp(name);
  const auto source = local_events(folder);
  EXPECT_FALSE(source->is_remote());
  EXPECT_EQ(source->read({}, [](const event&) { return true; }).error().code, errc::not_found);
  {
    auto log = journal::open(folder, system_clock());
    ASSERT_TRUE(log);
    for (const char* goal : {"a", "b", "a", "a"}) {
      event_draft d;
      d.goal = goal;
      ASSERT_TRUE((*log)->append(std::move(d)));
    }
  }
  journal_filter f;
  f.goal = "a";
  std::vector<std::uint64_t> seen;
  const auto last = source->read(f, [&](const event& e) {
    seen.push_back(e.seq);
    return seen.size() < 2;
  });
  ASSERT_TRUE(last);
  EXPECT_EQ(*last, 4U) << "of the journal, not of what was read";
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{1, 3}));
  f.after_seq = 3;
  ASSERT_TRUE(source->read(f, [&](const event& e) {
    seen.push_back(e.seq);
    return true;
  }));
  EXPECT_EQ(seen.back(), 4U) << "where it was left";
  EXPECT_EQ(source->wait(4, std::chrono::seconds{1}).error().code, errc::unreachable) << "nobody runs it";
  std::filesystem::remove_all(folder);
}
