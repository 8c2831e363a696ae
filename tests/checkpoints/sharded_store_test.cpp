#include "checkpoints/sharded_store.hpp"
#include "checkpoints/block_hash.hpp"
#include "checkpoints/checkpoint_saver.hpp"
#include "checkpoints/seal_format.hpp"
#include "checkpoints/streaming_copy.hpp"
#include "checkpoints/worker_threads.hpp"
#include "tests/checkpoints/sample_checkpoint.hpp"
#include "tests/checkpoints/sharded_state.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <mutex>
#include <sys/file.h>

using namespace flywheel;
namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

using id_of = checkpoint_id;

sharded_store begin(const fs::path& root, std::uint64_t attempt = 1, retention_rule rule = {}) {
  auto s = sharded_store::begin(root, attempt, rule);
  EXPECT_TRUE(s) << s.error().to_string();
  return *s;
}

sharded_checkpoint newest(const fs::path& root) {
  auto found = find_newest_sharded(root);
  EXPECT_TRUE(found && found->newest);
  return *found->newest;
}

} // namespace

TEST(sharded_store, any_number_of_ranks_reads_what_any_number_wrote) {
  const auto tensors = test::sample_tensors();
  for (const std::uint32_t writers : {1u, 2u, 3u, 7u}) {
    test::scratch_folder folder;
    const auto saved = test::save_sharded(begin(folder.path()), tensors, 5, writers, R"({"lr": 1})");
    ASSERT_TRUE(saved) << saved.error().to_string();
    const auto c = newest(folder.path());
    EXPECT_EQ(c.contents().attributes, R"({"lr": 1})");
    EXPECT_EQ(c.contents().shards.size(), writers);
    EXPECT_EQ(test::differences(c, tensors), "") << writers;
    for (const std::uint32_t readers : {1u, 2u, 5u})
      for (std::uint32_t rank = 0; rank < readers; ++rank) {
        std::vector<read_request> requests;
        auto state = test::state_of_rank(tensors, rank, readers, 6); // other bytes, to be overwritten
        const auto parts = test::parts_of_rank(tensors, rank, readers);
        for (std::size_t i = 0; i < parts.size(); ++i)
          requests.push_back({parts[i].name, parts[i].range, state[i]});
        const auto s = c.read(requests);
        ASSERT_TRUE(s) << s.error().to_string();
        ASSERT_EQ(state, test::state_of_rank(tensors, rank, readers, 5)) << writers << " wrote, rank " << rank << " of " << readers << " read";
      }
    const auto verified = c.verify();
    EXPECT_TRUE(verified) << verified.error().to_string();
  }
}

TEST(sharded_store, any_slice_is_read_and_nothing_beside_it_is_touched) {
  const std::vector<test::sample_tensor> tensors{{"t", tensor_type::u16, {1'700'003}}, {"rows", tensor_type::f32, {100, 7}}};
  test::scratch_folder folder;
  ASSERT_TRUE(test::save_sharded(begin(folder.path()), tensors, 1, 3));
  const auto c = newest(folder.path());
  const auto whole = test::bytes_at(tensors[0], 1);
  random_source random{4};
  for (int i = 0; i < 100; ++i) {
    const auto a = random.below(1'700'004), b = random.below(1'700'004);
    const element_range r{std::min(a, b), std::max(a, b)};
    std::vector<std::byte> memory(r.size() * 2 + 2, std::byte{0x77});
    const read_request request{"t", r, std::span{memory}.subspan(1, r.size() * 2)};
    ASSERT_TRUE(c.read({&request, 1}, 1 + static_cast<unsigned>(i % 3)));
    ASSERT_TRUE(std::equal(request.into.begin(), request.into.end(), whole.begin() + static_cast<std::ptrdiff_t>(2 * r.begin)));
    ASSERT_TRUE(memory.front() == std::byte{0x77} && memory.back() == std::byte{0x77});
  }
  std::vector<std::byte> rows(3 * 7 * 4);
  const read_request request{"rows", rows_of(tensors[1].shape, 49, 52), rows};
  ASSERT_TRUE(c.read({&request, 1}));
  EXPECT_EQ(std::memcmp(rows.data(), test::bytes_at(tensors[1], 1).data() + 49 * 28, rows.size()), 0);
}

