#include "cluster/gang/gang_supervisor.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <csignal>
#include <poll.h>
#include <utility>

namespace flywheel {
namespace {

/// A loop that turns at least every quarter second and was away for so long has been stopped itself.
constexpr nanoseconds away_max{2'000'000'000};
constexpr nanoseconds straggler_every{10'000'000'000};
constexpr nanoseconds turn_max{250'000'000};

class supervision {
public:
  supervision(const gang_plan& plan, const time_source& time) : plan_(plan), time_(time), restarts_(plan.restart) {}

  result<gang_result> run() {
    FLYWHEEL_TRY(launcher_, rank_launcher::start(plan_.launcher, plan_.output));
    gang_result all;
    all.attempt = plan_.first_attempt;
    while (true) {
      FLYWHEEL_CHECK(run_attempt(all));
      if (all.cause.end == gang_end::succeeded)
        return all;
      const auto verdict = restarts_.decide(all.cause);
      if (!verdict.restart) {
        all.why_final = verdict.reason;
        return all;
      }
      all.restarts = restarts_.restarts();
      ++all.attempt;
      gang_event e = event(gang_event::kind::restarting, all.attempt);
      e.text = verdict.reason;
      e.cause = all.cause;
      e.delay = verdict.after;
      tell(std::move(e));
      if (!wait_before_restart(verdict.after)) {
        all.cause = {};
        all.cause.end = gang_end::cancelled;
        all.cause.detail = "asked to stop while it waited for its restart";
        all.why_final = restarts_.decide(all.cause).reason;
        return all;
      }
    }
  }

private:
  gang_event event(gang_event::kind what, std::uint64_t attempt) const {
    gang_event e{};
    e.what = what;
    e.at = time_.mono();
    e.attempt = attempt;
    return e;
  }
  void tell(gang_event e) const {
    if (plan_.tell)
      plan_.tell(e);
  }
  bool stop_asked() const {
    pollfd p{plan_.stop_fd, POLLIN, 0};
    return plan_.stop_fd >= 0 && ::poll(&p, 1, 0) > 0;
  }
  /// Waits for the launcher's events or the request to stop, whichever comes first.
  void wait_for_something(nanoseconds at_most) const {
    pollfd p[2]{{launcher_->fd(), POLLIN, 0}, {plan_.stop_fd, POLLIN, 0}};
    const auto ms = static_cast<int>((std::min(at_most, turn_max).count() + 999'999) / 1'000'000);
    ::poll(p, plan_.stop_fd >= 0 && !stopping_ ? 2 : 1, std::max(ms, 0));
  }

  /// False if it was asked to stop meanwhile.
  bool wait_before_restart(nanoseconds delay) {
    const auto until = time_.mono() + delay;
    while (!stop_asked()) {
      const auto now = time_.mono();
      if (now >= until)
        return true;
      wait_for_something(until - now);
      (void)launcher_->wait(nanoseconds{0}); // the last lines of output
    }
    return false;
  }

  status run_attempt(gang_result& all) {
    const auto attempt = all.attempt;
    if (plan_.prepare)
      FLYWHEEL_CHECK(plan_.prepare(attempt));
    const auto ranks = static_cast<int>(plan_.seats.size());
    tell(event(gang_event::kind::attempt_started, attempt));
    std::vector<rank_command> commands;
    for (int rank = 0; rank < ranks; ++rank) {
      FLYWHEEL_TRY(auto command, plan_.command(rank, attempt, restarts_.restarts()));
      commands.push_back(std::move(command));
    }
    for (const auto& c : commands)
      FLYWHEEL_CHECK(launcher_->start_rank(c));
    gang_policy policy{plan_.seats, attempt, time_.mono(), plan_.watch};
    bool told_first = false, told_noticed = false;
    std::optional<mono_time> kill_sent, stop_until;
    std::string slow;
    mono_time turned = time_.mono();
    while (policy.state() != gang_state::over) {
      const auto look = policy.next_look(turned);
      wait_for_something(look ? *look - turned : turn_max);
      const auto seen = launcher_->wait(nanoseconds{0});
      const auto now = time_.mono();
      if (now - turned > away_max)
        policy.forgive(now);
      turned = now;
      for (const auto& o : seen) {
        policy.observe(o, now);
        tell_of(o, attempt);
        if (const auto* lost = std::get_if<host_lost>(&o))
          return error{errc::worker_lost, lost->why, lost->host, "the ranks are killed by the kernel; start the gang again"};
      }
      if (!stopping_ && stop_asked() && policy.state() != gang_state::clearing) {
        stopping_ = true;
        stop_until = now + plan_.stop_grace;
        policy.cancel("asked to stop", now);
        launcher_->signal_all(SIGTERM);
      }
      policy.judge(now);
      if (!told_first && policy.steps_by_all() > 0) {
        told_first = true;
        tell(event(gang_event::kind::first_step, attempt));
      }
      tell_straggler(policy, slow, attempt, now);
      if (policy.state() == gang_state::clearing && !kill_sent && (!stop_until || policy.all_ended() || now >= *stop_until)) {
        launcher_->kill_all();
        kill_sent = now;
      }
      if (policy.state() == gang_state::clearing && !told_noticed) {
        told_noticed = true;
        if (policy.cause().end != gang_end::succeeded) {
          auto e = event(gang_event::kind::noticed, attempt);
          e.at = *policy.noticed();
          e.cause = policy.cause();
          tell(std::move(e));
        }
      }
      if (kill_sent && policy.state() == gang_state::clearing && now - *kill_sent > plan_.clear_max)
        return error{errc::timed_out, "processes of the gang survive SIGKILL for " + format_duration(now - *kill_sent) + "; its slots are not free",
                     plan_.launcher.host, "look for processes in state D: a driver or a file system holds them"};
    }
    all.cause = policy.cause();
    all.steps = policy.steps_by_all();
    all.loss = policy.loss();
    auto e = event(all.cause.end == gang_end::succeeded ? gang_event::kind::ended : gang_event::kind::cleared, attempt);
    e.at = *policy.cleared();
    e.cause = all.cause;
    tell(std::move(e));
    return success();
  }

  void tell_of(const gang_observation& o, std::uint64_t attempt) const {
    const auto* r = std::get_if<rank_observation>(&o);
    if (r == nullptr || r->attempt != attempt)
      return;
    if (const auto* started = std::get_if<rank_started>(&r->what)) {
      auto e = event(gang_event::kind::rank_started, attempt);
      e.rank = r->rank;
      e.pid = started->pid;
      tell(std::move(e));
    } else if (const auto* garbled = std::get_if<rank_garbled>(&r->what)) {
      auto e = event(gang_event::kind::garbled, attempt);
      e.rank = r->rank;
      e.text = garbled->why.what;
      tell(std::move(e));
    }
  }

  /// Near the threshold a rank is slow and not slow in turn: that is told now and then, not each time.
  void tell_straggler(const gang_policy& policy, std::string& slow, std::uint64_t attempt, mono_time now) {
    if (now < straggler_silent_until_)
      return;
    const auto verdict = policy.straggler();
    const std::string who = verdict.rank >= 0 ? std::to_string(verdict.rank) : "";
    if (who == slow || policy.state() != gang_state::running)
      return;
    slow = who;
    straggler_silent_until_ = now + straggler_every;
    auto e = event(gang_event::kind::straggler, attempt);
    e.rank = verdict.rank;
    e.text = verdict.rank >= 0 ? verdict.reason : "no rank is slow any more";
    tell(std::move(e));
  }

  const gang_plan& plan_;
  const time_source& time_;
  restart_policy restarts_;
  std::unique_ptr<rank_launcher> launcher_;
  bool stopping_ = false;
  mono_time straggler_silent_until_;
};

} // namespace

std::string_view name_of(gang_event::kind k) noexcept {
  switch (k) {
  case gang_event::kind::attempt_started: return "attempt_started";
  case gang_event::kind::rank_started: return "rank_started";
  case gang_event::kind::first_step: return "first_step";
  case gang_event::kind::straggler: return "straggler";
  case gang_event::kind::garbled: return "garbled";
  case gang_event::kind::noticed: return "noticed";
  case gang_event::kind::cleared: return "cleared";
  case gang_event::kind::restarting: return "restarting";
  case gang_event::kind::ended: return "ended";
  }
  return "unknown";
}

result<gang_result> supervise_gang(const gang_plan& plan, const time_source& time) {
  if (plan.seats.empty() || plan.seats.size() > static_cast<std::size_t>(gang_ranks_max) || plan.first_attempt == 0)
    return error{errc::invalid_argument, "a gang has 1 to " + std::to_string(gang_ranks_max) + " ranks, got " + std::to_string(plan.seats.size())};
  return supervision{plan, time}.run();
}

} // namespace flywheel
