#include "actors/client/progress_line.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>

namespace flywheel {
namespace {

constexpr nanoseconds redraw_min{100'000'000}; // faster flickers and costs time in slow terminals
constexpr std::size_t bar_width = 20;

} // namespace

nanoseconds time_left(const progress_view& v) {
  if (v.total == 0 || v.done == 0 || v.elapsed.count() <= 0)
    return nanoseconds{-1};
  const double pace = static_cast<double>(v.elapsed.count()) / static_cast<double>(v.done);
  const double left = pace * static_cast<double>(v.total - std::min(v.done, v.total));
  return nanoseconds{static_cast<std::int64_t>(std::min(left, 9e18))};
}

std::string render_progress(const progress_view& v, std::size_t columns) {
  std::string line;
  if (v.total > 0) {
    const auto done = std::min(v.done, v.total);
    const auto full = static_cast<std::size_t>(static_cast<double>(done) / static_cast<double>(v.total) * static_cast<double>(bar_width));
    line = "[" + std::string(full, '=') + (full < bar_width ? ">" + std::string(bar_width - full - 1, ' ') : "") + "] " +
           std::to_string(done) + "/" + std::to_string(v.total) + "  ";
    if (columns < 60) // the words matter more than the bar
      line = std::to_string(done) + "/" + std::to_string(v.total) + "  ";
  }
  const auto left = time_left(v);
  const std::string tail = left.count() < 0 || v.done >= v.total ? "" : "  " + format_duration(left) + " left";
  const std::size_t room = columns > display_width(line) + tail.size() ? columns - display_width(line) - tail.size() : 0;
  return cut_to_width(line + cut_to_width(printable(v.what, 400), room) + tail, columns);
}

void progress_line::show(const progress_view& v, mono_time now) {
  if (!terminal_.is_terminal || (!drawn_.empty() && now - drawn_at_ < redraw_min))
    return;
  std::string line = render_progress(v, terminal_.columns - 1); // the last column would wrap on some terminals
  if (line == drawn_)
    return;
  out_ << '\r' << painted(line, ink::dim, terminal_.colour) << "\x1b[K" << std::flush;
  drawn_ = std::move(line);
  drawn_at_ = now;
}

void progress_line::clear() {
  if (!drawn_.empty())
    out_ << "\r\x1b[K" << std::flush;
  drawn_.clear();
}

} // namespace flywheel
