// Ranks of one host through shared memory. Each rank combines its own part of the array from all ranks' memory, always in the order of the
// ranks, and writes the result wherever it is wanted: all cores and the whole memory bandwidth are used, nothing is sent.
//
// Three ways, picked alike on all ranks because they see the same posted calls:
//   eager     small arrays are posted with the call; everybody combines everything by itself: one signal
//   in place  all arrays are in arenas: each rank works on its peers' arrays directly: two signals
//   staged    any memory, in blocks that stay in the cache, through two staging halves used in turn
//
// Signals: a rank counts up its phase after its writes (release) and waits until its peers' phases have come as far (acquire).
// It spins briefly, then sleeps on the peer's phase as a futex, and every few milliseconds looks whether somebody died.

#include "nccl/backends.hpp"
#include "nccl/element_reduce.hpp"
#include "nccl/shared_segment.hpp"

#include <algorithm>
#include <cstring>

#include <linux/futex.h>
#include <poll.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace flywheel::nccl {
namespace {

constexpr std::int64_t look_around_ns = 5'000'000; ///< how late a death or an abort is noticed at most, while waiting
constexpr int spins_max = 4000;                    ///< about 50 us; a small collective is over by then

int futex(std::atomic<std::uint32_t>& word, int op, std::uint32_t value, const timespec* timeout) {
  return static_cast<int>(::syscall(SYS_futex, &word, op, value, timeout, nullptr, 0));
}

void wake(rank_slot& slot) { futex(slot.phase, FUTEX_WAKE, 1U << 30U, nullptr); }

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

class communicator_shared final : public communicator {
public:
  communicator_shared(const gang_record& record, shared_segment segment)
      : communicator(record), segment_(std::move(segment)), ranks_(static_cast<std::size_t>(size())),
        spins_(std::thread::hardware_concurrency() >= ranks_ ? spins_max : 0) {}

  ~communicator_shared() override {
    me().left.store(1, std::memory_order_release);
    wake(me());
  }
  result<std::span<std::byte>> allocate(std::size_t bytes) override;
  /// The gang's first meeting point.
  std::optional<gang_failure> meet(mono_time deadline) { return reach(next_point(), deadline); }

protected:
  std::optional<gang_failure> run(const collective_call& call, mono_time deadline) override;
  void interrupt(const gang_failure& why) noexcept override { (void)declare(why); }

private:
  using failed = std::optional<gang_failure>;
  std::uint32_t next_point() { return ++point_; }
  rank_slot& me() const { return segment_.slot(rank()); }

  failed reach(std::uint32_t point, mono_time deadline);
  failed wait_for(int peer, std::uint32_t point, mono_time deadline);
  failed look_around(std::uint32_t point);
  failed declare(gang_failure f) noexcept;
  failed current() const noexcept;

  std::uint64_t offset_in_arena(const array_view& data) const;
  const posted_call& posted(int peer, std::uint64_t sequence) const { return segment_.slot(peer).calls[sequence % 2]; }
  failed check_posted(const collective_call& call, bool& in_place);

  void eager(const collective_call& call);
  failed in_place(const collective_call& call, mono_time deadline);
  failed staged(const collective_call& call, mono_time deadline);
  shard part(const collective_call& call, std::size_t r) const { return shard_of(call.data.count, ranks_, r); }
  /// Combines `count` elements; source(r) says where rank r's are.
  template <class Source> void combine(const collective_call& call, Source source, std::span<void* const> targets, std::size_t count);

