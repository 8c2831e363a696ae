// Every collective, on every CPU backend, with 1 to 4 real processes, beside the same thing done serially in one place.

#include "cluster/base/random.hpp"
#include "nccl/element_reduce.hpp"
#include "tests/nccl/gang_fixture.hpp"

#include <cmath>
#include <cstring>
#include <limits>

namespace flywheel::testing {
namespace {

// Odd ones, none, one, fewer than ranks, on both sides of the sizes where the way of moving changes: 8 KiB, rounds of 1 MiB, pieces of 4 MiB.
const std::vector<std::size_t> sizes{0, 1, 3, 33, 1000, 5003, 140'007, 1'100'003};

/// What rank `rank` brings: seeded, different on every rank, some values very large and very small.
std::vector<float> floats_of(int rank, std::size_t n, std::uint64_t seed) {
  auto random = random_source::derive(seed, "rank/" + std::to_string(rank));
  std::vector<float> x(n);
  for (auto& v : x)
    v = static_cast<float>(std::ldexp(random.uniform(-1, 1), static_cast<int>(random.next() % 40) - 20));
  return x;
}

template <class T> std::vector<T> values_of(int rank, std::size_t n, std::uint64_t seed) {
  const auto x = floats_of(rank, n, seed);
  std::vector<T> y(n);
  for (std::size_t i = 0; i < n; ++i)
    if constexpr (std::is_same_v<T, std::uint16_t>)
      y[i] = to_bf16(x[i]);
    else
      y[i] = static_cast<T>(x[i]);
  return y;
}

// The oracle is written anew, one element at a time.
float add(float a, float b) { return a + b; }
double add(double a, double b) { return a + b; }
std::int64_t add(std::int64_t a, std::int64_t b) { return a + b; }
template <class T> T serial(const std::vector<std::vector<T>>& all, std::size_t i, reduction op) {
  T x = all[0][i];
  for (std::size_t r = 1; r < all.size(); ++r)
    x = op == reduction::max ? std::max(x, all[r][i]) : add(x, all[r][i]);
  return op == reduction::avg ? x / static_cast<T>(all.size()) : x;
}
template <> std::uint16_t serial(const std::vector<std::vector<std::uint16_t>>& all, std::size_t i, reduction op) {
  std::vector<std::vector<float>> wide;
  for (const auto& x : all)
    wide.push_back({from_bf16(x[i])});
  return to_bf16(serial(wide, 0, op));
}

template <class T> array_view view(std::span<T> x) { return array_view{x}; }
template <> array_view view(std::span<std::uint16_t> x) { return bf16_view(x); }

/// The rank's values, in its own memory or in memory of the communicator.
template <class T> std::span<T> placed(communicator& c, std::vector<T>& own, bool in_arena) {
  if (!in_arena)
    return own;
  auto memory = c.allocate(own.size() * sizeof(T));
  if (!memory)
    std::abort();
  const std::span<T> there{reinterpret_cast<T*>(memory->data()), own.size()};
  std::copy(own.begin(), own.end(), there.begin());
  return there;
}

template <class T> std::string check_reductions(communicator& c, bool in_arena) {
  const bool over_tcp = c.record().use == backend::gloo; // every call takes milliseconds, and arenas are plain memory
  for (const auto n : sizes) {
    if ((n > 10'000 && !std::is_same_v<T, float>) || (over_tcp && (in_arena || n == 3 || n == 1000)))
      continue; // the way is the same for all types
    std::vector<std::vector<T>> all;
    for (int r = 0; r < c.size(); ++r)
      all.push_back(values_of<T>(r, n, n));
    for (const auto op : {reduction::sum, reduction::max, reduction::avg}) {
      if ((n > 10'000 || over_tcp) && op != reduction::avg)
        continue;
      const std::string about = std::to_string(n) + " elements, " + std::string{name_of(op)} + (in_arena ? ", in arena" : "");
      auto own = all[static_cast<std::size_t>(c.rank())];
      const auto data = placed(c, own, in_arena);
      GANG_OK(c.all_reduce(view(data), op, plenty));
      for (std::size_t i = 0; i < n; ++i) {
        const T expected = serial(all, i, op);
        GANG_CHECK(std::memcmp(&data[i], &expected, sizeof(T)) == 0, about + ", all_reduce, element " + std::to_string(i));
      }
      own = all[static_cast<std::size_t>(c.rank())];
      std::copy(own.begin(), own.end(), data.begin());
      GANG_OK(c.reduce_scatter(view(data), op, plenty));
      const auto mine = c.own_shard(n);
      for (std::size_t i = mine.begin; i < mine.end; ++i) {
        const T expected = serial(all, i, op);
        GANG_CHECK(std::memcmp(&data[i], &expected, sizeof(T)) == 0, about + ", reduce_scatter, element " + std::to_string(i));
      }
    }
  }
  return {};
}

class collectives : public ::testing::TestWithParam<std::tuple<backend, int>> {
protected:
  backend use() const { return std::get<0>(GetParam()); }
  int ranks() const { return std::get<1>(GetParam()); }
};

TEST_P(collectives, reductions_equal_the_serial_sum_in_the_order_of_the_ranks_to_the_bit) {
  gang_of_processes gang{ranks(), use(), 1, 256 << 20};
  gang.run_joined([](communicator& c) {
    for (const bool in_arena : {false, true}) {
      if (const auto wrong = check_reductions<float>(c, in_arena); !wrong.empty())
        return "f32: " + wrong;
      if (const auto wrong = check_reductions<double>(c, in_arena); !wrong.empty())
        return "f64: " + wrong;
      if (const auto wrong = check_reductions<std::uint16_t>(c, in_arena); !wrong.empty())
        return "bf16: " + wrong;
      if (const auto wrong = check_reductions<std::int64_t>(c, in_arena); !wrong.empty())
        return "i64: " + wrong;
    }
    return std::string{};
  });
}

TEST_P(collectives, all_gather_and_broadcast_copy_to_everybody) {
  gang_of_processes gang{ranks(), use(), 1, 256 << 20};
  gang.run_joined([](communicator& c) {
    for (const bool in_arena : {false, true})
      for (const auto n : sizes) {
        const auto whole = floats_of(99, n, n);
        std::vector<float> own(n, -7.0F);
        const auto mine = c.own_shard(n);
        std::copy_n(whole.begin() + static_cast<std::ptrdiff_t>(mine.begin), mine.size(), own.begin() + static_cast<std::ptrdiff_t>(mine.begin));
        const auto data = placed(c, own, in_arena);
        GANG_OK(c.all_gather(data, plenty));
        GANG_CHECK(std::equal(data.begin(), data.end(), whole.begin()), "all_gather of " + std::to_string(n));
        const int root = static_cast<int>(n) % c.size();
        const auto wanted = floats_of(root, n, n + 1), others = floats_of(c.rank(), n, n + 1);
        std::copy(others.begin(), others.end(), data.begin());
        GANG_OK(c.broadcast(data, root, plenty));
        GANG_CHECK(std::equal(data.begin(), data.end(), wanted.begin()), "broadcast of " + std::to_string(n));
        GANG_OK(c.barrier(plenty));
      }
    return std::string{};
  });
}

TEST_P(collectives, ranks_with_arrays_in_different_memory_understand_each_other) {
  gang_of_processes gang{ranks(), use()};
  gang.run_joined([](communicator& c) {
    std::vector<float> own(50'000, static_cast<float>(c.rank() + 1));
    const auto data = placed(c, own, c.rank() % 2 == 0);
    GANG_OK(c.all_reduce(data, reduction::sum, plenty));
    const auto expected = static_cast<float>(c.size() * (c.size() + 1) / 2);
    GANG_CHECK(std::all_of(data.begin(), data.end(), [&](float x) { return x == expected; }), "sum of ranks");
    return std::string{};
  });
}

TEST_P(collectives, a_rank_that_calls_something_else_is_named) {
  if (ranks() == 1)
    return; // nobody to differ from
  gang_of_processes gang{ranks(), use()};
  gang.run_joined([](communicator& c) {
    std::vector<float> x(c.rank() == 1 ? 11 : 10);
    const auto wrong = c.all_reduce(std::span{x}, reduction::sum, plenty);
    GANG_CHECK(!wrong, "the counts differ");
    GANG_CHECK(wrong.error().code == errc::protocol_violation, wrong.error().to_string());
    GANG_CHECK(c.failure()->kind == failure_kind::mismatch, wrong.error().to_string());
    const auto again = c.barrier(plenty);
    GANG_CHECK(!again && again.error().code == errc::protocol_violation, "a failed communicator stays failed");
    return std::string{};
  });
}

TEST_P(collectives, bad_arguments_are_refused_and_change_nothing) {
  gang_of_processes gang{ranks(), use()};
  gang.run_joined([](communicator& c) {
    std::vector<float> x(10, 1);
    const auto refused = [](const status& s) { return !s && s.error().code == errc::invalid_argument; };
    GANG_CHECK(refused(c.broadcast(std::span{x}, c.size(), plenty)), "root");
    GANG_CHECK(refused(c.broadcast(std::span{x}, -1, plenty)), "root");
    GANG_CHECK(refused(c.all_reduce({nullptr, 3, element::f32}, reduction::sum, plenty)), "null");
    GANG_CHECK(refused(c.all_reduce({reinterpret_cast<char*>(x.data()) + 1, 3, element::f32}, reduction::sum, plenty)), "alignment");
    GANG_CHECK(refused(c.all_reduce({x.data(), std::size_t{1} << 62, element::f64}, reduction::sum, plenty)), "size");
    GANG_CHECK(refused(c.barrier(0s)), "timeout");
    GANG_CHECK(!c.failure() && c.sequence() == 0, "nothing was begun");
    GANG_OK(c.all_reduce(std::span{x}, reduction::sum, plenty));
    GANG_CHECK(x[9] == static_cast<float>(c.size()), "still works");
    return std::string{};
  });
}

TEST_P(collectives, a_nan_survives_the_maximum_and_integers_wrap) {
  gang_of_processes gang{ranks(), use()};
  gang.run_joined([](communicator& c) {
    std::vector<float> x{1, 2, 3};
    if (c.rank() == c.size() - 1)
      x[1] = std::numeric_limits<float>::quiet_NaN();
    GANG_OK(c.all_reduce(std::span{x}, reduction::max, plenty));
    GANG_CHECK(x[0] == 1 && std::isnan(x[1]) && x[2] == 3, "max");
    std::vector<std::int64_t> y{std::numeric_limits<std::int64_t>::max(), -1};
    GANG_OK(c.all_reduce(std::span{y}, reduction::sum, plenty));
    const auto n = static_cast<std::uint64_t>(c.size());
    GANG_CHECK(static_cast<std::uint64_t>(y[0]) == n * 0x7fffffffffffffffULL && y[1] == -c.size(), "sum");
    return std::string{};
  });
}

INSTANTIATE_TEST_SUITE_P(gangs, collectives, ::testing::Combine(::testing::Values(backend::shared_memory, backend::gloo), ::testing::Values(1, 2, 3, 4)),
                         [](const auto& p) {
                           return std::string{name_of_param(std::get<0>(p.param))} + "_of_" + std::to_string(std::get<1>(p.param));
                         });

TEST(shared_memory_arena, is_zeroed_aligned_and_bounded) {
  gang_of_processes gang{2, backend::shared_memory, 1, 1 << 20};
  gang.run_joined([](communicator& c) {
    auto first = c.allocate(5000);
    GANG_CHECK(first && reinterpret_cast<std::uintptr_t>(first->data()) % 4096 == 0, "aligned");
    GANG_CHECK(std::all_of(first->begin(), first->end(), [](std::byte b) { return b == std::byte{0}; }), "zeroed");
    auto second = c.allocate((1 << 20) - 8192);
    GANG_CHECK(second && second->data() == first->data() + 8192, "the rest");
    const auto none = c.allocate(1);
    GANG_CHECK(!none && none.error().code == errc::no_capacity, "no more");
    GANG_CHECK(!c.allocate(~std::size_t{0}), "no overflow");
    return std::string{};
  });
}

} // namespace
} // namespace flywheel::testing
