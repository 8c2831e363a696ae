#pragma once
// A step's work goes on when its agent dies, for a thread cannot be killed. Whoever does the step again waits here until it has ended, so that
// nothing is done by two at a time.

#include "actors/protocol/own_thread.hpp"

#include <condition_variable>
#include <mutex>
#include <set>
#include <string>

namespace flywheel {

/// Thread-safe.
class step_turns {
public:
  /// Held while the step named `key` is worked on; the constructor blocks until it is free. From a thread of one's own.
  class turn {
  public:
    turn(caf::actor_system& system, step_turns& all, std::string key) : all_(&all), key_(std::move(key)) {
      if (!cafx::has_threads(system))
        while (!all_->take(key_))
          let_others_run([this] { return !all_->is_taken(key_); });
      else
        all_->wait(key_);
    }
    ~turn() { all_->leave(key_); }
    turn(const turn&) = delete;
    turn& operator=(const turn&) = delete;

  private:
    step_turns* all_;
    std::string key_;
  };

private:
  bool is_taken(const std::string& key) const {
    const std::lock_guard lock{mutex_};
    return taken_.contains(key);
  }
  bool take(const std::string& key) {
    const std::lock_guard lock{mutex_};
    return taken_.insert(key).second;
  }
  void wait(const std::string& key) {
    std::unique_lock lock{mutex_};
    left_.wait(lock, [&] { return taken_.insert(key).second; });
  }
  void leave(const std::string& key) {
    const std::lock_guard lock{mutex_};
    taken_.erase(key);
    left_.notify_all();
  }
  mutable std::mutex mutex_;
  std::condition_variable left_;
  std::set<std::string> taken_;
};

} // namespace flywheel