TEST(sharded_store, wrong_requests_are_told) {
  test::scratch_folder folder;
  ASSERT_TRUE(test::save_sharded(begin(folder.path()), test::sample_tensors(100), 1, 2));
  const auto c = newest(folder.path());
  std::vector<std::byte> memory(16);
  const auto answer = [&](read_request r) { return c.read({&r, 1}); };
  EXPECT_THAT(answer({"weight.haed", {0, 4}, memory}).error().hint, HasSubstr("weight.head"));
  EXPECT_EQ(answer({"random", {0, 3}, memory}).error().code, errc::invalid_argument) << "other size";
  EXPECT_EQ(answer({"random", {3, 5}, memory}).error().code, errc::invalid_argument) << "beyond";
  EXPECT_EQ(answer({"random", {3, 1}, memory}).error().code, errc::invalid_argument) << "backwards";
  EXPECT_TRUE(answer({"random", {1, 3}, memory}));
  EXPECT_FALSE(c.read("nothing"));
  EXPECT_EQ(c.read("scalar")->bytes, test::bytes_at(test::sample_tensors()[4], 1));
}

TEST(sharded_store, is_no_checkpoint_before_its_last_shard) {
  test::scratch_folder folder;
  const auto tensors = test::sample_tensors(100);
  const auto store = begin(folder.path());
  ASSERT_TRUE(test::save_sharded(store, tensors, 1, 2));
  const auto save = [&](std::uint32_t rank) {
    saver_options o;
    o.rank = rank;
    o.ranks = 2;
    auto saver = checkpoint_saver::start(store, test::parts_of_rank(tensors, rank, 2), o).value();
    return saver->save(2, "{}", test::spans_of(test::state_of_rank(tensors, rank, 2, 2))) && saver->wait();
  };
  ASSERT_TRUE(save(1));
  EXPECT_EQ(newest(folder.path()).contents().id, (id_of{1, 1}));
  EXPECT_FALSE(store.publish(2, 2).value());
  ASSERT_TRUE(save(0)) << "the last to come publishes, in whatever order";
  EXPECT_EQ(newest(folder.path()).contents().id, (id_of{1, 2}));
  EXPECT_TRUE(store.publish(2, 2).value()) << "again, as after a barrier";
  EXPECT_FALSE(save(0)) << "what is published does not change";
  EXPECT_EQ(test::differences(newest(folder.path()), tensors), "");
}

TEST(sharded_store, parts_that_do_not_make_whole_tensors_are_never_published) {
  const auto attempt = [](std::vector<tensor_part> first, std::vector<tensor_part> second) {
    test::scratch_folder folder;
    const auto store = begin(folder.path());
    status last;
    std::uint32_t rank = 0;
    for (auto* parts : {&first, &second}) {
      saver_options o;
      o.rank = rank++;
      o.ranks = 2;
      auto saver = checkpoint_saver::start(store, *parts, o);
      if (!saver)
        return std::move(saver).error().to_string();
      last = (*saver)->save(1, "{}", [](std::size_t, std::span<std::byte>) { return success(); });
      if (last)
        last = (*saver)->wait();
    }
    EXPECT_FALSE(find_newest_sharded(folder.path())->newest);
    return last ? std::string{} : last.error().to_string();
  };
  const auto part = [](std::uint64_t begin, std::uint64_t end, std::uint64_t n = 10, tensor_type type = tensor_type::f32) {
    return tensor_part{"t", type, {n}, {begin, end}};
  };
  EXPECT_THAT(attempt({part(0, 4)}, {part(5, 10)}), HasSubstr("lacks a part at element 4"));
  EXPECT_THAT(attempt({part(0, 6)}, {part(5, 10)}), HasSubstr("overlap at element 5"));
  EXPECT_THAT(attempt({part(0, 5)}, {part(5, 9)}), HasSubstr("lacks its elements from 9"));
  EXPECT_THAT(attempt({part(0, 5)}, {part(5, 11, 11)}), HasSubstr("another type or shape"));
  EXPECT_THAT(attempt({part(0, 5)}, {part(5, 10, 10, tensor_type::i32)}), HasSubstr("another type or shape"));
  EXPECT_THAT(attempt({part(0, 5), part(5, 6)}, {}), HasSubstr("one name"));
  EXPECT_THAT(attempt({part(0, 12)}, {}), HasSubstr("outside of its tensor's shape"));
  EXPECT_THAT(attempt({{"a/b", tensor_type::f32, {1}, {0, 1}}}, {}), HasSubstr("letters"));
  EXPECT_THAT(attempt({tensor_part{"t", tensor_type::f32, {1ull << 40, 1ull << 40}, {}}}, {}), HasSubstr("outside of its tensor's shape"));
}

