#pragma once
// One line on a terminal, drawn again and again: what is done, how far, how long still.

#include "actors/client/terminal.hpp"
#include "cluster/base/clock.hpp"

#include <cstdint>
#include <ostream>
#include <string>

namespace flywheel {

struct progress_view {
  std::string what;             ///< "search: trial 12 of 40, best accuracy 0.957"
  std::uint64_t done = 0;
  std::uint64_t total = 0;      ///< 0: unknown; no bar and no time left
  nanoseconds elapsed{};        ///< of the thing that `done` and `total` count
};

/// Time left by the pace so far; negative if it cannot be told (nothing done, or total unknown).
nanoseconds time_left(const progress_view& v);
/// "[=====>    ] 12/40  search: ...  1m20s left", at most `columns` wide. Pure.
std::string render_progress(const progress_view& v, std::size_t columns);

/// Draws on `out` (standard error) if it is a terminal, else nothing at all. At most ten times a second; the newest view is
/// never lost for longer than that, because callers show it again. One thread.
class progress_line {
public:
  progress_line(std::ostream& out, terminal t) : out_(out), terminal_(t) {}
  ~progress_line() { clear(); }
  progress_line(const progress_line&) = delete;
  progress_line& operator=(const progress_line&) = delete;

  void show(const progress_view& v, mono_time now);
  /// Takes the line away, so that something else can be printed; the next show() draws at once.
  void clear();

private:
  std::ostream& out_;
  terminal terminal_;
  std::string drawn_;
  mono_time drawn_at_{};
};

} // namespace flywheel
