#include "tests/simulation/simulated_journal.hpp"

#include <algorithm>
#include <utility>

namespace flywheel::simulation {

void simulated_journal::store(const std::vector<event_draft>& drafts) {
  for (const auto& d : drafts) {
    event e;
    static_cast<event_draft&>(e) = d;
    if (e.body.empty())
      e.body = "{}";
    e.seq = disk_->events.size() + 1;
    e.time = time_->wall();
    disk_->events.push_back(std::move(e));
  }
}

void simulated_journal::commit(std::vector<request>& batch) {
  for (auto& r : batch) {
    if (disk_->full) {
      if (r.done)
        r.done(error{errc::disk_full, "no space left on device", "journal.db", "free some"});
      continue;
    }
    store(r.drafts);
    if (strikes(r.drafts)) {
      for (auto i = &r + 1; i != batch.data() + batch.size(); ++i) // the same transaction
        store(i->drafts);
      return;
    }
    if (r.done)
      r.done(disk_->events.size());
  }
}

void simulated_journal::begin() {
  if (under_way_ || queue_.empty())
    return;
  under_way_ = std::make_shared<std::vector<request>>(std::make_move_iterator(queue_.begin()), std::make_move_iterator(queue_.end()));
  queue_.clear();
  stage_->after(stage_->between(std::chrono::microseconds{100}, disk_->slowest), [this, batch = under_way_] {
    if (under_way_ != batch)
      return; // of a life that is over
    auto done = std::move(*batch);
    under_way_.reset();
    const auto life = alive_;
    commit(done);
    if (*life)
      begin();
  });
}

void simulated_journal::append_async(std::vector<event_draft> drafts, std::function<void(result<std::uint64_t>)> done) {
  if (disk_->lies && !disk_->full) {
    done(disk_->events.size() + drafts.size());
    done = {};
  }
  queue_.push_back({std::move(drafts), std::move(done)});
  begin();
}

result<std::uint64_t> simulated_journal::append(std::vector<event_draft> drafts) {
  const auto got = std::make_shared<std::optional<result<std::uint64_t>>>();
  append_async(std::move(drafts), [got](result<std::uint64_t> r) { got->emplace(std::move(r)); });
  if (!got->has_value())
    fiber::wait([got] { return got->has_value(); });
  return **got;
}

result<std::vector<event>> simulated_journal::read(const journal_filter& f) const {
  std::vector<event> found;
  const auto matches = [&](const event& e) {
    return !(forget_outcomes && e.kind == event_kind::effect_done) && e.seq > f.after_seq && (f.goal.empty() || e.goal == f.goal) && (f.step.empty() || e.step == f.step) && (f.subject.empty() || e.subject == f.subject) &&
           (f.key.empty() || e.key == f.key) && (f.kinds.empty() || std::find(f.kinds.begin(), f.kinds.end(), e.kind) != f.kinds.end());
  };
  const auto take = [&](const event& e) {
    if (matches(e))
      found.push_back(e);
    return f.limit != 0 && found.size() == f.limit;
  };
  if (f.newest_first) {
    for (auto e = disk_->events.rbegin(); e != disk_->events.rend(); ++e)
      if (take(*e))
        break;
  } else {
    for (const auto& e : disk_->events)
      if (take(e))
        break;
  }
  return found;
}

void simulated_journal::crash() {
  if (under_way_ && !disk_->full && !disk_->lies && stage_->chance(2)) // one transaction: whole or not at all
    for (const auto& r : *under_way_)
      store(r.drafts);
  under_way_.reset();
  queue_.clear();
  *alive_ = false;
}

} // namespace flywheel::simulation
