#include "cluster/base/limits.hpp"
#include "cluster/journal/chain_format.hpp"
#include "tests/cluster/journal/journal_fixture.hpp"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <numeric>
#include <set>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>

using namespace flywheel;
using namespace flywheel::testing;
namespace fs = std::filesystem;

TEST(event_kind, every_kind_has_a_name_that_leads_back_to_it) {
  std::set<std::string_view> seen;
  for (int i = 0; i <= static_cast<int>(event_kind::note); ++i) {
    const auto kind = static_cast<event_kind>(i);
    EXPECT_EQ(event_kind_from_name(name_of(kind)), kind);
    EXPECT_TRUE(seen.insert(name_of(kind)).second);
  }
  EXPECT_FALSE(event_kind_from_name("no_such_kind"));
  EXPECT_FALSE(event_kind_from_name(""));
}

// The hashes of three events, computed from docs/journal.md by tests/cluster/journal/golden_chain.py. If this test
// fails, journals written before the change no longer verify.
TEST(chain_format, golden_hashes_of_three_events) {
  event a;
  a.seq = 1;
  a.time = {1'700'000'000'123'456'789};
  a.kind = event_kind::goal_submitted;
  a.goal = a.subject = "g-01";
  a.actor = "cli:alice";
  a.text = "submit churn";
  a.body = "{\"digest\":\"ab\"}";
  a.epoch = 1;
  event b;
  b.seq = 2;
  b.time = {1'700'000'001'000'000'000};
  b.kind = event_kind::decision;
  b.goal = "g-01";
  b.step = "search";
  b.key = "k\xc3\xa4y";
  b.body = "{}";
  b.epoch = 0xffff'ffff'ffff'ffff;
  event c;
  c.seq = 3;
  c.time = {-1};
  c.body = std::string("a\0b", 3);
  const auto first = rehash({}, a);
  const auto second = rehash(first, b);
  const auto third = rehash(second, c);
  EXPECT_EQ(first.hex(), "ba20fdc906119e1f31656bfb600f37bdce32b9f1a5ff11743b8ee24efd3963a6");
  EXPECT_EQ(second.hex(), "6f94223637b468860ef2d81469df73ab2f4175554292db3076cb9bf93ae4b24c");
  EXPECT_EQ(third.hex(), "be804f18f800f040ea47f70086ee5b2e6d8d470f4274c5ad24347b3dd525eab3");
}

TEST(chain_format, every_field_is_covered) {
  event e;
  static_cast<event_draft&>(e) = draft(5);
  e.seq = 9;
  e.time = {123};
  const auto h = rehash({}, e);
  const auto differs = [&](const std::function<void(event&)>& change) {
    event other = e;
    change(other);
    return rehash({}, other) != h;
  };
  EXPECT_TRUE(differs([](event& x) { x.seq++; }));
  EXPECT_TRUE(differs([](event& x) { x.time.ns++; }));
  EXPECT_TRUE(differs([](event& x) { x.epoch++; }));
  EXPECT_TRUE(differs([](event& x) { x.kind = event_kind::incident; }));
  for (const auto member : {&event::goal, &event::step, &event::subject, &event::key, &event::actor, &event::text,
                            &event::body})
    EXPECT_TRUE(differs([&](event& x) { x.*member += "x"; }));
  EXPECT_TRUE(differs([](event& x) { std::swap(x.goal, x.step); }));
  EXPECT_TRUE(differs([](event& x) { x.goal += x.step[0]; x.step.erase(0, 1); })); // texts do not run together
  EXPECT_NE(rehash(h, e), h);
}

