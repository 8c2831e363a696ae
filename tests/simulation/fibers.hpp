#pragma once
// Threads of a simulation: each runs until it waits or ends, and only when it is told to, so that one seed decides who runs when.

#include <functional>
#include <memory>

namespace flywheel::simulation {

/// Not thread-safe; fibers are resumed from outside all fibers only. One that is dropped while it waits is forgotten like a thread of a
/// process that was killed: nothing is unwound, and what it held is never given back.
class fiber {
public:
  /// Runs `work` until it waits or ends. Null: it has ended.
  static std::unique_ptr<fiber> start(std::function<void()> work);
  /// Lets it run on until it waits or ends. Null: it has ended.
  static std::unique_ptr<fiber> resume(std::unique_ptr<fiber> f);
  /// What it waits for.
  const std::function<bool()>& ready() const noexcept { return ready_; }
  /// From inside one: gives way until `ready`. Whoever resumes it has asked.
  static void wait(std::function<bool()> ready);
  ~fiber();

private:
  fiber() = default;
  void run();
  static void live();
  struct machinery;
  std::unique_ptr<machinery> machinery_;
  std::function<bool()> ready_;
};

} // namespace flywheel::simulation