TEST(sharded_store, an_older_attempt_that_wakes_cannot_publish) {
  test::scratch_folder folder;
  const auto tensors = test::sample_tensors(100);
  EXPECT_EQ(next_attempt(folder.path()).value(), 1u);
  const auto old_one = begin(folder.path(), 1);
  ASSERT_TRUE(test::save_sharded(old_one, tensors, 10, 1));
  auto sleeper = checkpoint_saver::start(old_one, test::parts_of_rank(tensors, 0, 1)).value();

  EXPECT_EQ(next_attempt(folder.path()).value(), 2u);
  const auto new_one = begin(folder.path(), 2);
  ASSERT_TRUE(test::save_sharded(new_one, tensors, 11, 1));
  // The old one has got further before it was thought dead; it wakes and saves a higher step.
  ASSERT_TRUE(sleeper->save(12, "{}", test::spans_of(test::state_of_rank(tensors, 0, 1, 12))));
  const auto s = sleeper->wait();
  ASSERT_FALSE(s);
  EXPECT_EQ(s.error().code, errc::stale_epoch);
  EXPECT_EQ(sharded_store::begin(folder.path(), 1).error().code, errc::stale_epoch);
  EXPECT_EQ(newest(folder.path()).contents().id, (id_of{2, 11}));
  EXPECT_TRUE(sharded_store::begin(folder.path(), 2)) << "another rank of the same attempt";
  begin(folder.path(), 3);
  EXPECT_FALSE(fs::exists(folder.path() / id_of{1, 12}.folder_name())) << "what cannot be published is swept";
  EXPECT_TRUE(fs::exists(folder.path() / id_of{1, 10}.folder_name()));
}

TEST(sharded_store, a_launcher_takes_attempts_one_after_the_other_and_notices_another_launcher) {
  test::scratch_folder folder;
  EXPECT_EQ(take_attempt(folder.path() / "new").value(), 1u) << "the folder is made";
  EXPECT_EQ(take_attempt(folder.path() / "new", 1).value(), 2u);
  const auto mine = sharded_store::begin(folder.path() / "new", 2);
  ASSERT_TRUE(mine) << "its ranks join it";
  EXPECT_EQ(take_attempt(folder.path() / "new").value(), 3u) << "another launcher";
  const auto late = take_attempt(folder.path() / "new", 2);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, errc::stale_epoch);
  EXPECT_EQ(sharded_store::begin(folder.path() / "new", 2).error().code, errc::stale_epoch);
  EXPECT_EQ(next_attempt(folder.path() / "new").value(), 4u) << "the refused one took nothing";
}

TEST(sharded_store, a_later_attempt_is_newer_even_at_an_earlier_step) {
  test::scratch_folder folder;
  const auto tensors = test::sample_tensors(100);
  ASSERT_TRUE(test::save_sharded(begin(folder.path(), 1), tensors, 100, 1));
  ASSERT_TRUE(test::save_sharded(begin(folder.path(), 2), tensors, 50, 1)); // somebody went back on purpose
  EXPECT_EQ(newest(folder.path()).contents().id, (id_of{2, 50}));
}

TEST(sharded_store, keeps_what_the_rule_says_and_sweeps_what_was_never_finished) {
  test::scratch_folder folder;
  const auto tensors = test::sample_tensors(100);
  const auto store = begin(folder.path(), 1, {2, 20});
  fs::create_directory(store.folder_of_step(15)); // a rank began it and failed
  for (const std::uint64_t step : {10, 20, 30, 40, 50})
    ASSERT_TRUE(test::save_sharded(store, tensors, step, 2));
  EXPECT_THAT(list_sharded(folder.path()).value(), ElementsAre(id_of{1, 20}, id_of{1, 40}, id_of{1, 50}));
  EXPECT_FALSE(fs::exists(store.folder_of_step(15)));
  const auto files = std::distance(fs::directory_iterator{store.folder_of_step(50)}, {});
  EXPECT_EQ(files, 3) << "two shards and the manifest; receipts are gone";
}

TEST(sharded_store, an_open_checkpoint_outlives_its_removal) {
  test::scratch_folder folder;
  const auto tensors = test::sample_tensors(2000);
  const auto store = begin(folder.path(), 1, {1, 0});
  ASSERT_TRUE(test::save_sharded(store, tensors, 1, 2));
  const auto c = newest(folder.path());
  ASSERT_TRUE(test::save_sharded(store, tensors, 2, 2));
  ASSERT_FALSE(fs::exists(store.folder_of_step(1)));
  EXPECT_EQ(test::differences(c, tensors), "");
}

