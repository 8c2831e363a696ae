#pragma once
// Lines to standard output and standard error that never keep their caller waiting: a terminal that is stopped, or a pager that
// nobody scrolls, must not stop who supervises processes.

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

namespace flywheel {

/// Writes lines in order on a thread of its own. Any thread.
class line_writer {
public:
  /// At most `bytes_max` wait to be written; what comes then is dropped, and told in its place.
  explicit line_writer(std::size_t bytes_max = std::size_t{64} << 20);
  ~line_writer(); ///< writes everything that waits, however long that takes
  line_writer(const line_writer&) = delete;
  line_writer& operator=(const line_writer&) = delete;

  /// Adds the line's end. `must`: never dropped.
  void write(int fd, std::string line, bool must = false);

private:
  struct waiting {
    int fd;
    std::string line;
  };
  void run();
  const std::size_t bytes_max_;
  std::mutex mutex_; ///< guards the rest
  std::condition_variable changed_;
  std::deque<waiting> queue_;
  std::size_t bytes_ = 0;
  std::uint64_t dropped_ = 0;
  bool stopping_ = false;
  std::thread thread_; ///< last: it uses all of the above
};

} // namespace flywheel
