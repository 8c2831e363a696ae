#include "cluster/gang/rank_board.hpp"

#include "cluster/base/text.hpp"

#include <bit>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <fcntl.h>
#include <limits>
#include <new>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace flywheel {
namespace {

constexpr auto relaxed = std::memory_order_relaxed;

board_words* map(int fd) {
  void* at = ::mmap(nullptr, rank_board_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return at == MAP_FAILED ? nullptr : static_cast<board_words*>(at);
}

std::uint64_t now_ns() { return static_cast<std::uint64_t>(system_clock().mono().ns); }

} // namespace

result<rank_board> rank_board::create(int rank, std::uint64_t attempt) {
  rank_board b;
  b.file_ = owned_fd{::memfd_create("flywheel-rank-board", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  if (!b.file_ || ::ftruncate(b.fd(), rank_board_bytes) != 0 || ::fcntl(b.fd(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return error_from_errno(errno, "making the board of rank " + std::to_string(rank));
  b.page_ = map(b.fd());
  if (b.page_ == nullptr)
    return error_from_errno(errno, "mapping the board of rank " + std::to_string(rank));
  b.rank_ = rank;
  b.attempt_ = attempt;
  new (b.page_) board_words{};
  b.page_->magic = rank_board_magic;
  b.page_->version = rank_board_version;
  b.page_->rank = static_cast<std::uint32_t>(rank);
  b.page_->attempt = attempt;
  b.page_->loss.store(std::bit_cast<std::uint64_t>(std::numeric_limits<double>::quiet_NaN()), relaxed);
  return b;
}

rank_board::rank_board(rank_board&& other) noexcept
    : file_(std::move(other.file_)), page_(std::exchange(other.page_, nullptr)), rank_(other.rank_), attempt_(other.attempt_) {}

rank_board::~rank_board() {
  if (page_ != nullptr)
    ::munmap(page_, rank_board_bytes);
}

result<rank_report> rank_board::read(int ranks, mono_time now) const { return read_board(*page_, rank_, attempt_, ranks, now); }
std::uint64_t rank_board::changes() const noexcept { return page_->sequence.load(std::memory_order_acquire); }

result<rank_reporter> rank_reporter::from_environment() {
  const char* path = std::getenv(rank_board_variable);
  return open(path == nullptr ? "" : path);
}

result<rank_reporter> rank_reporter::open(const std::string& path) {
  rank_reporter r;
  if (path.empty()) {
    r.page_ = new board_words{};
    return r;
  }
  const auto named = std::string(rank_board_variable) + "=" + printable(path);
  const owned_fd file{::open(path.c_str(), O_RDWR | O_CLOEXEC)};
  if (!file)
    return error_from_errno(errno, "opening the board, " + named);
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || info.st_size < static_cast<off_t>(rank_board_bytes))
    return error{errc::invalid_format, "this is no rank's board: " + named};
  r.page_ = map(file.get());
  if (r.page_ == nullptr)
    return error_from_errno(errno, "mapping the board, " + named);
  r.is_mapped_ = true;
  if (r.page_->magic != rank_board_magic)
    return error{errc::invalid_format, "this is no rank's board: " + named};
  if (r.page_->version != rank_board_version)
    return error{errc::incompatible_version, "the board is of version " + std::to_string(r.page_->version) + ": " + named};
  return r;
}

rank_reporter::rank_reporter(rank_reporter&& other) noexcept
    : page_(std::exchange(other.page_, nullptr)), is_mapped_(other.is_mapped_) {}

rank_reporter::~rank_reporter() {
  if (page_ != nullptr && is_mapped_)
    ::munmap(page_, rank_board_bytes);
  else
    delete page_;
}

void rank_reporter::enter(rank_phase phase, std::uint64_t step) noexcept {
  page_->phase.store(static_cast<std::uint64_t>(phase), relaxed);
  page_->step.store(step, relaxed);
  page_->entered.store(now_ns(), relaxed);
}

void rank_reporter::starting() noexcept {
  const board_change change{*page_};
  enter(rank_phase::starting, page_->step.load(relaxed));
}

void rank_reporter::working(std::uint64_t step) noexcept {
  const board_change change{*page_};
  enter(rank_phase::working, step);
}

void rank_reporter::waiting(std::uint64_t step) noexcept {
  const board_change change{*page_};
  // After a pause the rank said working(): own time counts from there.
  const auto since = page_->entered.load(relaxed);
  const bool was_working = page_->phase.load(relaxed) == static_cast<std::uint64_t>(rank_phase::working);
  enter(rank_phase::waiting, step);
  if (was_working)
    page_->own.store(page_->entered.load(relaxed) - since, relaxed);
}

void rank_reporter::finished(std::uint64_t step, double loss) noexcept {
  const board_change change{*page_};
  enter(rank_phase::working, step + 1);
  page_->finished.store(page_->entered.load(relaxed), relaxed);
  page_->steps.store(page_->steps.load(relaxed) + 1, relaxed);
  page_->loss.store(std::bit_cast<std::uint64_t>(loss), relaxed);
}

void rank_reporter::paused() noexcept {
  const board_change change{*page_};
  enter(rank_phase::paused, page_->step.load(relaxed));
}

void rank_reporter::collective(std::uint64_t number, std::string_view name) noexcept {
  const board_change change{*page_};
  page_->collective.store(number, relaxed);
  put_name(*page_, name);
}

void rank_reporter::done() noexcept {
  const board_change change{*page_};
  enter(rank_phase::done, page_->step.load(relaxed));
}

void rank_reporter::failed(rank_fault fault, int blamed, std::string_view text) noexcept {
  const board_change change{*page_};
  enter(rank_phase::failed, page_->step.load(relaxed));
  page_->fault.store(static_cast<std::uint64_t>(fault), relaxed);
  page_->blamed.store(static_cast<std::uint64_t>(blamed + 1), relaxed);
  put_text(*page_, text);
}

} // namespace flywheel