TEST(sharded_store, the_cache_is_not_needed_and_not_trusted_blindly) {
  const auto tensors = test::sample_tensors();
  for (const bool direct : {true, false}) {
    test::scratch_folder folder;
    const auto store = begin(folder.path());
    const auto layout = make_shard_layout(test::parts_of_rank(tensors, 0, 1)).value();
    const auto image = make_shard_image(layout).value();
    const auto state = test::state_of_rank(tensors, 0, 1, 3);
    for (std::size_t i = 0; i < state.size(); ++i)
      std::copy(state[i].begin(), state[i].end(), part_of_image(image, layout, i).begin());
    shard_write_options o;
    o.direct = direct;
    o.chunk_bytes = 4096;
    o.threads = 3;
    ASSERT_TRUE(store.write(3, 0, 1, "{}", layout, image, o, {}));
    ASSERT_TRUE(store.publish(3, 1).value());
    const auto c = newest(folder.path());
    EXPECT_EQ(test::differences(c, tensors), "");
    const auto file = open_file(store.folder_of_step(3) / shard_file_name(0, 1), O_RDONLY).value();
    ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
    EXPECT_EQ(test::differences(c, tensors), "") << "from the disk";
  }
}

// --- the saver ---------------------------------------------------------------------------------------------------------

TEST(checkpoint_saver, the_state_may_change_as_soon_as_save_returns) {
  test::scratch_folder folder;
  const auto tensors = test::sample_tensors();
  const auto store = begin(folder.path(), 1, {100, 0});
  auto saver = checkpoint_saver::start(store, test::parts_of_rank(tensors, 0, 1)).value();
  for (std::uint64_t step = 1; step <= 4; ++step) {
    auto state = test::state_of_rank(tensors, 0, 1, step);
    ASSERT_TRUE(saver->save(step, "{}", test::spans_of(state)));
    for (auto& part : state)
      std::fill(part.begin(), part.end(), std::byte{0xee});
  }
  ASSERT_TRUE(saver->wait());
  const auto ids = list_sharded(folder.path()).value();
  for (const auto& id : ids)
    EXPECT_EQ(test::differences(sharded_checkpoint::open(folder.path() / id.folder_name()).value(), tensors), "");
  EXPECT_EQ(ids.size(), 4u);
  EXPECT_EQ(saver->save(4, "{}", test::spans_of(test::state_of_rank(tensors, 0, 1, 4))).error().code, errc::invalid_argument) << "backwards";
}

TEST(checkpoint_saver, a_large_state_is_copied_whole_by_several_threads) {
  test::scratch_folder folder;
  const auto tensors = test::sample_tensors(11'000'003); // 44 MB: several stretches, the last one short
  const auto store = begin(folder.path());
  for (const unsigned threads : {1u, 3u}) {
    saver_options o;
    o.copy_threads = threads;
    auto saver = checkpoint_saver::start(store, test::parts_of_rank(tensors, 0, 1), o).value();
    auto state = test::state_of_rank(tensors, 0, 1, threads);
    ASSERT_TRUE(saver->save(threads, "{}", test::spans_of(state)));
    for (auto& part : state)
      std::fill(part.begin(), part.end(), std::byte{0xee});
    ASSERT_TRUE(saver->wait());
    EXPECT_EQ(test::differences(newest(folder.path()), tensors), "");
  }
}

TEST(checkpoint_saver, holds_no_more_than_its_buffers) {
  test::scratch_folder folder;
  const auto tensors = test::sample_tensors(100);
  const auto store = begin(folder.path());
  saver_options o;
  o.buffers = 2;
  auto saver = checkpoint_saver::start(store, test::parts_of_rank(tensors, 0, 1), o).value();
  // The lock of the folder is held here, so that the writer cannot finish.
  const auto lock = open_file(folder.path() / "lock", O_RDWR).value();
  ASSERT_EQ(::flock(lock.get(), LOCK_EX), 0);
  const auto fill = [&](std::size_t, std::span<std::byte> into) {
    std::fill(into.begin(), into.end(), std::byte{1});
    return success();
  };
  ASSERT_TRUE(saver->try_save(1, "{}", fill));
  ASSERT_TRUE(saver->try_save(2, "{}", fill));
  EXPECT_EQ(saver->try_save(3, "{}", fill).error().code, errc::no_capacity);
  ASSERT_EQ(::flock(lock.get(), LOCK_UN), 0);
  ASSERT_TRUE(saver->save(4, "{}", fill)) << "waits for a buffer";
  ASSERT_TRUE(saver->wait());
  EXPECT_EQ(newest(folder.path()).contents().id.step, 4u);
}