  shared_segment segment_;
  const std::size_t ranks_;
  const int spins_;
  std::uint32_t point_ = 0;
  std::uint64_t allocated_ = 0;
};

std::byte* at(const array_view& data, std::size_t element_index) {
  return static_cast<std::byte*>(data.data) + element_index * bytes_of(data.type);
}

// ---- signals ----

communicator_shared::failed communicator_shared::current() const noexcept {
  const auto word = segment_.failure_word().load(std::memory_order_acquire);
  return word == 0 ? failed{} : failed{unpack(word)};
}

/// Makes `f` the gang's failure unless there is one, and wakes everybody. Returns what holds.
communicator_shared::failed communicator_shared::declare(gang_failure f) noexcept {
  std::uint64_t none = 0;
  const bool first = segment_.failure_word().compare_exchange_strong(none, pack(f), std::memory_order_acq_rel);
  for (int r = 0; r < size(); ++r)
    wake(segment_.slot(r));
  return first ? failed{std::move(f)} : current();
}

/// A peer that died or left before it reached `point`, if there is one.
communicator_shared::failed communicator_shared::look_around(std::uint32_t point) {
  for (int r = 0; r < size(); ++r) {
    if (r == rank())
      continue;
    const auto& peer = segment_.slot(r);
    pollfd process{segment_.exit_fd(r), POLLIN, 0};
    const bool left = peer.left.load(std::memory_order_acquire) != 0;
    if (!left && ::poll(&process, 1, 0) <= 0)
      continue;
    if (static_cast<std::int32_t>(peer.phase.load(std::memory_order_acquire) - point) >= 0)
      continue; // it did its part before it ended
    return declare({failure_kind::peer_lost, r, rank(), sequence(),
                    "process " + std::to_string(peer.pid) + (left ? " left the gang after" : " ended in") + " its collective " +
                        std::to_string(peer.sequence.load())});
  }
  return {};
}

communicator_shared::failed communicator_shared::wait_for(int peer, std::uint32_t point, mono_time deadline) {
  auto& slot = segment_.slot(peer);
  const auto is_there = [&] { return static_cast<std::int32_t>(slot.phase.load(std::memory_order_acquire) - point) >= 0; };
  for (int i = 0; i < spins_; ++i) {
    if (is_there())
      return {};
    relax();
  }
  while (!is_there()) {
    if (auto f = current())
      return f;
    const auto left = deadline - system_clock().mono();
    if (left.count() <= 0) {
      if (auto f = look_around(point))
        return f;
      return declare({failure_kind::timed_out, peer, rank(), sequence(), "it was in its collective " + std::to_string(slot.sequence.load())});
    }
    const timespec slice{0, std::min<std::int64_t>(left.count(), look_around_ns)};
    // Announce, look again, sleep: whoever counts up after the look sees the announcement (both sequentially consistent).
    slot.waiters.fetch_add(1, std::memory_order_seq_cst);
    const auto seen = slot.phase.load(std::memory_order_seq_cst);
    if (static_cast<std::int32_t>(seen - point) < 0)
      futex(slot.phase, FUTEX_WAIT, seen, &slice);
    slot.waiters.fetch_sub(1, std::memory_order_seq_cst);
    if (!is_there())
      if (auto f = look_around(point))
        return f;
  }
  return {};
}

communicator_shared::failed communicator_shared::reach(std::uint32_t point, mono_time deadline) {
  me().phase.store(point, std::memory_order_seq_cst);
  if (me().waiters.load(std::memory_order_seq_cst) != 0)
    wake(me());
  for (int r = 0; r < size(); ++r)
    if (r != rank())
      if (auto f = wait_for(r, point, deadline))
        return f;
  return {};
}

// ---- memory ----

result<std::span<std::byte>> communicator_shared::allocate(std::size_t bytes) {
  constexpr std::uint64_t page = 4096;
  const auto capacity = segment_.header().arena_bytes;
  if (bytes > capacity - allocated_)
    return error{errc::no_capacity, std::to_string(bytes) + " bytes of shared memory; " + std::to_string(capacity - allocated_) +
                                        " of the arena's " + std::to_string(capacity) + " are left",
                 "gang " + record().gang, "give the gang record larger arena_bytes"};
  std::byte* found = segment_.arena(rank()) + allocated_;
  allocated_ = std::min(capacity, (allocated_ + bytes + page - 1) / page * page);
  return std::span{found, bytes};
}

std::uint64_t communicator_shared::offset_in_arena(const array_view& data) const {
  const auto start = reinterpret_cast<std::uintptr_t>(segment_.arena(rank())), a = reinterpret_cast<std::uintptr_t>(data.data);
  const auto capacity = segment_.header().arena_bytes;
  return a >= start && a - start <= capacity && data.bytes() <= capacity - (a - start) ? a - start : not_in_arena;
}

// ---- collectives ----

std::optional<gang_failure> communicator_shared::run(const collective_call& call, mono_time deadline) {
  if (auto f = current())
    return f;
  const bool small = call.data.bytes() <= eager_bytes_max;
  me().sequence.store(call.sequence, std::memory_order_relaxed);
  me().calls[call.sequence % 2] = {call.sequence, call.data.count, offset_in_arena(call.data), call.what, call.data.type, call.op, call.root};
  if (small && call.data.count != 0)
    std::memcpy(segment_.eager(rank(), call.sequence % 2), call.data.data, call.data.bytes());
  if (auto f = reach(next_point(), deadline))
    return f;
  bool all_in_arenas = true;
  if (auto f = check_posted(call, all_in_arenas))
    return f;
  if (call.what == collective::barrier || call.data.count == 0)
    return {};
  if (small) {
    eager(call);
    return {};
  }
  return all_in_arenas ? in_place(call, deadline) : staged(call, deadline);
}

communicator_shared::failed communicator_shared::check_posted(const collective_call& call, bool& in_place) {
  for (int r = 0; r < size(); ++r) {
    const auto& p = posted(r, call.sequence);
    if (p.sequence != call.sequence || p.what != call.what || p.count != call.data.count || p.type != call.data.type ||
        p.op != call.op || p.root != call.root)
      return declare({failure_kind::mismatch, r, rank(), call.sequence,
                      std::string{name_of(p.what)} + " of " + std::to_string(p.count) + " " + std::string{name_of(p.type)} + " with " +
                          std::string{name_of(p.op)} + ", root " + std::to_string(p.root) + " there; " +
                          std::string{name_of(call.what)} + " of " + std::to_string(call.data.count) + " " +
                          std::string{name_of(call.data.type)} + " with " + std::string{name_of(call.op)} + ", root " +
                          std::to_string(call.root) + " here"});
    if (p.offset == not_in_arena || p.offset > segment_.header().arena_bytes ||
        call.data.bytes() > segment_.header().arena_bytes - p.offset)
      in_place = false;
  }
  return {};
}

template <class Source>
void communicator_shared::combine(const collective_call& call, Source source, std::span<void* const> targets, std::size_t count) {
  std::array<const void*, ranks_max> sources;
  for (std::size_t r = 0; r < ranks_; ++r)
    sources[r] = source(static_cast<int>(r));
  reduce_in_order(call.data.type, call.op, std::span{sources}.first(ranks_), targets, count);
}

void communicator_shared::eager(const collective_call& call) {
  const auto from = [&](int r, std::size_t element_index) {
    return segment_.eager(r, call.sequence % 2) + element_index * bytes_of(call.data.type);
  };
  switch (call.what) {
  case collective::all_reduce: case collective::reduce_scatter: {
    const auto all = shard{0, call.data.count};
    const auto wanted = call.what == collective::all_reduce ? all : own_shard(call.data.count);
    void* const target = at(call.data, wanted.begin);
    combine(call, [&](int r) { return from(r, wanted.begin); }, {&target, 1}, wanted.size());
    return;
  }
  case collective::all_gather:
    for (std::size_t r = 0; r < ranks_; ++r)
      if (const auto p = part(call, r); p.size() != 0)
        std::memcpy(at(call.data, p.begin), from(static_cast<int>(r), p.begin), p.size() * bytes_of(call.data.type));
    return;
  case collective::broadcast: std::memcpy(call.data.data, from(call.root, 0), call.data.bytes()); return;
  case collective::barrier: case collective::join: return;
  }
}

communicator_shared::failed communicator_shared::in_place(const collective_call& call, mono_time deadline) {
  const auto of = [&](int r, std::size_t element_index) {
    return segment_.arena(r) + posted(r, call.sequence).offset + element_index * bytes_of(call.data.type);
  };
  const auto mine = own_shard(call.data.count);
  switch (call.what) {
  case collective::all_reduce: {
    std::array<void*, ranks_max> targets;
    for (std::size_t r = 0; r < ranks_; ++r)
      targets[r] = of(static_cast<int>(r), mine.begin);
    combine(call, [&](int r) { return of(r, mine.begin); }, std::span{targets}.first(ranks_), mine.size());
    break;
  }
  case collective::reduce_scatter: {
    void* const target = at(call.data, mine.begin);
    combine(call, [&](int r) { return of(r, mine.begin); }, {&target, 1}, mine.size());
    break;
  }
  case collective::all_gather:
    for (std::size_t r = 0; r < ranks_; ++r)
      if (const auto p = part(call, r); static_cast<int>(r) != rank() && p.size() != 0)
        std::memcpy(at(call.data, p.begin), of(static_cast<int>(r), p.begin), p.size() * bytes_of(call.data.type));
    break;
  case collective::broadcast:
    if (call.root != rank())
      std::memcpy(call.data.data, of(call.root, 0), call.data.bytes());
    break;
  case collective::barrier: case collective::join: break;
  }
  return reach(next_point(), deadline); // until then a peer may still read or write here
}

/// Round k moves block k of every part. The half of round k is written again in round k + 2; a rank gets there only after its
/// peers have begun round k + 1, that is, have read all of round k.
communicator_shared::failed communicator_shared::staged(const collective_call& call, mono_time deadline) {
  const std::size_t width = bytes_of(call.data.type);
  const std::size_t block = std::max<std::size_t>(64, stage_half_bytes / ranks_ / 64 * 64) / width; // elements; 256 ranks: 1 KiB
  const std::size_t longest = part(call, 0).size();
  const auto slice = [&](std::size_t r, std::size_t round) { // block `round` of part r
    const auto p = part(call, r);
    const auto begin = std::min(p.end, p.begin + round * block);
    return shard{begin, std::min(p.end, begin + block)};
  };
  const auto self = static_cast<std::size_t>(rank());
  for (std::size_t round = 0; round * block < longest; ++round) {
    const auto on_stage = [&](std::size_t of_rank, std::size_t part_index) {
      return segment_.stage(static_cast<int>(of_rank), round % 2) + part_index * block * width;
    };
    const auto put = [&](std::size_t r) {
      if (const auto s = slice(r, round); s.size() != 0)
        std::memcpy(on_stage(self, r), at(call.data, s.begin), s.size() * width);
    };
    const auto fetch = [&](std::size_t r, std::size_t from) {
      if (const auto s = slice(r, round); s.size() != 0)
        std::memcpy(at(call.data, s.begin), on_stage(from, r), s.size() * width);
    };
    const bool reduces = call.what == collective::all_reduce || call.what == collective::reduce_scatter;
    for (std::size_t r = 0; r < ranks_; ++r)
      if (reduces ? r != self : call.what == collective::all_gather ? r == self : rank() == call.root)
        put(r);
    if (auto f = reach(next_point(), deadline))
      return f;
    if (reduces) {
      const auto s = slice(self, round);
      const std::array<void*, 2> targets{at(call.data, s.begin), on_stage(self, self)};
      const bool spread = call.what == collective::all_reduce;
      if (s.size() != 0)
        combine(call, [&](int r) { return r == rank() ? at(call.data, s.begin) : on_stage(static_cast<std::size_t>(r), self); },
                std::span{targets}.first(spread ? 2 : 1), s.size());
      if (!spread)
        continue;
      if (auto f = reach(next_point(), deadline))
        return f;
    }
    for (std::size_t r = 0; r < ranks_; ++r)
      if (call.what == collective::broadcast ? rank() != call.root : r != self)
        fetch(r, call.what == collective::broadcast ? static_cast<std::size_t>(call.root) : r);
  }
  return {};
}

} // namespace

result<std::unique_ptr<communicator>> join_shared(const gang_record& record, mono_time deadline) {
  FLYWHEEL_TRY(auto segment, shared_segment::join(record, deadline));
  auto joined = std::make_unique<communicator_shared>(record, std::move(segment));
  if (const auto f = joined->meet(deadline))
    return error{code_of(f->kind), "rank " + std::to_string(f->rank) + " did not finish the meeting: " + std::string{name_of(f->kind)} + " " + f->what};
  return std::unique_ptr<communicator>{std::move(joined)};
}

} // namespace flywheel::nccl
