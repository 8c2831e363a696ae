#include "cluster/gang/rank_board_format.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace flywheel {
namespace {

static_assert(std::endian::native == std::endian::little, "a board is little endian");

constexpr auto relaxed = std::memory_order_relaxed;
constexpr std::int64_t future_max_ns = 1'000'000'000;

template <std::size_t N> void put(std::array<std::atomic<std::uint64_t>, N>& field, std::string_view text) noexcept {
  std::size_t size = std::min(text.size(), N * 8);
  if (size < text.size()) // not in the middle of a character
    while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0U) == 0x80U)
      --size;
  for (std::size_t w = 0; w < N; ++w) {
    std::uint64_t word = 0;
    if (w * 8 < size)
      std::memcpy(&word, text.data() + w * 8, std::min<std::size_t>(8, size - w * 8));
    field[w].store(word, relaxed);
  }
}

/// A copy of everything the rank writes, taken between two equal, even sequence numbers.
struct snapshot {
  std::uint64_t phase, step, entered, finished, own, steps, loss, collective, fault, blamed;
  std::array<char, board_name_bytes> name;
  std::array<char, board_text_bytes> text;
};

template <std::size_t N> void copy(const std::array<std::atomic<std::uint64_t>, N / 8>& field, std::array<char, N>& to) {
  for (std::size_t w = 0; w < N / 8; ++w) {
    const std::uint64_t word = field[w].load(relaxed);
    std::memcpy(to.data() + w * 8, &word, 8);
  }
}

std::optional<snapshot> take(const board_words& page) {
  for (int look = 0; look < 100; ++look) { // a change takes less than a microsecond
    const auto before = page.sequence.load(std::memory_order_acquire);
    if (before % 2 != 0)
      continue;
    snapshot s{};
    s.phase = page.phase.load(relaxed);
    s.step = page.step.load(relaxed);
    s.entered = page.entered.load(relaxed);
    s.finished = page.finished.load(relaxed);
    s.own = page.own.load(relaxed);
    s.steps = page.steps.load(relaxed);
    s.loss = page.loss.load(relaxed);
    s.collective = page.collective.load(relaxed);
    s.fault = page.fault.load(relaxed);
    s.blamed = page.blamed.load(relaxed);
    copy(page.name, s.name);
    copy(page.text, s.text);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (page.sequence.load(relaxed) == before)
      return s;
  }
  return std::nullopt;
}

template <std::size_t N> std::string text_of(const std::array<char, N>& field) {
  const auto end = std::find(field.begin(), field.end(), '\0');
  return printable({field.data(), static_cast<std::size_t>(end - field.begin())}, N);
}

error impossible(int rank, const std::string& what) {
  return {errc::invalid_format, "the board of rank " + std::to_string(rank) + ": " + what};
}

/// Nothing for 0; an error for times that have not come yet.
result<std::optional<mono_time>> time_of(std::uint64_t ns, mono_time now, int rank, const char* name) {
  if (ns == 0)
    return std::optional<mono_time>{};
  if (ns > static_cast<std::uint64_t>(std::max<std::int64_t>(now.ns, 0) + future_max_ns))
    return impossible(rank, std::string(name) + " is in the future");
  return std::optional{mono_time{static_cast<std::int64_t>(ns)}};
}

} // namespace

std::string_view name_of(rank_phase p) noexcept {
  switch (p) {
  case rank_phase::silent: return "silent";
  case rank_phase::starting: return "starting";
  case rank_phase::working: return "working";
  case rank_phase::waiting: return "waiting";
  case rank_phase::paused: return "paused";
  case rank_phase::done: return "done";
  case rank_phase::failed: return "failed";
  }
  return "unknown";
}

board_change::board_change(board_words& page) noexcept : page_(page), sequence_(page.sequence.load(relaxed) | 1U) {
  page_.sequence.store(sequence_, relaxed);
  std::atomic_thread_fence(std::memory_order_release); // what follows is not seen before the odd number
}
board_change::~board_change() { page_.sequence.store(sequence_ + 1, std::memory_order_release); }

void put_name(board_words& page, std::string_view name) noexcept { put(page.name, name); }
void put_text(board_words& page, std::string_view text) noexcept { put(page.text, text); }

result<rank_report> read_board(const board_words& page, int rank, std::uint64_t attempt, int ranks, mono_time now) {
  if (page.magic != rank_board_magic || page.version != rank_board_version || page.rank != static_cast<std::uint32_t>(rank) || page.attempt != attempt)
    return impossible(rank, "its head was overwritten");
  const auto s = take(page);
  if (!s)
    return error{errc::interrupted, "the board of rank " + std::to_string(rank) + " is being written"};
  if (s->phase > static_cast<std::uint64_t>(rank_phase::failed))
    return impossible(rank, "there is no phase " + std::to_string(s->phase));
  if (s->fault > static_cast<std::uint64_t>(rank_fault::peer))
    return impossible(rank, "there is no fault " + std::to_string(s->fault));
  if (s->blamed > static_cast<std::uint64_t>(ranks))
    return impossible(rank, "it blames a rank that the gang does not have");
  if (s->own > static_cast<std::uint64_t>(std::max<std::int64_t>(now.ns, 0) + future_max_ns))
    return impossible(rank, "a step took longer than the machine runs");
  rank_report r;
  FLYWHEEL_TRY(r.entered, time_of(s->entered, now, rank, "the time of its phase"));
  FLYWHEEL_TRY(r.finished, time_of(s->finished, now, rank, "the time of its last step"));
  r.phase = static_cast<rank_phase>(s->phase);
  r.step = s->step;
  r.own = nanoseconds{static_cast<std::int64_t>(s->own)};
  r.steps = s->steps;
  r.loss = std::bit_cast<double>(s->loss);
  r.collective = s->collective;
  r.collective_name = text_of(s->name);
  r.fault = static_cast<rank_fault>(s->fault);
  r.blamed = static_cast<int>(s->blamed) - 1;
  r.fault_text = text_of(s->text);
  return r;
}

} // namespace flywheel