TEST(journal, what_is_appended_is_read_back_in_order) {
  const scratch dir;
  manual_clock clock;
  std::vector<event> before;
  {
    auto j = journal::open(dir.path(), clock);
    ASSERT_TRUE(j) << j.error().to_string();
    EXPECT_EQ((*j)->last_seq(), 0u);
    EXPECT_EQ((*j)->head(), digest{});
    EXPECT_EQ(*(*j)->append(draft(0)), 1u);
    clock.advance(nanoseconds{5});
    EXPECT_EQ(*(*j)->append({draft(1), draft(2)}), 3u);
    EXPECT_EQ(*(*j)->append(std::vector<event_draft>{}), 3u);
    before = all_events(dir.path()); // beside the writer
    ASSERT_EQ(before.size(), 3u);
    EXPECT_EQ((*j)->head(), before.back().hash);
  }
  digest previous;
  for (std::size_t i = 0; i < before.size(); ++i) {
    event expected;
    static_cast<event_draft&>(expected) = draft(static_cast<int>(i));
    expected.seq = i + 1;
    expected.time = {1'700'000'000'000'000'000 + (i > 0 ? 5 : 0)};
    expected.hash = rehash(previous, expected);
    EXPECT_TRUE(same(before[i], expected)) << i;
    previous = expected.hash;
  }
  EXPECT_TRUE(same(all_events(dir.path()), before));
  auto again = journal::open(dir.path(), clock);
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->last_seq(), 3u);
  EXPECT_EQ((*again)->head(), previous);
  EXPECT_EQ(*(*again)->append(draft(3)), 4u);
  const auto verdict = verify_journal(dir.path());
  ASSERT_TRUE(verdict);
  EXPECT_TRUE(verdict->intact) << verdict->reason;
  EXPECT_EQ(verdict->events, 4u);
  EXPECT_EQ(verdict->head, (*again)->head());
}

TEST(journal, any_bytes_survive_and_an_empty_body_becomes_an_empty_object) {
  const scratch dir;
  manual_clock clock;
  event_draft d;
  d.text = std::string("nul \0 and \xff\xfe bytes", 17);
  d.goal = "quote ' \" ; DROP TABLE event; --";
  d.body = "";
  d.epoch = 0xffff'ffff'ffff'ffff;
  clock.set_wall({-5});
  ASSERT_TRUE((*journal::open(dir.path(), clock))->append(d));
  const auto events = all_events(dir.path());
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].text, d.text);
  EXPECT_EQ(events[0].goal, d.goal);
  EXPECT_EQ(events[0].body, "{}");
  EXPECT_EQ(events[0].epoch, d.epoch);
  EXPECT_EQ(events[0].time.ns, -5);
}

TEST(journal, an_entry_has_a_largest_size_and_a_call_is_all_or_nothing) {
  const scratch dir;
  manual_clock clock;
  const auto j = journal::open(dir.path(), clock);
  ASSERT_TRUE(j);
  event_draft big;
  big.body = std::string(limits::journal_event_bytes_max, 'x');
  EXPECT_EQ(*(*j)->append(big), 1u);
  big.text = "y";
  EXPECT_EQ((*j)->append({draft(0), big}).error().code, errc::too_large);
  EXPECT_EQ((*j)->last_seq(), 1u);
  EXPECT_EQ(all_events(dir.path()).size(), 1u);
}

TEST(journal, one_writer_at_a_time_and_the_second_is_told_who) {
  const scratch dir;
  manual_clock clock;
  {
    const auto j = journal::open(dir.path(), clock);
    ASSERT_TRUE(j);
    const auto second = journal::open(dir.path(), clock);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, errc::state_locked);
    EXPECT_NE(second.error().what.find(std::to_string(::getpid())), std::string::npos);
    EXPECT_FALSE(second.error().hint.empty());
    EXPECT_EQ(repair_journal(dir.path(), 0).error().code, errc::state_locked);
  }
  EXPECT_TRUE(journal::open(dir.path(), clock));
}

TEST(journal, a_folder_without_a_journal_is_not_found_by_readers) {
  const scratch dir;
  EXPECT_EQ(journal_reader::open(dir.path()).error().code, errc::not_found);
  EXPECT_EQ(verify_journal(dir.path()).error().code, errc::not_found);
  EXPECT_EQ(repair_journal(dir.path(), 1).error().code, errc::not_found);
  EXPECT_EQ(journal::open(dir / "none", manual_clock{}).error().code, errc::not_found);
}

