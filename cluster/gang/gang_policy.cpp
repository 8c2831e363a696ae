#include "cluster/gang/gang_policy.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>

namespace flywheel {
namespace {

constexpr int strong = 1, own_error = 2, peers_error = 3;
constexpr nanoseconds look_again{250'000'000};
/// A stopped process does nothing at all; this is for a debugger's breakpoint and for signals that stop and go on at once.
constexpr nanoseconds stopped_max{2'000'000'000};

bool says_any(std::string_view output, std::span<const std::string_view> phrases) {
  return std::any_of(phrases.begin(), phrases.end(), [&](std::string_view p) { return output.find(p) != std::string_view::npos; });
}

/// What C++, Python, PyTorch and CUDA say when there is no memory.
bool says_no_memory(std::string_view output) {
  static constexpr std::array<std::string_view, 6> phrases{"bad_alloc",     "MemoryError",     "out of memory",
                                                           "Out of memory", "OutOfMemoryError", "Cannot allocate memory"};
  return says_any(output, phrases);
}

/// What sockets, Gloo, NCCL and PyTorch say on the survivors when a peer is gone.
bool says_peer_is_gone(std::string_view output) {
  static constexpr std::array<std::string_view, 8> phrases{
      "Connection closed by peer", "Connection reset by peer", "Broken pipe",      "ncclRemoteError",
      "remote process exited",     "NCCL communicator was aborted", "Connection refused", "worker_lost"};
  return says_any(output, phrases);
}

bool is_out_of_memory(const rank_exit& how) {
  if (how.signal == SIGKILL && how.kernel_oom)
    return true;
  const bool is_near_limit = how.memory_max > 0 && how.peak_bytes >= how.memory_max - how.memory_max / 5;
  if (how.signal != 0)
    return is_near_limit || (how.signal == SIGABRT && says_no_memory(how.last_output));
  return how.code != 0 && says_no_memory(how.last_output);
}

std::string memory_text(const rank_exit& how) {
  std::string text;
  if (how.peak_bytes > 0)
    text = "it had used " + format_bytes(how.peak_bytes);
  if (how.memory_max > 0)
    text += (text.empty() ? "its limit was " : " of ") + format_bytes(how.memory_max);
  if (how.kernel_oom)
    text += std::string(text.empty() ? "" : ", ") + "the kernel's out-of-memory killer was at work";
  return text;
}

void add_detail(std::string& detail, const std::string& more) {
  if (!more.empty())
    detail += (detail.empty() ? "" : "; ") + more;
}

} // namespace

gang_policy::gang_policy(std::vector<rank_seat> seats, std::uint64_t attempt, mono_time now, gang_options options)
    : seats_(std::move(seats)), attempt_(attempt), started_(now), options_(options),
      watch_(static_cast<int>(seats_.size()), now, options.watch), rows_(seats_.size()) {
  for (const auto& s : seats_)
    if (std::find(uncleared_.begin(), uncleared_.end(), s.host) == uncleared_.end())
      uncleared_.push_back(s.host);
}

bool gang_policy::any_reported() const {
  return std::any_of(rows_.begin(), rows_.end(), [](const row& r) { return r.has_reported; });
}
bool gang_policy::all_stepped() const { return steps_by_all() > 0; }

std::uint64_t gang_policy::steps_by_all() const noexcept {
  std::uint64_t least = rows_.front().report.steps;
  for (const auto& r : rows_)
    least = std::min(least, r.report.steps);
  return least;
}

std::optional<double> gang_policy::loss() const {
  const double loss = rows_.front().report.loss;
  return rows_.front().report.steps > 0 && !std::isnan(loss) ? std::optional{loss} : std::nullopt;
}

gang_verdict gang_policy::straggler() const {
  if (state_ != gang_state::running || !all_stepped())
    return {};
  const auto verdict = watch_.judge(started_); // at a time when nothing can hang: only slowness is asked for
  return verdict.health == rank_health::slow ? verdict : gang_verdict{};
}

bool gang_policy::all_ended() const noexcept {
  return std::all_of(rows_.begin(), rows_.end(), [](const row& r) { return r.is_gone; });
}

void gang_policy::observe(const gang_observation& seen, mono_time now) {
  if (const auto* o = std::get_if<rank_observation>(&seen)) {
    if (o->attempt == attempt_ && o->rank >= 0 && static_cast<std::size_t>(o->rank) < rows_.size())
      on_rank(*o, now);
  } else if (const auto* c = std::get_if<host_cleared>(&seen)) {
    if (c->attempt != attempt_ || state_ != gang_state::clearing)
      return;
    std::erase(uncleared_, c->host);
    if (uncleared_.empty()) {
      state_ = gang_state::over;
      cleared_ = now;
    }
  } else if (const auto* lost = std::get_if<host_lost>(&seen)) {
    for (std::size_t r = 0; r < rows_.size(); ++r)
      if (seats_[r].host == lost->host) {
        if (!rows_[r].is_gone)
          blame(static_cast<int>(r), gang_end::host_lost, strong, lost->why, now);
        rows_[r].is_gone = true;
      }
  }
}

void gang_policy::on_rank(const rank_observation& o, mono_time now) {
  auto& r = rows_[static_cast<std::size_t>(o.rank)];
  if (const auto* refused = std::get_if<rank_refused>(&o.what)) {
    r.is_gone = true;
    blame(o.rank, gang_end::not_startable, strong, refused->why.to_string(), now);
  } else if (const auto* seen = std::get_if<rank_seen>(&o.what)) {
    on_seen(o.rank, *seen, now);
  } else if (const auto* ended = std::get_if<rank_ended>(&o.what)) {
    if (!r.is_gone)
      on_ended(o.rank, ended->how, now);
  }
}

void gang_policy::on_seen(int rank, const rank_seen& seen, mono_time now) {
  auto& r = rows_[static_cast<std::size_t>(rank)];
  const auto& report = seen.report;
  if (!seen.is_stopped)
    r.stopped_since.reset();
  else if (!r.stopped_since)
    r.stopped_since = now;
  if (report.phase == rank_phase::silent || report.steps < r.report.steps)
    return;
  r.has_reported = true;
  r.report = report;
  const auto age = [&](nanoseconds ago) { return mono_time{std::max(started_.ns, now.ns - std::max<std::int64_t>(ago.count(), 0))}; };
  if (report.steps > 0) {
    // A rank counts its steps from wherever it likes; step + 1 must not be 0.
    const auto step = std::min<std::uint64_t>(report.step, UINT64_MAX - 1);
    const bool waits = report.phase == rank_phase::waiting;
    if (report.own <= now - started_ && (waits || step > 0))
      watch_.took(rank, waits ? step : step - 1, report.own);
    if (step > 0)
      watch_.finished(rank, step - 1, age(seen.finished_ago));
    if (waits)
      watch_.arrived(rank, step, age(seen.entered_ago));
  }
  // While a rank does something long that it announced, and when the first has come to the end, nobody hangs; but not for ever.
  const bool is_pause = report.phase == rank_phase::paused || report.phase == rank_phase::done || report.phase == rank_phase::starting;
  if (is_pause && (options_.start_max.count() == 0 || seen.entered_ago <= options_.start_max))
    watch_.expect_pause(now);
}

void gang_policy::on_ended(int rank, const rank_exit& how, mono_time now) {
  auto& r = rows_[static_cast<std::size_t>(rank)];
  r.is_gone = true;
  r.exit = how;
  if (how.signal == 0 && how.code == 0) {
    r.succeeded = true;
    watch_.expect_pause(options_.start_max.count() > 0 ? now + options_.start_max : mono_time{INT64_MAX / 2});
    if (state_ == gang_state::running && std::all_of(rows_.begin(), rows_.end(), [](const row& x) { return x.succeeded; })) {
      complete_cause();
      begin_clearing(now);
    }
    return;
  }
  if (cause_.rank == rank && state_ == gang_state::clearing) { // its end completes the picture
    if (cause_.end != gang_end::peers_only)
      add_detail(cause_.detail, how.last_output.empty() ? "" : "its last output: " + how.last_output);
    return;
  }
  const bool is_ours = state_ == gang_state::clearing && (how.signal == SIGKILL || how.signal == SIGTERM);
  if (is_ours && now != noticed_)
    return;
  std::string output = how.last_output.empty() ? "" : "its last output: " + how.last_output;
  if (is_out_of_memory(how)) {
    std::string detail = memory_text(how);
    add_detail(detail, output);
    blame(rank, gang_end::out_of_memory, how.signal != 0 ? strong : own_error, std::move(detail), now);
  } else if (how.signal != 0) {
    blame(rank, gang_end::killed, strong, std::move(output), now);
  } else if (r.report.fault == rank_fault::peer || (r.report.fault == rank_fault::none && says_peer_is_gone(how.last_output))) {
    const int peer = r.report.blamed;
    std::string said = "rank " + std::to_string(rank) + " said: " + (r.report.fault_text.empty() ? how.last_output : r.report.fault_text);
    const bool is_known = peer >= 0 && peer != rank && static_cast<std::size_t>(peer) < rows_.size();
    if (is_known && !rows_[static_cast<std::size_t>(peer)].is_gone)
      blame(peer, gang_end::hung, peers_error, std::move(said), now);
    else
      blame(rank, gang_end::peers_only, peers_error, is_known ? std::move(said) : std::move(output), now);
  } else {
    if (!r.report.fault_text.empty())
      output = r.report.fault_text;
    blame(rank, gang_end::exit_code, own_error, std::move(output), now);
  }
}

void gang_policy::blame(int rank, gang_end end, int weight, std::string detail, mono_time now) {
  if (state_ == gang_state::over || cause_.end == gang_end::cancelled)
    return;
  // After the decision only something stronger counts that was seen together with it, or cannot be of our doing.
  if (weight_ != 0 && weight >= weight_)
    return;
  if (state_ == gang_state::clearing && (!noticed_ || now - *noticed_ > options_.settle))
    return;
  if (state_ == gang_state::clearing && weight_ == 0) // all had succeeded
    return;
  weight_ = weight;
  cause_ = {};
  cause_.end = end;
  cause_.rank = rank;
  cause_.detail = std::move(detail);
  if (!noticed_)
    noticed_ = now;
  complete_cause();
  if (state_ == gang_state::clearing)
    return;
  if (weight == peers_error) {
    state_ = gang_state::settling;
    settle_until_ = now + options_.settle;
  } else {
    begin_clearing(now);
  }
}

void gang_policy::complete_cause() {
  for (const auto& r : rows_)
    cause_.steps = std::max(cause_.steps, r.report.steps);
  cause_.reports = any_reported();
  cause_.lived = noticed_.value_or(started_) - started_;
  if (cause_.rank < 0)
    return;
  const auto i = static_cast<std::size_t>(cause_.rank);
  cause_.host = seats_[i].host;
  cause_.slot = seats_[i].slot;
  const auto& r = rows_[i];
  if (r.exit) {
    cause_.signal = r.exit->signal;
    cause_.code = r.exit->code;
  }
  cause_.has_stepped = r.report.steps > 0 || r.report.phase == rank_phase::working || r.report.phase == rank_phase::waiting;
  cause_.step = r.report.step;
  cause_.collective = r.report.collective;
  cause_.collective_name = r.report.collective_name;
}

void gang_policy::begin_clearing(mono_time now) {
  state_ = gang_state::clearing;
  if (!noticed_)
    noticed_ = now;
}

void gang_policy::cancel(std::string why, mono_time now) {
  if (state_ == gang_state::clearing || state_ == gang_state::over)
    return;
  cause_ = {};
  cause_.end = gang_end::cancelled;
  cause_.detail = std::move(why);
  complete_cause();
  begin_clearing(now);
}

void gang_policy::forgive(mono_time now) {
  watch_.expect_pause(now);
  for (auto& r : rows_)
    if (r.stopped_since)
      r.stopped_since = now;
  if (settle_until_)
    settle_until_ = now + options_.settle;
}

void gang_policy::judge_start(mono_time now) {
  const bool asked = options_.start_is_strict || any_reported();
  if (options_.start_max.count() == 0 || !asked || now - started_ <= options_.start_max)
    return;
  // Whoever has come least far holds the others up.
  int last = -1;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const auto& r = rows_[i];
    if (r.is_gone || r.report.steps > 0)
      continue;
    if (last < 0 || r.report.phase < rows_[static_cast<std::size_t>(last)].report.phase)
      last = static_cast<int>(i);
  }
  if (last >= 0)
    blame(last, gang_end::never_came_up, strong,
          "it was " + std::string(name_of(rows_[static_cast<std::size_t>(last)].report.phase)) + " after " + format_duration(now - started_), now);
}

void gang_policy::judge(mono_time now) {
  if (state_ == gang_state::settling && now >= *settle_until_) {
    settle_until_.reset();
    begin_clearing(now);
  }
  if (state_ != gang_state::running && state_ != gang_state::settling)
    return;
  if (options_.watches_hangs)
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const auto& r = rows_[i];
      const auto allowed = stopped_max + watch_.own_time(static_cast<int>(i));
      if (r.stopped_since && !r.is_gone && now - *r.stopped_since > allowed) {
        blame(static_cast<int>(i), gang_end::frozen, strong, "for " + format_duration(now - *r.stopped_since), now);
        return;
      }
    }
  if (!all_stepped()) {
    judge_start(now);
    return;
  }
  if (!options_.watches_hangs)
    return;
  const auto verdict = watch_.judge(now);
  if (verdict.health != rank_health::hung)
    return;
  if (verdict.rank < 0 || !rows_[static_cast<std::size_t>(verdict.rank)].is_gone) {
    blame(verdict.rank, gang_end::hung, strong, verdict.reason, now);
    return;
  }
  // The furthest behind has ended well; who is left does not end.
  for (std::size_t i = 0; i < rows_.size(); ++i)
    if (!rows_[i].is_gone) {
      blame(static_cast<int>(i), gang_end::hung, strong, "it goes on although rank " + std::to_string(verdict.rank) + " has ended", now);
      return;
    }
}

std::optional<mono_time> gang_policy::next_look(mono_time now) const {
  if (state_ == gang_state::settling)
    return settle_until_;
  if (state_ == gang_state::running)
    return now + look_again;
  return std::nullopt;
}

} // namespace flywheel