TEST(checkpoint_saver, tells_an_error_once_at_the_next_call_and_goes_on) {
  test::scratch_folder folder;
  const auto tensors = test::sample_tensors(100);
  const auto store = begin(folder.path());
  auto saver = checkpoint_saver::start(store, test::parts_of_rank(tensors, 0, 1)).value();
  const auto state = test::state_of_rank(tensors, 0, 1, 3);
  std::ofstream(store.folder_of_step(1)) << "a file where the folder should be";
  ASSERT_TRUE(saver->save(1, "{}", test::spans_of(state)));
  const auto told = saver->wait();
  ASSERT_FALSE(told);
  EXPECT_THAT(told.error().to_string(), HasSubstr(store.folder_of_step(1).string()));
  EXPECT_TRUE(saver->wait()) << "once";
  ASSERT_TRUE(saver->save(3, "{}", test::spans_of(state)));
  ASSERT_TRUE(saver->wait());
  EXPECT_EQ(test::differences(newest(folder.path()), tensors), "");
  // A copy that fails (a device, say) hands nothing over.
  EXPECT_EQ(saver->save(4, "{}", [](std::size_t, std::span<std::byte>) { return status{errc::library_failed, "device"}; }).error().code,
            errc::library_failed);
  ASSERT_TRUE(saver->wait());
  EXPECT_EQ(newest(folder.path()).contents().id.step, 3u);
}

TEST(checkpoint_saver, destroyed_while_it_writes_leaves_the_one_before) {
  test::scratch_folder folder;
  const auto tensors = test::sample_tensors();
  const auto store = begin(folder.path());
  ASSERT_TRUE(test::save_sharded(store, tensors, 1, 1));
  for (std::uint64_t step = 2; step < 30; ++step) {
    auto saver = checkpoint_saver::start(store, test::parts_of_rank(tensors, 0, 1)).value();
    ASSERT_TRUE(saver->save(step, "{}", test::spans_of(test::state_of_rank(tensors, 0, 1, step))));
    saver.reset();
    const auto c = newest(folder.path());
    ASSERT_TRUE(c.contents().id.step <= step);
    ASSERT_EQ(test::differences(c, tensors), "");
  }
}

TEST(checkpoint_saver, refuses_what_does_not_fit_its_layout) {
  test::scratch_folder folder;
  const auto tensors = test::sample_tensors(100);
  const auto store = begin(folder.path());
  saver_options o;
  o.rank = 1;
  EXPECT_FALSE(checkpoint_saver::start(store, {}, o)) << "rank 1 of 1";
  auto saver = checkpoint_saver::start(store, test::parts_of_rank(tensors, 0, 1)).value();
  auto state = test::state_of_rank(tensors, 0, 1, 1);
  state[1].pop_back();
  EXPECT_EQ(saver->save(1, "{}", test::spans_of(state)).error().code, errc::invalid_argument);
  state.pop_back();
  EXPECT_EQ(saver->save(1, "{}", test::spans_of(state)).error().code, errc::invalid_argument);
  ASSERT_TRUE(saver->save(2, "\xff", [](std::size_t, std::span<std::byte>) { return success(); }));
  EXPECT_EQ(saver->wait().error().code, errc::invalid_argument) << "attributes are UTF-8";
  auto nothing = checkpoint_saver::start(store, {}).value();
  ASSERT_TRUE(nothing->save(3, "{}", std::span<const std::span<const std::byte>>{}));
  ASSERT_TRUE(nothing->wait());
  EXPECT_TRUE(newest(folder.path()).contents().tensors.empty());
}

// --- pure parts --------------------------------------------------------------------------------------------------------

TEST(worker_threads, every_task_runs_once_and_the_first_error_ends_it) {
  for (const unsigned threads : {0u, 1u, 4u}) {
    std::mutex mutex;
    std::vector<int> runs(200);
    ASSERT_TRUE(for_each_task(runs.size(), threads, [&](std::size_t i, unsigned worker) -> status {
      const std::lock_guard guard{mutex};
      EXPECT_LT(worker, std::max(threads, 1u));
      ++runs[i];
      return success();
    }));
    EXPECT_EQ(runs, std::vector<int>(200, 1));
    std::size_t done = 0;
    const auto s = for_each_task(1'000'000, threads, [&](std::size_t i, unsigned) -> status {
      const std::lock_guard guard{mutex};
      ++done;
      return i == 50 ? status{errc::io_failed, "fifty"} : success();
    });
    EXPECT_EQ(s.error().what, "fifty");
    EXPECT_LT(done, 1000u);
  }
}

