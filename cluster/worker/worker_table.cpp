#include "cluster/worker/worker_table.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace flywheel {
namespace {

error lost(const std::string& who, const worker_exit& how) {
  std::string what = who + " " + describe(how);
  if (!how.last_output.empty())
    what += "; its last output: " + how.last_output;
  if (how.kernel_oom && how.signal == 9)
    return {errc::out_of_memory, who + " was killed by the kernel because memory ran out", {},
            "run fewer workers at once, or give the machine more memory"};
  return {errc::worker_lost, std::move(what)};
}

error said_by_worker(const wire::failed& m) {
  const auto code = errc_from_name(m.code);
  if (!code || *code == errc::ok)
    return {errc::library_failed, m.code.empty() ? m.what : m.what + " (code " + printable(m.code, 40) + ")", {}, m.hint};
  return {*code, m.what, {}, m.hint};
}

} // namespace

std::string describe(const worker_exit& how) {
  if (how.signal == 0)
    return "exited with code " + std::to_string(how.code) + " before its task was done";
  const char* name = sigabbrev_np(how.signal);
  return "was killed by signal " + std::to_string(how.signal) + (name ? " (SIG" + std::string(name) + ")" : "");
}

std::string worker_table::describe(worker_number n, const worker& w) const {
  return "worker " + std::to_string(n) + " (process " + std::to_string(w.pid) + ")";
}

bool worker_table::is_for_current_task(const worker& w, const std::string& task, std::uint32_t attempt) const {
  return w.task && (w.state == phase::running || w.state == phase::stopping) && w.task->task.id == task &&
         w.task->task.attempt == attempt;
}

std::vector<worker_table::action> worker_table::take_actions() { return std::exchange(actions_, {}); }

void worker_table::end_unstarted(const worker_task& t, error cause) {
  task_end end;
  end.task = t.task.id;
  end.attempt = t.task.attempt;
  end.cause = std::move(cause);
  actions_.push_back(tell_ended{std::move(end)});
}

void worker_table::finish(worker& w, error cause, std::string body, mono_time now) {
  task_end end;
  end.task = w.task->task.id;
  end.attempt = w.task->task.attempt;
  end.body = std::move(body);
  end.cause = std::move(cause);
  end.seconds = std::chrono::duration<double>(now - w.task_started).count();
  end.rss_peak_bytes = w.rss_peak;
  end.sandboxed = w.sandboxed;
  w.task.reset();
  w.open_report.reset();
  actions_.push_back(tell_ended{std::move(end)});
}

void worker_table::submit(worker_task t, mono_time now) {
  if (closed_)
    return end_unstarted(t, {errc::cancelled, *closed_});
  const auto same = [&](const worker_task& other) { return other.task.id == t.task.id; };
  if (std::any_of(queue_.begin(), queue_.end(), same) ||
      std::any_of(workers_.begin(), workers_.end(), [&](const auto& w) { return w.second.task && same(*w.second.task); }))
    return end_unstarted(t, {errc::already_exists, "task " + printable(t.task.id, 80) + " is queued or running already"});
  queue_.push_back(std::move(t));
  dispatch(now);
}

void worker_table::give(worker_number n, worker& w, mono_time now) {
  w.state = phase::running;
  w.task_started = now;
  w.rss_peak = 0;
  w.deadline.reset();
  if (w.task->time_max > nanoseconds{0})
    w.deadline = now + w.task->time_max;
  actions_.push_back(limit_memory{n, w.task->memory_max});
  actions_.push_back(tell_started{w.task->task.id, w.pid});
  actions_.push_back(send_message{n, w.task->task});
}