TEST(journal, callers_share_commits_and_each_learns_its_own_seq) {
  const scratch dir;
  manual_clock clock;
  auto j = journal::open(dir.path(), clock);
  ASSERT_TRUE(j);
  std::atomic<int> commits{0};
  (*j)->listen([&](const std::vector<event>&) { ++commits; });
  constexpr int callers = 16;
  constexpr int each = 50;
  std::vector<std::vector<std::uint64_t>> seqs(callers);
  std::vector<std::thread> threads;
  for (int t = 0; t < callers; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < each; ++i) {
        event_draft first;
        event_draft second;
        first.subject = second.subject = std::to_string(t);
        first.text = std::to_string(i) + "a";
        second.text = std::to_string(i) + "b";
        const auto seq = (*j)->append({first, second});
        ASSERT_TRUE(seq);
        seqs[static_cast<std::size_t>(t)].push_back(*seq);
      }
    });
  for (auto& t : threads)
    t.join();
  (*j)->listen(nullptr);
  EXPECT_LT(commits.load(), callers * each); // else nothing was shared
  const auto events = all_events(dir.path());
  ASSERT_EQ(events.size(), 2u * callers * each);
  for (int t = 0; t < callers; ++t)
    for (int i = 0; i < each; ++i) {
      const auto seq = seqs[static_cast<std::size_t>(t)][static_cast<std::size_t>(i)];
      EXPECT_EQ(events[seq - 1].subject, std::to_string(t));
      EXPECT_EQ(events[seq - 1].text, std::to_string(i) + "b");
      EXPECT_EQ(events[seq - 2].text, std::to_string(i) + "a"); // the pair stayed together
    }
}

TEST(journal, the_listener_has_seen_an_event_before_its_writer_goes_on) {
  const scratch dir;
  manual_clock clock;
  auto j = journal::open(dir.path(), clock);
  ASSERT_TRUE(j);
  std::vector<event> heard; // no lock: append() returning orders it after the listener
  (*j)->listen([&](const std::vector<event>& events) { heard.insert(heard.end(), events.begin(), events.end()); });
  for (int i = 0; i < 20; ++i) {
    const auto seq = (*j)->append(draft(i));
    ASSERT_TRUE(seq);
    ASSERT_EQ(heard.size(), *seq);
    EXPECT_EQ(heard.back().seq, *seq);
  }
  (*j)->listen(nullptr);
  ASSERT_TRUE((*j)->append(draft(20)));
  EXPECT_EQ(heard.size(), 20u);
  heard.push_back(all_events(dir.path()).back());
  EXPECT_TRUE(same(heard, all_events(dir.path())));
}

TEST(journal, append_async_answers_once_from_the_committing_thread) {
  const scratch dir;
  manual_clock clock;
  std::vector<std::uint64_t> answers;
  std::set<std::thread::id> from;
  {
    auto j = journal::open(dir.path(), clock);
    ASSERT_TRUE(j);
    for (int i = 0; i < 100; ++i)
      (*j)->append_async({draft(i)}, [&](result<std::uint64_t> seq) {
        answers.push_back(seq ? *seq : 0);
        from.insert(std::this_thread::get_id());
      });
  } // commits what is queued, then closes
  std::vector<std::uint64_t> expected(100);
  std::iota(expected.begin(), expected.end(), 1u);
  EXPECT_EQ(answers, expected);
  EXPECT_EQ(from.size(), 1u);
  EXPECT_FALSE(from.contains(std::this_thread::get_id()));
  EXPECT_EQ(all_events(dir.path()).size(), 100u);
}

