#include "checkpoints/worker_threads.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace flywheel {

status for_each_task(std::size_t count, unsigned threads, const std::function<status(std::size_t task, unsigned worker)>& run) {
  std::atomic<std::size_t> next{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;
  status first;
  const auto work = [&](unsigned worker) {
    while (!failed) {
      const auto task = next.fetch_add(1);
      if (task >= count)
        return;
      if (auto s = run(task, worker); !s) {
        const std::lock_guard guard{mutex};
        if (!failed.exchange(true))
          first = std::move(s);
      }
    }
  };
  std::vector<std::thread> others;
  for (unsigned worker = 1; worker < std::min<std::size_t>(threads, count); ++worker) {
    try {
      others.emplace_back(work, worker);
    } catch (const std::system_error&) { // no thread to be had: the others do its share
      break;
    }
  }
  work(0);
  for (auto& t : others)
    t.join();
  return first;
}

} // namespace flywheel