void worker_table::dispatch(mono_time now) {
  const auto begun = [&](const worker_task& t) {
    return std::any_of(workers_.begin(), workers_.end(), [&](const auto& w) { return w.second.task && line_of(w.second.task->task.id) == line_of(t.task.id); });
  };
  for (;;) {
    const auto next = std::find_if_not(queue_.begin(), queue_.end(), begun);
    if (next == queue_.end())
      return;
    const auto suits = [&](const auto& entry) { return entry.second.state == phase::idle && entry.second.sandbox == next->sandbox; };
    if (const auto idle = std::find_if(workers_.begin(), workers_.end(), suits); idle != workers_.end()) {
      idle->second.task = std::move(*next);
      queue_.erase(next);
      give(idle->first, idle->second, now);
      continue;
    }
    if (workers_.size() < options_.slots) {
      const auto n = next_++;
      auto& w = workers_[n];
      w.task = std::move(*next);
      queue_.erase(next);
      w.sandbox = w.task->sandbox;
      w.heard = now;
      w.task_started = now;
      w.deadline = now + options_.hello_within;
      actions_.push_back(start_worker{n, w.sandbox, w.task->memory_max});
      continue;
    }
    // Every slot has a worker. If one merely idles in another sandbox, its place is wanted; its exit comes back here.
    const auto leaving = std::any_of(workers_.begin(), workers_.end(), [](const auto& entry) {
      return (entry.second.state == phase::dying || entry.second.state == phase::dismissed) && !entry.second.task;
    });
    const auto idle = std::find_if(workers_.begin(), workers_.end(),
                                   [](const auto& entry) { return entry.second.state == phase::idle; });
    if (!leaving && idle != workers_.end())
      dismiss(idle->first, idle->second, "its place is needed for another sandbox", now);
    return;
  }
}

void worker_table::kill(worker_number n, worker& w, error why, mono_time now) {
  if (w.state == phase::dying)
    return;
  if (!w.why)
    w.why = std::move(why);
  w.state = phase::dying;
  w.deadline = now + options_.die_within;
  actions_.push_back(kill_worker{n});
}

void worker_table::dismiss(worker_number n, worker& w, const std::string& reason, mono_time now) {
  w.state = phase::dismissed;
  w.deadline = now + options_.stop_grace;
  actions_.push_back(send_message{n, wire::stop{{}, reason}});
}

void worker_table::ask_to_stop(worker_number n, worker& w, error why, mono_time now) {
  w.state = phase::stopping;
  w.deadline = now + options_.stop_grace;
  actions_.push_back(send_message{n, wire::stop{w.task->task.id, why.what}});
  w.why = std::move(why);
  if (w.open_report) {
    actions_.push_back(send_message{n, wire::verdict{w.task->task.id, *w.open_report, false}});
    w.open_report.reset();
  }
}

void worker_table::cancel(const std::string& task, const std::string& reason, mono_time now) {
  const error why{errc::cancelled, reason};
  const auto queued = std::find_if(queue_.begin(), queue_.end(), [&](const auto& t) { return t.task.id == task; });
  if (queued != queue_.end()) {
    end_unstarted(*queued, why);
    queue_.erase(queued);
    return;
  }
  for (auto& [n, w] : workers_) {
    if (!w.task || w.task->task.id != task)
      continue;
    if (w.state == phase::starting)
      finish(w, why, {}, now); // the worker itself is sound and will idle
    else if (w.state == phase::running)
      ask_to_stop(n, w, why, now);
    return;
  }
}

void worker_table::answer(worker_number number, const std::string& task, std::uint32_t rung, bool go_on) {
  const auto at = workers_.find(number);
  if (at == workers_.end())
    return;
  auto& w = at->second;
  if (w.state != phase::running || !w.task || w.task->task.id != task || w.open_report != rung)
    return;
  w.open_report.reset();
  actions_.push_back(send_message{number, wire::verdict{task, rung, go_on}});
}

void worker_table::on_started(worker_number number, int pid, bool sandboxed, mono_time now) {
  const auto at = workers_.find(number);
  if (at == workers_.end())
    return;
  at->second.pid = pid;
  at->second.sandboxed = sandboxed;
  at->second.heard = now;
}