TEST(journal, a_full_queue_holds_its_callers_back) {
  const scratch dir;
  manual_clock clock;
  journal_options options;
  options.queue_bytes_max = 100'000;
  auto j = journal::open(dir.path(), clock, options);
  ASSERT_TRUE(j);
  std::mutex mutex;
  std::condition_variable changed;
  bool go_on = false;
  bool entered = false;
  (*j)->listen([&](const std::vector<event>&) { // the disk stands still
    std::unique_lock guard{mutex};
    entered = true;
    changed.notify_all();
    changed.wait(guard, [&] { return go_on; });
  });
  std::atomic<int> accepted{0};
  std::atomic<int> answered{0};
  event_draft d;
  d.body = std::string(20'000, 'x');
  (*j)->append_async({d}, [&](result<std::uint64_t>) { ++answered; });
  {
    std::unique_lock guard{mutex};
    changed.wait(guard, [&] { return entered; });
  }
  std::thread writer{[&] {
    for (int i = 0; i < 50; ++i) {
      (*j)->append_async({d}, [&](result<std::uint64_t> seq) { answered += seq ? 1 : 1000; });
      ++accepted;
    }
  }};
  while (accepted < 3)
    std::this_thread::yield();
  // 20 kB are being committed and at most four more calls fit; the writer cannot get further while the disk stands.
  for (int i = 0; i < 1000; ++i) {
    std::this_thread::yield();
    ASSERT_LE(accepted.load(), 4);
  }
  {
    const std::lock_guard guard{mutex};
    go_on = true;
  }
  changed.notify_all();
  writer.join();
  EXPECT_EQ(accepted.load(), 50);
  j->reset();
  EXPECT_EQ(answered.load(), 51);
  EXPECT_EQ(all_events(dir.path()).size(), 51u);
}

TEST(journal, a_call_bigger_than_the_queue_or_the_batch_still_lands_whole) {
  const scratch dir;
  manual_clock clock;
  journal_options options;
  options.queue_bytes_max = 1000;
  options.batch_events_max = 4;
  auto j = journal::open(dir.path(), clock, options);
  ASSERT_TRUE(j);
  std::vector<event_draft> drafts;
  for (int i = 0; i < 500; ++i)
    drafts.push_back(draft(i));
  std::size_t heard = 0;
  (*j)->listen([&](const std::vector<event>& events) { heard = events.size(); });
  EXPECT_EQ(*(*j)->append(drafts), 500u);
  EXPECT_EQ(heard, 500u); // one transaction
}

TEST(journal_reader, filters_agree_with_a_plain_search) {
  const scratch dir;
  manual_clock clock;
  write_events(dir.path(), 240, clock);
  const auto events = all_events(dir.path());
  ASSERT_EQ(events.size(), 240u);
  const auto reader = journal_reader::open(dir.path());
  ASSERT_TRUE(reader);
  EXPECT_EQ(*reader->last_seq(), 240u);
  const auto expect = [&](const journal_filter& f) {
    std::vector<event> wanted;
    for (const auto& e : events)
      if ((f.goal.empty() || e.goal == f.goal) && (f.step.empty() || e.step == f.step) &&
          (f.subject.empty() || e.subject == f.subject) && (f.key.empty() || e.key == f.key) &&
          (f.kinds.empty() || std::find(f.kinds.begin(), f.kinds.end(), e.kind) != f.kinds.end()) &&
          e.seq > f.after_seq)
        wanted.push_back(e);
    if (f.newest_first)
      std::reverse(wanted.begin(), wanted.end());
    if (f.limit > 0 && wanted.size() > f.limit)
      wanted.resize(f.limit);
    const auto found = reader->read(f);
    ASSERT_TRUE(found) << found.error().to_string();
    EXPECT_TRUE(same(*found, wanted)) << found->size() << " of " << wanted.size();
  };
  for (const bool newest : {false, true})
    for (const std::uint64_t limit : {0, 1, 7})
      for (const std::uint64_t after : {0, 1, 100, 239, 240, 1000})
        for (const auto& kinds : std::vector<std::vector<event_kind>>{
                 {}, {event_kind::note}, {event_kind::note, event_kind::decision}, {event_kind::incident}}) {
          journal_filter f;
          f.newest_first = newest;
          f.limit = limit;
          f.after_seq = after;
          f.kinds = kinds;
          expect(f);
          f.goal = "g-2";
          expect(f);
          f.step = "search";
          expect(f);
          f.goal = "g-1";
          expect(f);
          f.goal = "";
          f.subject = "t-33";
          expect(f);
          f.subject = "";
          f.step = "";
          f.key = "key-45";
          expect(f);
          f.goal = "no such goal";
          expect(f);
        }
  journal_filter beyond;
  beyond.after_seq = UINT64_MAX;
  expect(beyond);
}

TEST(journal_reader, a_visitor_may_stop_and_may_ask_again_meanwhile) {
  const scratch dir;
  manual_clock clock;
  write_events(dir.path(), 30, clock);
  const auto reader = journal_reader::open(dir.path());
  int seen = 0;
  ASSERT_TRUE(reader->read(journal_filter{}, [&](const event& e) {
    journal_filter same_goal;
    same_goal.goal = e.goal;
    EXPECT_FALSE(reader->read(same_goal)->empty());
    return ++seen < 5;
  }));
  EXPECT_EQ(seen, 5);
  EXPECT_EQ(reader->read(journal_filter{})->size(), 30u);
}

TEST(journal_reader, a_call_sees_one_moment_although_the_writer_goes_on) {
  const scratch dir;
  manual_clock clock;
  auto j = journal::open(dir.path(), clock);
  ASSERT_TRUE((*j)->append({draft(0), draft(1), draft(2)}));
  const auto reader = journal_reader::open(dir.path());
  int seen = 0;
  ASSERT_TRUE(reader->read(journal_filter{}, [&](const event&) {
    EXPECT_TRUE((*j)->append(draft(10 + seen)));
    ++seen;
    return true;
  }));
  EXPECT_EQ(seen, 3);
  EXPECT_EQ(reader->read(journal_filter{})->size(), 6u);
}

TEST(journal_reader, other_processes_read_beside_the_writer) {
  const scratch dir;
  manual_clock clock;
  int start[2];
  ASSERT_EQ(::pipe(start), 0);
  const auto child = ::fork(); // before this process has SQLite open
  if (child == 0) {
    char c = 0;
    if (::read(start[0], &c, 1) != 1)
      ::_exit(9);
    const auto reader = journal_reader::open(dir.path());
    if (!reader)
      ::_exit(2);
    std::uint64_t last = 0;
    for (int i = 0; i < 100; ++i) {
      const auto events = reader->read(journal_filter{});
      if (!events || events->size() < last || events->size() < 10)
        ::_exit(3);
      last = events->size();
    }
    const auto verdict = verify_journal(dir.path());
    ::_exit(verdict && verdict->intact ? 0 : 4);
  }
  auto j = journal::open(dir.path(), clock);
  ASSERT_TRUE(j);
  for (int i = 0; i < 10; ++i)
    ASSERT_TRUE((*j)->append(draft(i)));
  ASSERT_EQ(::write(start[1], "g", 1), 1);
  int how = 0;
  pid_t ended = 0;
  int i = 10;
  for (; i < 400 && (ended = ::waitpid(child, &how, WNOHANG)) == 0; ++i) // bounded: a slow reader must come to an end
    ASSERT_TRUE((*j)->append(draft(i)));
  if (ended == 0)
    ended = ::waitpid(child, &how, 0);
  ASSERT_EQ(ended, child);
  EXPECT_TRUE(WIFEXITED(how));
  EXPECT_EQ(WEXITSTATUS(how), 0);
  EXPECT_EQ(*(*j)->append(draft(i)), static_cast<std::uint64_t>(i + 1));
  ::close(start[0]);
  ::close(start[1]);
}

TEST(journal_reader, a_folder_that_may_only_be_read_is_read) {
  if (::geteuid() != 0)
    GTEST_SKIP() << "SKIPPED read-only folder: only root can become another user";
  scratch dir;
  manual_clock clock;
  write_events(dir.path(), 25, clock);
  ASSERT_EQ(::chmod(dir.path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod((dir / "journal.db").c_str(), 0644), 0);
  const auto child = ::fork();
  if (child == 0) {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0)
      ::_exit(9);
    const auto reader = journal_reader::open(dir.path());
    const auto verdict = verify_journal(dir.path());
    if (!reader)
      std::fprintf(stderr, "%s\n", reader.error().to_string().c_str());
    else if (!verdict || !verdict->intact)
      std::fprintf(stderr, "%s\n", verdict ? verdict->reason.c_str() : verdict.error().to_string().c_str());
    ::_exit(reader && reader->read(journal_filter{}).value_or({}).size() == 25 && verdict && verdict->intact ? 0 : 1);
  }
  int how = 0;
  ASSERT_EQ(::waitpid(child, &how, 0), child);
  EXPECT_TRUE(WIFEXITED(how) && WEXITSTATUS(how) == 0);
}
