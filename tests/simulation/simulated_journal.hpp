#pragma once
// A journal on a simulated disk: what is appended is durable only once the disk has said so, and a crash takes what was not.

#include "cluster/journal/event_log.hpp"
#include "tests/simulation/stage.hpp"

#include <deque>
#include <functional>
#include <memory>

namespace flywheel::simulation {

/// What survives crashes.
struct simulated_disk {
  std::vector<event> events;
  bool full = false;
  nanoseconds slowest = std::chrono::milliseconds{10}; ///< of a commit
  bool lies = false;                                   ///< a defect: says that things are durable before they are
};

/// One life of the writer.
class simulated_journal final : public event_log {
public:
  /// `wall`: this machine's clock.
  simulated_journal(stage& s, simulated_disk& disk, const time_source& time) : stage_(&s), disk_(&disk), time_(&time) {}
  using event_log::append;
  /// From inside a fiber.
  result<std::uint64_t> append(std::vector<event_draft> drafts) override;
  void append_async(std::vector<event_draft> drafts, std::function<void(result<std::uint64_t>)> done) override;
  result<std::vector<event>> read(const journal_filter& filter) const override;
  std::uint64_t last_seq() const noexcept override { return disk_->events.size(); }
  /// The power goes: the commit that was under way is there or not, and nobody is told of anything any more.
  void crash();
  /// Asked when drafts have become durable, before anybody is told: true: now the power goes (crash() was called).
  std::function<bool(const std::vector<event_draft>&)> strikes = [](const auto&) { return false; };
  bool forget_outcomes = false; ///< a defect: who looks for the outcome of an effect finds none

private:
  struct request {
    std::vector<event_draft> drafts;
    std::function<void(result<std::uint64_t>)> done;
  };
  void begin();
  void commit(std::vector<request>& batch);
  void store(const std::vector<event_draft>& drafts);

  stage* stage_;
  simulated_disk* disk_;
  const time_source* time_;
  std::deque<request> queue_;
  std::shared_ptr<std::vector<request>> under_way_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace flywheel::simulation