void worker_table::on_start_failed(worker_number number, error why, mono_time now) {
  const auto at = workers_.find(number);
  if (at == workers_.end())
    return;
  if (at->second.task)
    finish(at->second, at->second.why ? std::move(*at->second.why) : std::move(why), {}, now);
  workers_.erase(at);
  dispatch(now);
}

void worker_table::on_garbage(worker_number number, const error& why, mono_time now) {
  const auto at = workers_.find(number);
  if (at == workers_.end())
    return;
  auto& w = at->second;
  const auto code = why.code == errc::incompatible_version ? why.code : errc::protocol_violation;
  kill(number, w, {code, describe(number, w) + " sent " + why.what + " [" + std::string(name_of(why.code)) +
                                                 "]; it was killed",
                   {}, "see docs/worker-protocol.md"},
       now);
}

void worker_table::after_task(worker& w, mono_time now) {
  w.why.reset();
  if (w.leaving) {
    w.state = phase::dying;
    w.deadline.reset();
  } else {
    w.state = phase::idle;
    w.deadline = now + options_.idle_for;
  }
  dispatch(now);
}

void worker_table::on_message(worker_number number, const wire::message& m, mono_time now) {
  const auto at = workers_.find(number);
  if (at == workers_.end() || at->second.state == phase::dying)
    return;
  auto& w = at->second;
  w.heard = now;
  if (w.state == phase::dismissed)
    return; // whatever it says now, it has no task any more
  const auto out_of_turn = [&](std::string_view why) {
    on_garbage(number, {errc::protocol_violation, "a message out of turn: " + std::string(name_of(m)) + " " + std::string(why)},
               now);
  };

  if (std::holds_alternative<wire::hello>(m)) {
    if (w.state != phase::starting)
      return out_of_turn("for the second time");
    if (w.task)
      return give(number, w, now);
    return after_task(w, now); // its task was cancelled meanwhile
  }
  if (w.state == phase::starting)
    return out_of_turn("before hello");

  if (const auto* beat = std::get_if<wire::heartbeat>(&m)) {
    on_memory(number, beat->rss_bytes, now);
  } else if (const auto* line = std::get_if<wire::log>(&m)) {
    actions_.push_back(tell_log{*line});
  } else if (const auto* report = std::get_if<wire::report>(&m)) {
    if (!is_for_current_task(w, report->task, report->attempt))
      return out_of_turn("for a task it does not run");
    if (w.open_report)
      return out_of_turn("while another waits for its verdict");
    if (w.state == phase::stopping) {
      actions_.push_back(send_message{number, wire::verdict{report->task, report->rung, false}});
      return;
    }
    w.open_report = report->rung;
    actions_.push_back(tell_report{number, *report});
  } else if (const auto* done = std::get_if<wire::done>(&m)) {
    if (!is_for_current_task(w, done->task, done->attempt))
      return out_of_turn("for a task it does not run");
    finish(w, w.why ? *w.why : error{errc::ok, {}}, done->body, now);
    after_task(w, now);
  } else if (const auto* failed = std::get_if<wire::failed>(&m)) {
    if (!is_for_current_task(w, failed->task, failed->attempt))
      return out_of_turn("for a task it does not run");
    auto cause = said_by_worker(*failed);
    // After bad_alloc nobody knows what half-made things the process still holds: it does not get another task.
    const bool spent = cause.code == errc::out_of_memory;
    finish(w, w.why ? *w.why : std::move(cause), {}, now);
    if (spent)
      kill(number, w, {errc::out_of_memory, "it ran out of memory"}, now);
    else
      after_task(w, now);
  } else {
    out_of_turn("which only a node may send");
  }
}

