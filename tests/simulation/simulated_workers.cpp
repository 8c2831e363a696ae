#include "tests/simulation/simulated_workers.hpp"

#include "actors/trainer/task_format.hpp"
#include "actors/trainer/trial_worker.hpp"
#include "cluster/base/json.hpp"

#include <algorithm>
#include <deque>
#include <unistd.h>

namespace flywheel::simulation {

using nlohmann::json;
using std::chrono::milliseconds;

class simulated_pool final : public pool_port {
public:
  simulated_pool(workshop& w, std::string node, worker_pool_options options, listener to, const time_source& time)
      : shop_(&w), node_(std::move(node)), options_(std::move(options)), to_(std::move(to)), time_(&time), number_(++w.pools_) {}
  ~simulated_pool() override {
    for (const auto& w : shop_->workers_)
      if (w->pool == number_)
        workshop::deafen(*w);
    if (!shop_->defects_.survive_cancel)
      std::erase_if(shop_->workers_, [&](const auto& w) { return w->pool == number_; });
  }
  void submit(worker_task t) override {
    waiting_.push_back(std::move(t));
    begin();
  }
  void cancel(const std::string& task, const std::string& reason) override {
    for (auto i = waiting_.begin(); i != waiting_.end(); ++i)
      if (i->task.id == task) {
        task_end e;
        e.task = task;
        e.attempt = i->task.attempt;
        e.cause = {errc::cancelled, reason};
        waiting_.erase(i);
        to_.ended(e);
        return;
      }
    for (const auto& w : shop_->workers_)
      if (w->pool == number_ && w->task.task.id == task) {
        w->stop = true;
        w->why = reason;
      }
  }
  void verdict(std::uint64_t number, bool go_on) override {
    for (const auto& w : shop_->workers_)
      if (w->pool == number_)
        w->verdicts[number] = go_on;
  }
  void begin() {
    std::size_t busy = 0;
    for (const auto& w : shop_->workers_)
      busy += w->pool == number_ ? 1 : 0;
    for (; busy < options_.slots && !waiting_.empty(); ++busy) {
      const auto w = std::make_shared<workshop::worker>();
      w->node = node_;
      w->pool = number_;
      w->task = std::move(waiting_.front());
      waiting_.pop_front();
      w->lease = options_.lease;
      w->time = time_;
      w->to = to_;
      w->to.ended = [this, tell = to_.ended](const task_end& e) { // the slot is free again; the pool is there, for it tells
        tell(e);
        begin();
      };
      shop_->workers_.push_back(w);
    }
  }

private:
  workshop* shop_;
  std::string node_;
  worker_pool_options options_;
  listener to_;
  const time_source* time_;
  std::uint64_t number_;
  std::deque<worker_task> waiting_;
};

pool_opener workshop::opener(const std::string& node) {
  return [this, node](worker_pool_options options, pool_port::listener to, const time_source& time) -> result<std::unique_ptr<pool_port>> {
    return std::unique_ptr<pool_port>{std::make_unique<simulated_pool>(*this, node, std::move(options), std::move(to), time)};
  };
}

std::multimap<std::string, std::string> workshop::at_work() const {
  std::multimap<std::string, std::string> where;
  for (const auto& w : workers_)
    if (!lease_is_over(*w) || defects_.outlive_lease)
      where.emplace(w->task.task.id.substr(0, w->task.task.id.find('#')), w->node);
  return where;
}

bool workshop::lease_is_over(const worker& w) const {
  std::int64_t end = 0;
  return w.lease && ::pread(w.lease->fd(), &end, sizeof end, 0) == sizeof end && end != 0 && w.time->mono().ns >= end;
}

void workshop::finish(const std::shared_ptr<worker>& w, task_end e) {
  e.task = w->task.task.id;
  e.attempt = w->task.task.attempt;
  e.seconds = static_cast<double>((stage_->now - w->began).count()) / 1e9;
  workers_.remove(w);
  ++tasks_ended;
  w->to.ended(e);
}

bool workshop::kill_one() {
  if (workers_.empty())
    return false;
  auto i = workers_.begin();
  std::advance(i, static_cast<std::ptrdiff_t>(stage_->random.below(workers_.size())));
  task_end e;
  e.cause = {errc::worker_lost, "the worker was killed by signal 9"};
  finish(std::shared_ptr<worker>{*i}, e);
  return true;
}

void workshop::deafen(worker& w) {
  w.to.reported = [](auto, const auto&) {};
  w.to.ended = [](const auto&) {};
}

void workshop::orphan(const std::string& node) {
  for (const auto& w : workers_)
    if (w->node == node) {
      deafen(*w);
      stage_->after(stage_->between(milliseconds{0}, milliseconds{100}), [this, w] { workers_.remove(w); });
    }
}

/// What `flywheel _worker` does with a task, except that the values of a trial are made up from its parameters: a fit is a real one.
void workshop::work(const std::shared_ptr<worker>& w) {
  const auto job = job_from_json(json::parse(w->task.task.body, nullptr, false));
  task_end e;
  if (!job) {
    e.cause = job.error();
    return finish(w, e);
  }
  const auto pause = [&](milliseconds longest) { stage_->sleep(stage_->between(milliseconds{5}, longest)); };
  pause(milliseconds{200});
  if (job->kind == "fit") {
    worker_context context;
    std::atomic<bool> stop{false};
    context.stop = &stop;
    context.step = [](std::uint64_t) {};
    auto body = run_worker_task(w->task.task, context);
    pause(milliseconds{100});
    if (body)
      e.body = std::move(*body);
    else
      e.cause = body.error();
    return finish(w, e);
  }
  trial_result r;
  const double goodness = 0.8 + 0.19 * (static_cast<double>(stable_hash(to_json(job->spec.params).dump()) % 1000) / 1000);
  for (std::uint32_t rung = 0; rung < job->spec.rungs.size() && r.how == trial_result::end::completed; ++rung) {
    pause(milliseconds{300});
    r.last = {rung, job->spec.rungs[rung], goodness * (1 - 0.2 / (1 + rung)), 0.01};
    if (rung + 1 == job->spec.rungs.size())
      break;
    const auto number = ++reports_[w->pool];
    w->to.reported(number, wire::report{w->task.task.id, w->task.task.attempt, rung, r.last.resource, r.last.value, r.last.standard_error});
    fiber::wait([w, number] { return w->stop || w->verdicts.contains(number); });
    if (w->stop)
      break;
    if (!w->verdicts.at(number))
      r.how = trial_result::end::pruned;
  }
  if (w->stop)
    e.cause = {errc::cancelled, w->why};
  r.best_resource = 3;
  r.best_value = r.last.value;
  r.fold_values = {r.last.value, r.last.value};
  e.body = to_json(r).dump();
  finish(w, e);
}

std::vector<std::function<void()>> workshop::turns() {
  std::erase_if(workers_, [&](const auto& w) { return lease_is_over(*w) && !defects_.outlive_lease; });
  std::vector<std::function<void()>> all;
  for (const auto& w : workers_) {
    if (!w->begun)
      all.push_back([this, w] {
        w->begun = true;
        w->began = stage_->now;
        if (w->task.time_max.count() > 0)
          stage_->after(w->task.time_max, [this, held = std::weak_ptr<worker>{w}] {
            const auto late = held.lock();
            if (!late || std::find(workers_.begin(), workers_.end(), late) == workers_.end())
              return;
            task_end e;
            e.cause = {errc::timed_out, "it took longer than it may"};
            finish(late, e);
          });
        w->running = fiber::start([this, w] { work(w); });
      });
    else if (w->running && w->running->ready()())
      all.push_back([w] {
        auto f = fiber::resume(std::move(w->running));
        w->running = std::move(f);
      });
  }
  return all;
}

} // namespace flywheel::simulation
