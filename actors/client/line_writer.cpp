#include "actors/client/line_writer.hpp"

#include <cerrno>
#include <csignal>
#include <pthread.h>
#include <unistd.h>

namespace flywheel {
namespace {

void write_all(int fd, const std::string& text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto n = ::write(fd, text.data() + at, text.size() - at);
    if (n < 0 && errno != EINTR)
      return; // the reader is gone; that does not end the supervision
    at += n > 0 ? static_cast<std::size_t>(n) : 0;
  }
}

} // namespace

line_writer::line_writer(std::size_t bytes_max) : bytes_max_(bytes_max), thread_([this] { run(); }) {}

line_writer::~line_writer() {
  {
    const std::lock_guard lock{mutex_};
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void line_writer::write(int fd, std::string line, bool must) {
  {
    const std::lock_guard lock{mutex_};
    if (!must && bytes_ + line.size() > bytes_max_) {
      ++dropped_;
      return;
    }
    if (dropped_ > 0) {
      queue_.push_back({fd, "(" + std::to_string(dropped_) + " lines of output were dropped: they were not read in time)\n"});
      bytes_ += queue_.back().line.size();
      dropped_ = 0;
    }
    line += '\n';
    bytes_ += line.size();
    queue_.push_back({fd, std::move(line)});
  }
  changed_.notify_one();
}

void line_writer::run() {
  // Signals are for the thread that supervises; and a closed pipe is an error here, not an end.
  sigset_t all;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
  std::unique_lock lock{mutex_};
  while (true) {
    changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (queue_.empty())
      return;
    // Neighbours for the same descriptor go in one system call.
    const int fd = queue_.front().fd;
    std::string text;
    while (!queue_.empty() && queue_.front().fd == fd && text.size() < 65536) {
      text += queue_.front().line;
      queue_.pop_front();
    }
    lock.unlock();
    write_all(fd, text);
    lock.lock();
    bytes_ -= text.size();
  }
}

} // namespace flywheel
