#pragma once
// Workers without processes: each task is a fiber that takes its time, reports, waits for the verdict and leaves what a real one leaves. They
// are not their node: it may freeze or die, and they end themselves when its lease page says so, as real workers do.

#include "actors/dispatcher/pool_port.hpp"
#include "tests/simulation/stage.hpp"

#include <list>
#include <map>

namespace flywheel::simulation {

struct worker_defects {
  bool outlive_lease = false;   ///< they do not look at the page
  bool survive_cancel = false;  ///< a pool that is destroyed leaves them running
};

/// All workers of a history.
class workshop {
public:
  workshop(stage& s, worker_defects defects) : stage_(&s), defects_(defects) {}
  /// Opens pools for the life of a node. `clock` is the node's.
  pool_opener opener(const std::string& node);
  /// Where each trial is being worked on now: "goal/trial" -> "node", once for each worker.
  std::multimap<std::string, std::string> at_work() const;
  /// One of them is killed; false if none works.
  bool kill_one();
  /// The node's process has died: its workers follow soon.
  void orphan(const std::string& node);
  /// Workers whose turn it is; the lease of each is looked at first.
  std::vector<std::function<void()>> turns();
  std::uint64_t tasks_ended = 0;

private:
  friend class simulated_pool;
  struct worker {
    std::string node;
    std::uint64_t pool = 0;
    worker_task task;
    std::shared_ptr<lease_page> lease;
    const time_source* time = nullptr;
    std::unique_ptr<fiber> running;
    bool begun = false, stop = false;
    mono_time began;
    std::string why;
    std::map<std::uint64_t, bool> verdicts;
    pool_port::listener to;
  };
  static void deafen(worker& w); ///< nobody hears it any more
  void finish(const std::shared_ptr<worker>& w, task_end e);
  void work(const std::shared_ptr<worker>& w);
  bool lease_is_over(const worker& w) const;

  stage* stage_;
  worker_defects defects_;
  std::list<std::shared_ptr<worker>> workers_;
  std::map<std::uint64_t, std::uint64_t> reports_; ///< by pool
  std::uint64_t pools_ = 0;
};

} // namespace flywheel::simulation
