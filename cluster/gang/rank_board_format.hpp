#pragma once
// The bytes of a rank's board: one page of shared memory in which a rank says where it is, and which its launcher reads.
// docs/gangs.md has the same table for people who write one from another language.
//
//   0    8  magic "FWBOARD1"; this and the next three are written by the launcher before the rank starts
//   8    4  version, 1
//   12   4  rank
//   16   8  attempt
//   64   8  sequence: odd while the rank writes what follows
//   72   8  phase (rank_phase)
//   80   8  step being worked on or waited in
//   88   8  entered: when the phase was entered
//   96   8  finished: when the last step was over for this rank; 0: none yet
//   104  8  own: nanoseconds of the rank's own work in the last step that it arrived at
//   112  8  steps: finished in this attempt
//   120  8  loss of the last finished step, f64; NaN if there is none
//   128  8  collective: its number; 0: none yet
//   136  32 its name, UTF-8, zeros behind
//   168  8  fault (rank_fault)
//   176  8  whom the fault blames, plus 1; 0: nobody
//   184  200 its text, UTF-8, zeros behind
//
// Little endian; times are CLOCK_MONOTONIC in nanoseconds; everything else is zero. Pure: no memory is mapped here.

#include "cluster/base/clock.hpp"
#include "cluster/base/error.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace flywheel {

inline constexpr std::size_t rank_board_bytes = 4096;
inline constexpr std::uint64_t rank_board_magic = 0x314452414F425746; ///< "FWBOARD1"
inline constexpr std::uint32_t rank_board_version = 1;
inline constexpr std::size_t board_name_bytes = 32, board_text_bytes = 200;

enum class rank_phase : std::uint8_t {
  silent,   ///< nothing has been written yet
  starting, ///< loading, meeting the others, reading a checkpoint
  working,  ///< own work of `step`
  waiting,  ///< own work of `step` is done; in its collectives
  paused,   ///< something long that the rank announces: a checkpoint, an evaluation
  done,     ///< all steps are over
  failed,   ///< it will end with an error; see the fault
};
std::string_view name_of(rank_phase p) noexcept;

enum class rank_fault : std::uint8_t {
  none,
  own,    ///< something went wrong in this rank
  peer,   ///< only because of another rank: never the cause while another is known
};

/// What a board says, checked: whoever reads it may believe that each value is possible, not that it is true.
struct rank_report {
  rank_phase phase = rank_phase::silent;
  std::uint64_t step = 0;
  std::optional<mono_time> entered;  ///< when the phase was entered, by the clock of the rank's node
  std::optional<mono_time> finished; ///< when the last step was over
  nanoseconds own{};                 ///< the rank's own work in the last step
  std::uint64_t steps = 0;           ///< finished in this attempt
  double loss = 0;                   ///< NaN: none
  std::uint64_t collective = 0;      ///< number of the last one; 0: none
  std::string collective_name;       ///< printable
  rank_fault fault = rank_fault::none;
  int blamed = -1;                   ///< a rank, or -1
  std::string fault_text;            ///< printable
};

/// The page as it lies in memory. Single words are atomic, so that reader and writer in different processes never tear one.
struct board_words {
  std::uint64_t magic = 0;
  std::uint32_t version = 0, rank = 0;
  std::uint64_t attempt = 0;
  std::array<std::uint64_t, 5> reserved{};
  std::atomic<std::uint64_t> sequence, phase, step, entered, finished, own, steps, loss, collective;
  std::array<std::atomic<std::uint64_t>, board_name_bytes / 8> name;
  std::atomic<std::uint64_t> fault, blamed;
  std::array<std::atomic<std::uint64_t>, board_text_bytes / 8> text;
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && sizeof(std::atomic<std::uint64_t>) == 8);
static_assert(sizeof(board_words) == 384 && offsetof(board_words, sequence) == 64 && offsetof(board_words, name) == 136 &&
              offsetof(board_words, fault) == 168 && offsetof(board_words, text) == 184);

/// One writer's change of a board: the sequence is odd as long as this lives. Wait-free; the one writer's thread.
class board_change {
public:
  explicit board_change(board_words& page) noexcept;
  ~board_change();
  board_change(const board_change&) = delete;
  board_change& operator=(const board_change&) = delete;

private:
  board_words& page_;
  std::uint64_t sequence_;
};
/// Cut to the field, at a character's boundary; between the making and the end of a board_change.
void put_name(board_words& page, std::string_view name) noexcept;
void put_text(board_words& page, std::string_view text) noexcept;

/// Reads a board that another process may be writing, honestly or not. Never blocks and never trusts: invalid_format names what
/// is impossible (a phase that does not exist, a time in the future); interrupted if the writer is in the middle of a change and
/// stays there, or is faster than the reader: look again later.
/// `ranks`: how many there are; `now`: times more than a second after it are impossible.
result<rank_report> read_board(const board_words& page, int rank, std::uint64_t attempt, int ranks, mono_time now);

} // namespace flywheel
