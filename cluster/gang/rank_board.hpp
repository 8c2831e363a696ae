#pragma once
// A rank's board in memory: made by the launcher as a file without a name (memfd) of sealed size that the rank inherits, so that it
// is gone when both have ended, and a rank cannot cut it under the reader's feet.

#include "cluster/gang/rank_board_format.hpp"
#include "cluster/worker/worker_sandbox.hpp"

namespace flywheel {

/// Where a rank finds its board: a path to be opened for reading and writing and mapped, rank_board_bytes long.
inline constexpr const char* rank_board_variable = "FLYWHEEL_RANK_BOARD";

/// The launcher's side. Any thread.
class rank_board {
public:
  static result<rank_board> create(int rank, std::uint64_t attempt);
  rank_board(rank_board&& other) noexcept;
  rank_board& operator=(rank_board&&) = delete;
  ~rank_board(); ///< unmaps; the rank keeps its own mapping

  int fd() const noexcept { return file_.get(); }
  /// See read_board.
  result<rank_report> read(int ranks, mono_time now) const;
  /// Counts the rank's changes: the same number twice means that it wrote nothing in between.
  std::uint64_t changes() const noexcept;

private:
  rank_board() = default;
  owned_fd file_;
  board_words* page_ = nullptr;
  int rank_ = 0;
  std::uint64_t attempt_ = 0;
};

/// The rank's side. A rank that was started without a board writes to one that nobody reads. One thread at a time; each call is a
/// few stores (below 0.1 us beside reading the clock) and cannot fail.
class rank_reporter {
public:
  /// Opens what FLYWHEEL_RANK_BOARD names. not_found, invalid_format, ... if it is set and is no board: then the rank should end,
  /// because its launcher would take it for hung.
  static result<rank_reporter> from_environment();
  /// A board by its path; empty: nobody reads it.
  static result<rank_reporter> open(const std::string& path);
  rank_reporter(rank_reporter&& other) noexcept;
  rank_reporter& operator=(rank_reporter&&) = delete;
  ~rank_reporter();

  void starting() noexcept;
  /// Own work of `step` begins.
  void working(std::uint64_t step) noexcept;
  /// Own work of `step` is done; its collectives begin or go on.
  void waiting(std::uint64_t step) noexcept;
  /// `step` is over, and own work of the next begins.
  void finished(std::uint64_t step, double loss) noexcept;
  /// Something long begins: no hang for as long as a start may take. Ends with any of the others.
  void paused() noexcept;
  void collective(std::uint64_t number, std::string_view name) noexcept;
  void done() noexcept;
  /// The last word before an error ends the rank. `blamed`: the rank whose fault it is, for rank_fault::peer.
  void failed(rank_fault fault, int blamed, std::string_view text) noexcept;

private:
  rank_reporter() = default;
  void enter(rank_phase phase, std::uint64_t step) noexcept;
  board_words* page_ = nullptr;
  bool is_mapped_ = false;
};

} // namespace flywheel