void worker_table::on_memory(worker_number number, std::uint64_t rss_bytes, mono_time now) {
  const auto at = workers_.find(number);
  if (at == workers_.end())
    return;
  auto& w = at->second;
  w.rss_peak = std::max(w.rss_peak, rss_bytes);
  if (!w.task || w.task->memory_max == 0 || rss_bytes <= w.task->memory_max || w.state == phase::dying)
    return;
  kill(number, w,
       {errc::out_of_memory,
        describe(number, w) + " used " + format_bytes(rss_bytes) + ", its limit is " + format_bytes(w.task->memory_max) +
            "; it was killed",
        {}, "raise resources.worker_memory, or allow only smaller models"},
       now);
}

void worker_table::on_exit(worker_number number, const worker_exit& how, mono_time now) {
  const auto at = workers_.find(number);
  if (at == workers_.end())
    return;
  auto& w = at->second;
  if (w.task)
    finish(w, w.why ? std::move(*w.why) : lost(describe(number, w), how), {}, now);
  workers_.erase(at);
  dispatch(now);
}

void worker_table::on_leaving(worker_number number) {
  const auto at = workers_.find(number);
  if (at == workers_.end())
    return;
  auto& w = at->second;
  w.leaving = true;
  if (w.state == phase::idle || w.state == phase::dismissed) {
    w.state = phase::dying;
    w.deadline.reset();
  }
}

void worker_table::on_pause(mono_time now) {
  for (auto& [n, w] : workers_)
    w.heard = now;
}

bool worker_table::has_task(worker_number number) const {
  const auto at = workers_.find(number);
  return at != workers_.end() && at->second.task.has_value();
}

void worker_table::tick(mono_time now) {
  for (auto& [n, w] : workers_) {
    const bool due = w.deadline && *w.deadline <= now;
    switch (w.state) {
    case phase::starting:
      if (due)
        kill(n, w, {errc::worker_silent, describe(n, w) + " did not say hello within " + format_duration(options_.hello_within)},
             now);
      continue;
    case phase::idle:
      if (due)
        dismiss(n, w, "it idled for " + format_duration(options_.idle_for), now);
      break;
    case phase::dismissed:
      if (due)
        kill(n, w, {errc::cancelled, "it did not go when dismissed"}, now);
      break;
    case phase::running:
      if (due)
        ask_to_stop(n, w,
                    {errc::timed_out, "the task ran longer than " + format_duration(w.task->time_max), {},
                     "raise resources.trial_time_max, or allow only smaller models"},
                    now);
      break;
    case phase::stopping:
      if (due)
        kill(n, w, {errc::internal, "unreachable: a stopping worker has its reason"}, now);
      break;
    case phase::dying:
      if (due) {
        w.deadline.reset();
        if (w.task) {
          auto why = *w.why;
          why.hint = describe(n, w) + " does not die although it was killed (a device driver may hold it); its slot stays taken";
          finish(w, std::move(why), {}, now);
        }
      }
      continue;
    }
    if (w.state != phase::dying && w.heard + options_.silent_after <= now)
      kill(n, w,
           {errc::worker_silent, describe(n, w) + " sent no heartbeat for " + format_duration(now - w.heard) + "; it was killed"},
           now);
  }
}

void worker_table::shut_down(const std::string& reason, mono_time now) {
  const error why{errc::cancelled, reason};
  closed_ = reason;
  for (const auto& t : std::exchange(queue_, {}))
    end_unstarted(t, why);
  for (auto& [n, w] : workers_)
    kill(n, w, why, now);
}

std::optional<mono_time> worker_table::next_deadline() const {
  std::optional<mono_time> soonest;
  const auto consider = [&](mono_time t) {
    if (!soonest || t < *soonest)
      soonest = t;
  };
  for (const auto& [n, w] : workers_) {
    if (w.deadline)
      consider(*w.deadline);
    if (w.state != phase::starting && w.state != phase::dying)
      consider(w.heard + options_.silent_after);
  }
  return soonest;
}

std::vector<worker_number> worker_table::memory_watched() const {
  std::vector<worker_number> numbers;
  for (const auto& [n, w] : workers_)
    if (w.task && (w.state == phase::running || w.state == phase::stopping))
      numbers.push_back(n);
  return numbers;
}

} // namespace flywheel
