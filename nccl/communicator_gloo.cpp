// Ranks on several hosts over TCP. Gloo connects the ranks and moves bytes; who sends what, and the arithmetic, are ours: each
// rank receives its part from all others, combines it in the order of the ranks and sends the result to all. That moves as many
// bytes as a ring (2 (n-1)/n of the array in and out of each rank) and gives the same bits as every other CPU backend.
//
// Large arrays go in pieces, so that the memory for received parts stays bounded.
//
// Gloo tells that a connection broke, not why. Ranks therefore leave the first failure in the gang's folder before they close
// their connections, and whoever sees one break looks there first: survivors name the rank that died, not each other.

#include "nccl/backends.hpp"
#include "nccl/element_reduce.hpp"
#include "nccl/rendezvous.hpp"
#include "nccl/shared_segment_format.hpp" // pack, unpack

#include <gloo/common/error.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/rendezvous/prefix_store.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/transport/unbound_buffer.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <thread>

#include <fcntl.h>
#include <sys/file.h>

namespace flywheel::nccl {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr std::size_t piece_bytes = 4 * 1024 * 1024;         ///< of the array, at once
constexpr nanoseconds board_patience{100'000'000};           ///< how long the cause of a broken connection may take to appear
constexpr nanoseconds late_patience{500'000'000};            ///< how much later another rank's deadline may end than ours
constexpr nanoseconds gone_patience{250'000'000};            ///< how long a collective may still run after a rank has gone
constexpr std::uint64_t any_slot = 1;                        ///< messages between two ranks keep their order; one slot is enough

/// The exceptions of Gloo end here.
template <class F> status guarded(std::string_view what, F f) {
  try {
    f();
    return success();
  } catch (const std::exception& e) {
    return error{errc::library_failed, "Gloo, " + std::string{what} + ": " + e.what()};
  }
}

milliseconds left_until(mono_time deadline) {
  return std::max(milliseconds{1}, std::chrono::ceil<milliseconds>(deadline - system_clock().mono()));
}

/// Gloo writes to sockets without MSG_NOSIGNAL: the death of a peer would end this process too. A handler of the program's own stays.
void survive_broken_pipes() {
  struct sigaction now {};
  if (::sigaction(SIGPIPE, nullptr, &now) == 0 && (now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == SIG_DFL) {
    now.sa_handler = SIG_IGN;
    ::sigaction(SIGPIPE, &now, nullptr);
  }
}

/// A file "rank-N" that this process holds locked, for as long as the descriptor is open.
result<descriptor> announce(const fs::path& board, int rank) {
  const auto path = (board / ("rank-" + std::to_string(rank))).string(), fresh = path + ".new";
  descriptor file{::open(fresh.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!file || ::flock(file.get(), LOCK_EX | LOCK_NB) != 0 || ::rename(fresh.c_str(), path.c_str()) != 0)
    return error_from_errno(errno, "announce " + path);
  return file;
}

struct free_memory {
  void operator()(std::byte* p) const { std::free(p); }
};
using page_memory = std::unique_ptr<std::byte, free_memory>;
page_memory make_memory(std::size_t bytes) {
  constexpr std::size_t page = 4096;
  return page_memory{static_cast<std::byte*>(std::aligned_alloc(page, (bytes + page - 1) / page * page))};
}

class communicator_gloo final : public communicator {
public:
  communicator_gloo(const gang_record& r, fs::path board, std::vector<descriptor> presence, std::shared_ptr<::gloo::rendezvous::Context> context)
      : communicator(r), board_(std::move(board)), presence_(std::move(presence)), context_(std::move(context)), ranks_(static_cast<std::size_t>(size())), greetings_(ranks_),
        reader_([this] { read_board(); }) {}
  ~communicator_gloo() override {
    ending_ = true;
    reader_.join();
    close();
    std::error_code ignored;
    if (rank() == 0) // what the others may still want to read is one small file; the launcher removes the folder
      fs::remove_all(board_ / "store", ignored);
  }
  result<std::span<std::byte>> allocate(std::size_t bytes) override;

protected:
  std::optional<gang_failure> run(const collective_call& call, mono_time deadline) override;
  void interrupt(const gang_failure& why) noexcept override;

private:
  using failed = std::optional<gang_failure>;
  using buffer = std::unique_ptr<::gloo::transport::UnboundBuffer>;
  struct transfer {
    int peer = 0;
    bool incoming = false;
    buffer bytes;
  };

  void send(int peer, const void* data, std::size_t bytes);
  void receive(int peer, void* data, std::size_t bytes);
  failed complete(mono_time deadline);
  failed exchange(const collective_call& call, const array_view& piece, std::size_t first, mono_time deadline);
  failed greet(const collective_call& call, mono_time deadline);
  failed declare(const gang_failure& f) noexcept;
  failed timed_out(int peer) noexcept;
  failed cause_of_broken(int peer, std::string what) noexcept;
  void close() noexcept;
  void read_board();
  void look_for_the_gone();
  void abort_waits() noexcept;
  /// What the board says, if something, since this communicator was made.
  failed on_board() const noexcept {
    const auto word = board_word_.load(std::memory_order_acquire);
    return word == 0 ? failed{} : failed{unpack(word)};
  }

  const fs::path board_; ///< this generation's folder
  const std::vector<descriptor> presence_; ///< by rank: each locks its own, and the kernel unlocks it when the process ends
  std::shared_ptr<::gloo::rendezvous::Context> context_;
  const std::size_t ranks_;
  std::vector<page_memory> allocated_;
  page_memory received_;
  std::size_t received_bytes_ = 0;
  std::mutex mutex_; ///< guards transfers_ against interrupt()
  std::vector<transfer> transfers_;
  bool closed_ = false;
  int starting_with_ = -1; ///< the peer of the transfer begun last
  // Members, not locals: a transfer that is under way when another one fails still uses them until close().
  posted_call greeting_;
  std::vector<posted_call> greetings_;
  std::atomic<std::uint64_t> board_word_{0};
  std::atomic<bool> ending_{false};
  std::atomic<std::uint64_t> running_{0}; ///< sequence of the collective under way; 0: none
  std::uint64_t gone_during_ = 0;         ///< of the reader
  std::optional<mono_time> gone_since_;   ///< of the reader
  std::thread reader_; ///< last: it uses the others
};

std::byte* at(const array_view& data, std::size_t element_index) {
  return static_cast<std::byte*>(data.data) + element_index * bytes_of(data.type);
}

result<std::span<std::byte>> communicator_gloo::allocate(std::size_t bytes) {
  auto fresh = make_memory(std::max<std::size_t>(bytes, 1));
  if (!fresh)
    return error{errc::out_of_memory, std::to_string(bytes) + " bytes for a gang's array"};
  std::memset(fresh.get(), 0, bytes);
  allocated_.push_back(std::move(fresh));
  return std::span{allocated_.back().get(), bytes};
}

// ---- failure ----

communicator_gloo::failed communicator_gloo::declare(const gang_failure& f) noexcept {
  const auto found = put_first(board_, "failure", std::to_string(pack(f)));
  std::uint64_t word = 0;
  if (!found || std::from_chars(found->data(), found->data() + found->size(), word).ec != std::errc{} || word == pack(f))
    return f;
  return unpack(word);
}

/// `peer` did not come in time. It may itself wait for somebody, and then says so, as we do: the last one of that chain is late.
communicator_gloo::failed communicator_gloo::timed_out(int peer) noexcept {
  (void)put_first(board_, "late-" + std::to_string(rank()), std::to_string(peer)).has_value();
  for (int hops = 0; hops < size(); ++hops) {
    const auto next = await_value(board_, "late-" + std::to_string(peer), system_clock().mono() + late_patience);
    int waits_for = -1;
    if (!next || std::from_chars(next->data(), next->data() + next->size(), waits_for).ec != std::errc{} || waits_for < 0 || waits_for >= size())
      break;
    peer = waits_for;
  }
  return declare({failure_kind::timed_out, peer, rank(), sequence(), {}});
}

/// A connection broke: somebody died, or somebody left because of what is on the board, or soon will be.
communicator_gloo::failed communicator_gloo::cause_of_broken(int peer, std::string what) noexcept {
  auto found = await_value(board_, "failure", system_clock().mono() + board_patience);
  if (const auto late = look_up(board_, "late-" + std::to_string(peer)); !found && late && *late)
    found = await_value(board_, "failure", system_clock().mono() + 2 * late_patience);
  std::uint64_t word = 0;
  if (found && std::from_chars(found->data(), found->data() + found->size(), word).ec == std::errc{})
    return unpack(word);
  return declare({failure_kind::peer_lost, peer, rank(), sequence(), std::move(what)});
}

void communicator_gloo::close() noexcept {
  if (!std::exchange(closed_, true))
    (void)guarded("close", [&] { context_->closeConnections(); }).ok(); // first: then nothing is written to arrays any more
  const std::lock_guard lock{mutex_};
  transfers_.clear();
}

/// A rank that waits for one peer learns here what happened to another, at the latest after 50 ms.
void communicator_gloo::read_board() {
  const auto watch = folder_watch::on(board_);
  while (watch && !ending_) {
    std::uint64_t word = 0;
    if (const auto found = look_up(board_, "failure"); found && *found &&
                                                       std::from_chars((*found)->data(), (*found)->data() + (*found)->size(), word).ec == std::errc{} && word != 0) {
      board_word_.store(word, std::memory_order_release);
      return abort_waits();
    }
    look_for_the_gone();
    watch->wait(system_clock().mono() + board_patience);
  }
}

/// Gloo misses the end of a connection now and then (2 of 100 kills here); the kernel does not miss the end of a lock. A rank may also
/// have left because all is done: only a collective that still runs a while later lacks something.
void communicator_gloo::look_for_the_gone() {
  const auto now = system_clock().mono();
  const auto running = running_.load();
  if (running != gone_during_ || running == 0) {
    gone_during_ = running;
    gone_since_.reset();
  }
  for (int r = 0; r < size() && running != 0; ++r) {
    const int file = presence_[static_cast<std::size_t>(r)].get();
    if (r == rank() || ::flock(file, LOCK_SH | LOCK_NB) != 0)
      continue;
    ::flock(file, LOCK_UN);
    if (!gone_since_)
      gone_since_ = now;
    else if (now - *gone_since_ >= gone_patience)
      (void)declare({failure_kind::peer_lost, r, rank(), running, "its process ended, or it left the gang"});
    return;
  }
}

void communicator_gloo::interrupt(const gang_failure& why) noexcept {
  (void)declare(why);
  abort_waits();
}

void communicator_gloo::abort_waits() noexcept {
  const std::lock_guard lock{mutex_};
  for (auto& t : transfers_)
    if (t.incoming)
      t.bytes->abortWaitRecv();
    else
      t.bytes->abortWaitSend();
}

// ---- moving bytes ----

void communicator_gloo::send(int peer, const void* data, std::size_t bytes) {
  if (bytes == 0)
    return;
  auto b = context_->createUnboundBuffer(const_cast<void*>(data), bytes);
  starting_with_ = peer;
  b->send(peer, any_slot);
  const std::lock_guard lock{mutex_};
  transfers_.push_back({peer, false, std::move(b)});
}

void communicator_gloo::receive(int peer, void* data, std::size_t bytes) {
  if (bytes == 0)
    return;
  auto b = context_->createUnboundBuffer(data, bytes);
  starting_with_ = peer;
  b->recv(peer, any_slot);
  const std::lock_guard lock{mutex_};
  transfers_.push_back({peer, true, std::move(b)});
}

/// Waits for all transfers begun since the last time.
communicator_gloo::failed communicator_gloo::complete(mono_time deadline) {
  for (std::size_t i = 0; i < transfers_.size(); ++i) { // only this thread adds and removes
    auto& t = transfers_[i];
    if (is_interrupted())
      return failure();
    if (auto f = on_board())
      return f;
    try {
      const bool whole = t.incoming ? t.bytes->waitRecv(left_until(deadline)) : t.bytes->waitSend(left_until(deadline));
      if (!whole)
        return is_interrupted() ? failure() : on_board();
    } catch (const std::exception& e) {
      if (is_interrupted())
        return failure();
      if (system_clock().mono() >= deadline)
        return timed_out(t.peer);
      return cause_of_broken(t.peer, e.what());
    }
  }
  const std::lock_guard lock{mutex_};
  transfers_.clear();
  return {};
}

std::optional<gang_failure> communicator_gloo::run(const collective_call& call, mono_time deadline) {
  running_ = call.sequence;
  failed outcome;
  auto thrown = guarded(name_of(call.what), [&] {
    outcome = greet(call, deadline);
    const std::size_t step = std::max<std::size_t>(1, piece_bytes / bytes_of(call.data.type));
    // Pieces cut every part alike, so that reduce_scatter leaves each rank its own part of the whole array.
    const std::size_t longest = shard_of(call.data.count, ranks_, 0).size();
    const std::size_t each = std::max<std::size_t>(1, step / ranks_);
    for (std::size_t first = 0; first < longest && !outcome; first += each)
      outcome = exchange(call, array_view{call.data.data, each, call.data.type}, first, deadline);
  });
  if (!thrown && !outcome)
    outcome = cause_of_broken(starting_with_, thrown.error().what); // a transfer could not even begin
  running_ = 0;
  if (outcome)
    close(); // the peers notice at once
  return outcome;
}

/// All ranks exchange what they are about to do. This is also the barrier.
communicator_gloo::failed communicator_gloo::greet(const collective_call& call, mono_time deadline) {
  const auto& mine = greeting_ = {call.sequence, call.data.count, 0, call.what, call.data.type, call.op, call.root};
  for (int r = 0; r < size(); ++r)
    if (r != rank()) {
      receive(r, &greetings_[static_cast<std::size_t>(r)], sizeof(posted_call));
      send(r, &mine, sizeof(posted_call));
    }
  if (auto f = complete(deadline))
    return f;
  for (int r = 0; r < size(); ++r) {
    const auto& p = greetings_[static_cast<std::size_t>(r)];
    if (r != rank() && (p.sequence != mine.sequence || p.what != mine.what || p.count != mine.count || p.type != mine.type ||
                        p.op != mine.op || p.root != mine.root))
      return declare({failure_kind::mismatch, r, rank(), call.sequence, std::string{name_of(p.what)} + " there"});
  }
  return {};
}

/// Elements [first, first + piece.count) of each part.
communicator_gloo::failed communicator_gloo::exchange(const collective_call& call, const array_view& piece, std::size_t first,
                                                      mono_time deadline) {
  const std::size_t width = bytes_of(call.data.type);
  const auto slice = [&](int r) {
    const auto p = shard_of(call.data.count, ranks_, static_cast<std::size_t>(r));
    const auto begin = std::min(p.end, p.begin + first);
    return shard{begin, std::min(p.end, begin + piece.count)};
  };
  const auto mine = slice(rank());
  if (call.what == collective::broadcast) {
    for (int part = 0; part < size(); ++part)
      for (int r = 0; r < size(); ++r) {
        if (rank() == call.root && r != call.root)
          send(r, at(call.data, slice(part).begin), slice(part).size() * width);
        else if (rank() != call.root && r == call.root)
          receive(r, at(call.data, slice(part).begin), slice(part).size() * width);
      }
    return complete(deadline);
  }
  if (call.what == collective::all_reduce || call.what == collective::reduce_scatter) {
    if (const auto wanted = ranks_ * mine.size() * width; wanted > received_bytes_) {
      received_ = make_memory(wanted);
      received_bytes_ = received_ ? wanted : 0;
      if (!received_)
        return declare({failure_kind::library, rank(), rank(), call.sequence, "no memory for received parts"});
    }
    std::array<const void*, ranks_max> sources{};
    for (int r = 0; r < size(); ++r) {
      std::byte* place = received_.get() + static_cast<std::size_t>(r) * mine.size() * width;
      sources[static_cast<std::size_t>(r)] = r == rank() ? at(call.data, mine.begin) : place;
      if (r == rank())
        continue;
      receive(r, place, mine.size() * width);
      send(r, at(call.data, slice(r).begin), slice(r).size() * width);
    }
    if (auto f = complete(deadline))
      return f;
    void* const target = at(call.data, mine.begin);
    if (mine.size() != 0)
      reduce_in_order(call.data.type, call.op, std::span{sources}.first(ranks_), {&target, 1}, mine.size());
  }
  if (call.what == collective::all_reduce || call.what == collective::all_gather) {
    for (int r = 0; r < size(); ++r)
      if (r != rank()) {
        receive(r, at(call.data, slice(r).begin), slice(r).size() * width);
        send(r, at(call.data, mine.begin), mine.size() * width);
      }
    return complete(deadline);
  }
  return {};
}

} // namespace

result<std::unique_ptr<communicator>> join_gloo(const gang_record& record, mono_time deadline) {
  const fs::path board = fs::path{record.folder} / (record.gang + "-" + std::to_string(record.generation));
  std::error_code failed;
  fs::create_directories(board / "store", failed);
  if (failed)
    return error{errc::io_failed, "make " + board.string() + ": " + failed.message()};
  // Each rank locks the file of its presence before the file gets its name.
  FLYWHEEL_TRY(auto presence, announce(board, record.rank));
  // Who is missing is known by name before Gloo starts to wait for everybody.
  for (int r = 0; r < record.size(); ++r)
    if (auto there = await_value(board, "rank-" + std::to_string(r), deadline); !there) {
      if (there.error().code != errc::timed_out)
        return std::move(there).error();
      return error{errc::timed_out, "rank " + std::to_string(r) + " did not come"};
    }
  std::vector<descriptor> all_present;
  for (int r = 0; r < record.size(); ++r) {
    const auto path = board / ("rank-" + std::to_string(r));
    all_present.push_back(r == record.rank ? std::move(presence) : descriptor{::open(path.c_str(), O_RDONLY | O_CLOEXEC)});
    if (!all_present.back())
      return error_from_errno(errno, "open " + path.string());
  }
  survive_broken_pipes();
  std::shared_ptr<::gloo::rendezvous::Context> context;
  auto connected = guarded("connect", [&] {
    ::gloo::transport::tcp::attr where;
    where.hostname = record.members[static_cast<std::size_t>(record.rank)].host;
    auto device = ::gloo::transport::tcp::CreateDevice(where);
    ::gloo::rendezvous::FileStore store{(board / "store").string()};
    context = std::make_shared<::gloo::rendezvous::Context>(record.rank, record.size());
    context->setTimeout(left_until(deadline));
    if (record.size() > 1)
      context->connectFullMesh(store, device);
  });
  if (!connected) {
    const bool late = system_clock().mono() >= deadline;
    return error{late ? errc::timed_out : errc::library_failed, connected.error().what};
  }
  auto joined = std::make_unique<communicator_gloo>(record, board, std::move(all_present), std::move(context));
  return std::unique_ptr<communicator>{std::move(joined)};
}

} // namespace flywheel::nccl
