#pragma once
// Ctrl-C asks, a second Ctrl-C insists.

#include <cstdint>

namespace flywheel {

/// While an object of this type lives, SIGINT, SIGTERM and SIGHUP ask the program to stop instead of ending it; a second
/// one ends it at once, as the system would. A repetition within 0.2 s counts as the same press, because a terminal and a
/// wrapper (make, timeout) often deliver both. A signal that was ignored when the program started (nohup) stays ignored.
/// Objects may nest; all of them see the same request. Uses handlers and an eventfd: no thread, no mask that children would
/// inherit. Make and destroy it on one thread; `requested` may be asked from any.
class stop_signals {
public:
  stop_signals();
  ~stop_signals();
  stop_signals(const stop_signals&) = delete;
  stop_signals& operator=(const stop_signals&) = delete;

  /// True from the first signal on, for ever.
  bool requested() const noexcept;
  /// The signal that asked, or 0.
  int signal_number() const noexcept;
  /// Readable from the first signal on, for poll; never to be read or closed by the caller.
  int fd() const noexcept;
};

} // namespace flywheel