TEST(block_hash, is_the_same_whatever_instructions_the_cpu_has) {
  random_source random{5};
  std::vector<std::byte> bytes(hash_block_bytes + 7);
  for (auto& b : bytes)
    b = static_cast<std::byte>(random.next());
  const auto same = [&](std::size_t begin, std::size_t size) {
    const auto part = std::span{bytes}.subspan(begin, size);
    ASSERT_EQ(block_hash(part), fast_hash(part)) << size << " bytes from " << begin; // fast_hash: what every x86-64 CPU has
  };
  for (std::size_t size = 0; size < 3000; ++size) // all of XXH3's cases by length, aligned or not
    same(size % 7, size);
  same(0, hash_block_bytes);
  same(3, hash_block_bytes);
}

TEST(streaming_copy, copies_any_size_to_any_place) {
  std::vector<std::byte> from(300'000), to;
  random_source random{2};
  for (auto& b : from)
    b = static_cast<std::byte>(random.next());
  for (int i = 0; i < 200; ++i) {
    const auto skip = random.below(70), size = random.below(3) == 0 ? random.below(200) : random.below(from.size() - 70), begin = random.below(70);
    to.assign(from.size() + 80, std::byte{0x55});
    streaming_copy(std::span{to}.subspan(begin, size), std::span{from}.subspan(skip, size));
    ASSERT_TRUE(std::equal(to.begin() + static_cast<std::ptrdiff_t>(begin), to.begin() + static_cast<std::ptrdiff_t>(begin + size), from.begin() + static_cast<std::ptrdiff_t>(skip)));
    ASSERT_EQ(static_cast<std::uint64_t>(std::count(to.begin(), to.begin() + static_cast<std::ptrdiff_t>(begin), std::byte{0x55})), begin);
    ASSERT_EQ(to[begin + size], std::byte{0x55});
  }
}

TEST(tensor_slice, shares_cover_everything_once) {
  for (const std::uint64_t n : {0ull, 1ull, 7ull, 8ull, 9ull, 1000ull})
    for (const std::uint32_t ranks : {1u, 2u, 3u, 8u}) {
      std::uint64_t next = 0;
      for (std::uint32_t rank = 0; rank < ranks; ++rank) {
        const auto share = even_share(n, rank, ranks);
        EXPECT_EQ(share.begin, std::min(next, n));
        next = share.end;
      }
      EXPECT_EQ(next, n);
    }
  EXPECT_EQ(elements_of({}), 1u);
  EXPECT_FALSE(elements_of(std::vector<std::uint64_t>{1ull << 40, 1ull << 40}));
  EXPECT_EQ(elements_of(std::vector<std::uint64_t>{1ull << 40, 1ull << 40, 0}), std::nullopt) << "zero does not hide an overflow before it";
  EXPECT_FALSE(bytes_needed(std::vector<std::uint64_t>{1ull << 62}, tensor_type::f32));
}

TEST(checkpoint_id, names_come_back_and_strangers_do_not) {
  const id_of id{2, 100};
  EXPECT_EQ(id.folder_name(), "step-000000000100-attempt-000002");
  EXPECT_EQ(id_of::from_folder_name(id.folder_name()), id);
  for (const auto* name : {"", "step-", "step-1-attempt-1", "step-000000000100-attempt-00000x", "step-00000000010x-attempt-000002",
                           "step-000000000100-attempt-000002.damaged", "step--00000000100-attempt-000002", "step-000000000100-attempt-0000002"})
    EXPECT_FALSE(id_of::from_folder_name(name)) << name;
}

TEST(retention_policy, of_attempts) {
  EXPECT_THAT(checkpoints_to_remove({1, 0}, {{2, 50}, {1, 100}, {1, 90}}), ElementsAre(id_of{1, 90}, id_of{1, 100}));
  EXPECT_THAT(checkpoints_to_remove({1, 100}, {{2, 50}, {1, 100}, {1, 90}}), ElementsAre(id_of{1, 90}));
  EXPECT_THAT(checkpoints_to_remove({0, 0}, {{1, 1}}), ElementsAre());
}
