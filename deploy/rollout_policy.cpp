#include "deploy/rollout_policy.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <cmath>

namespace flywheel {
namespace {

using nlohmann::json;

/// One-sided 99 %: alarms and the comparison are looked at again and again, and each look is a chance to be wrong.
constexpr double alarm_z = 2.326, quality_z = 2.326;
/// Fewer bad requests than this raise no alarm before the step's evidence is complete.
constexpr std::uint64_t alarm_min = 3;
constexpr double slow_share_max = 0.01;

double share(std::uint64_t part, std::uint64_t whole) noexcept {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

/// Lower end of Wilson's score interval (1927) for a proportion.
double wilson_low(std::uint64_t part, std::uint64_t whole) noexcept {
  if (whole == 0)
    return 0;
  const double n = static_cast<double>(whole), p = share(part, whole), z2 = alarm_z * alarm_z;
  return (p + z2 / (2 * n) - alarm_z * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n);
}

std::string count(std::uint64_t n, std::string_view noun) {
  return std::to_string(n) + " " + std::string{noun} + (n == 1 ? "" : "s");
}
std::string percent(double p) { return format_number(p) + " %"; }

json to_json(const quality_evidence& q) { return {{"labels", q.labels}, {"mean", q.mean}, {"squares", q.squares}}; }
quality_evidence quality_from(const json& j) {
  quality_evidence q;
  j.at("labels").get_to(q.labels);
  j.at("mean").get_to(q.mean);
  j.at("squares").get_to(q.squares);
  return q;
}

} // namespace

std::string_view name_of(rollout_action a) noexcept {
  switch (a) {
  case rollout_action::hold: return "hold";
  case rollout_action::advance: return "advance";
  case rollout_action::rollback: return "rollback";
  case rollout_action::complete: return "complete";
  }
  return "hold";
}

double traffic_evidence::quantile_ms(double q) const noexcept {
  const auto wanted = static_cast<std::uint64_t>(std::ceil(q * static_cast<double>(requests)));
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < latency.size() && requests > 0; ++i)
    if (sum += latency[i]; sum >= std::max<std::uint64_t>(1, wanted))
      return 0.01 * std::pow(1.25, static_cast<double>(i));
  return 0;
}

void quality_evidence::add(double score) noexcept {
  ++labels;
  const double delta = score - mean;
  mean += delta / static_cast<double>(labels);
  squares += delta * (score - mean);
}

double quality_evidence::standard_error() const noexcept {
  if (labels < 2)
    return 0;
  const double n = static_cast<double>(labels);
  return std::sqrt(squares / (n - 1) / n);
}

result<rollout_policy> rollout_policy::begin(const rollout_spec& spec, bool has_champion, mono_time now) {
  double last = 0;
  for (const double s : spec.steps) {
    if (!(s > last) || s > 100)
      return error{errc::invalid_argument, "rollout steps must increase, from above 0 to 100", "policy.rollout.steps",
                   "for example [5, 25, 100]"};
    last = s;
  }
  if (last != 100)
    return error{errc::invalid_argument, "the last rollout step must be 100", "policy.rollout.steps", "for example [5, 25, 100]"};
  rollout_policy p;
  p.spec_ = spec;
  p.has_champion_ = has_champion;
  p.since_ = now;
  return p;
}

void rollout_policy::observe(bool challenger, int http_status, double latency_ms) noexcept {
  const bool failed = http_status >= 500;
  if (!challenger) {
    ++champion_requests_;
    champion_errors_ += failed ? 1 : 0;
    return;
  }
  ++challenger_.requests;
  challenger_.errors += failed ? 1 : 0;
  challenger_.slow += latency_ms > spec_.latency_p99_ms_max ? 1 : 0;
  const double bucket = latency_ms <= 0.01 ? 0 : std::ceil(std::log(latency_ms / 0.01) / std::log(1.25));
  const auto last = challenger_.latency.size() - 1;
  ++challenger_.latency[bucket < static_cast<double>(last) ? static_cast<std::size_t>(bucket) : last];
}

void rollout_policy::label(bool challenger, double score) noexcept {
  if (std::isfinite(score))
    (challenger ? challenger_quality_ : champion_quality_).add(score);
}

void rollout_policy::compare(double champion_score, double challenger_score) noexcept {
  if (std::isfinite(champion_score) && std::isfinite(challenger_score))
    paired_drop_.add(champion_score - challenger_score);
}

double rollout_policy::challenger_percent() const noexcept {
  if (ended_ == rollout_action::rollback)
    return 0;
  return ended_ == rollout_action::complete ? 100 : spec_.steps[step_];
}

nanoseconds rollout_policy::in_step(mono_time now) const noexcept { return before_ + std::max(nanoseconds{0}, now - since_); }

std::optional<rollout_policy::quality_gap> rollout_policy::gap() const {
  const auto rounded = [](double x) { return format_number(std::round(x * 1e4) / 1e4); };
  if (paired_drop_.labels >= labels_min)
    return quality_gap{paired_drop_.mean, paired_drop_.standard_error(),
                       "both on the same " + count(paired_drop_.labels, "labelled row") + ": the challenger " +
                           (std::abs(paired_drop_.mean) < 5e-5 ? "is level with"
                            : paired_drop_.mean > 0            ? rounded(paired_drop_.mean) + " below"
                                                               : rounded(-paired_drop_.mean) + " above") +
                           " the champion"};
  if (std::min(challenger_quality_.labels, champion_quality_.labels) < labels_min)
    return std::nullopt;
  return quality_gap{champion_quality_.mean - challenger_quality_.mean,
                     std::hypot(champion_quality_.standard_error(), challenger_quality_.standard_error()),
                     "champion " + rounded(champion_quality_.mean) + " on " + count(champion_quality_.labels, "label") + ", challenger " +
                         rounded(challenger_quality_.mean) + " on " + std::to_string(challenger_quality_.labels)};
}

std::map<std::string, double> rollout_policy::numbers(mono_time now) const {
  std::map<std::string, double> n{
      {"step_percent", spec_.steps[step_]},
      {"step_seconds", static_cast<double>(in_step(now).count()) * 1e-9},
      {"step_seconds_min", static_cast<double>(spec_.step_time_min.count()) * 1e-9},
      {"requests", static_cast<double>(challenger_.requests)},
      {"requests_min", static_cast<double>(spec_.step_requests_min)},
      {"error_rate", share(challenger_.errors, challenger_.requests)},
      {"error_rate_max", spec_.error_rate_max},
      {"latency_p99_ms", challenger_.quantile_ms(0.99)},
      {"latency_p99_ms_max", spec_.latency_p99_ms_max},
      {"slow_share", share(challenger_.slow, challenger_.requests)},
      {"challenger_labels", static_cast<double>(challenger_quality_.labels)}};
  if (has_champion_) {
    n["champion_requests"] = static_cast<double>(champion_requests_);
    n["champion_error_rate"] = share(champion_errors_, champion_requests_);
    n["champion_labels"] = static_cast<double>(champion_quality_.labels);
    n["quality_drop_max"] = spec_.quality_drop_max;
  }
  if (challenger_quality_.labels > 0)
    n["challenger_quality"] = challenger_quality_.mean;
  if (champion_quality_.labels > 0)
    n["champion_quality"] = champion_quality_.mean;
  n["paired_labels"] = static_cast<double>(paired_drop_.labels);
  if (const auto g = gap()) {
    n["quality_drop"] = g->drop;
    n["quality_drop_error"] = g->error;
  }
  return n;
}

rollout_verdict rollout_policy::judge(mono_time now) const {
  rollout_verdict v;
  v.percent = challenger_percent();
  v.numbers = numbers(now);
  if (finished()) {
    v.reason = ended_ == rollout_action::complete ? "the rollout is complete" : "the rollout was rolled back";
    return v;
  }
  const auto& c = challenger_;
  const bool evidence = c.requests >= spec_.step_requests_min && c.requests > 0;
  const bool time = in_step(now) >= spec_.step_time_min;
  const std::string here = "at " + percent(spec_.steps[step_]);
  const auto rollback = [&](std::string why) {
    v.action = rollout_action::rollback;
    v.percent = 0;
    v.reason = std::move(why);
    return v;
  };

  const double errors = share(c.errors, c.requests);
  if ((evidence && errors > spec_.error_rate_max) || (c.errors >= alarm_min && wilson_low(c.errors, c.requests) > spec_.error_rate_max))
    return rollback(std::to_string(c.errors) + " of the challenger's " + count(c.requests, "request") + " " + here + " failed (" +
                    format_percent(errors) + "), more than the " + format_percent(spec_.error_rate_max) + " allowed");

  const double slow = share(c.slow, c.requests);
  if ((evidence && slow > slow_share_max) || (c.slow >= alarm_min && wilson_low(c.slow, c.requests) > slow_share_max))
    return rollback(std::to_string(c.slow) + " of the challenger's " + count(c.requests, "request") + " " + here + " took longer than " +
                    format_number(spec_.latency_p99_ms_max) + " ms, so its 99th percentile (about " +
                    format_number(std::round(c.quantile_ms(0.99) * 100) / 100) + " ms) is above the limit");

  std::string quality = has_champion_ ? "quality was not compared (" + std::to_string(challenger_quality_.labels) + " and " +
                                            std::to_string(champion_quality_.labels) + " labels, " +
                                            std::to_string(labels_min) + " each are needed)"
                                      : "there is no champion to compare with";
  bool undecided = false;
  if (const auto g = has_champion_ ? gap() : std::nullopt) {
    const bool worse = g->drop > spec_.quality_drop_max;
    if (worse && g->drop > quality_z * g->error)
      return rollback("the challenger is worse by " + format_number(std::round(g->drop * 1e4) / 1e4) + " (" + g->told +
                      "), more than the " + format_number(spec_.quality_drop_max) + " allowed");
    undecided = worse;
    quality = (worse ? "the challenger looks worse, but that may be chance (" : "quality holds (") + g->told + ")";
  }

  if (!evidence || !time || undecided) {
    v.reason = here + ": " + std::to_string(c.requests) + " of " + count(std::max<std::uint64_t>(1, spec_.step_requests_min), "request") +
               ", " + format_duration(in_step(now)) + " of " + format_duration(spec_.step_time_min);
    if (undecided)
      v.reason += "; " + quality;
    return v;
  }
  const bool last = step_ + 1 == spec_.steps.size();
  v.action = last ? rollout_action::complete : rollout_action::advance;
  v.percent = last ? 100 : spec_.steps[step_ + 1];
  v.reason = here + " the challenger answered " + count(c.requests, "request") + " with " + count(c.errors, "error") +
             " and a 99th percentile of about " + format_number(std::round(c.quantile_ms(0.99) * 100) / 100) + " ms; " + quality;
  return v;
}

void rollout_policy::apply(const rollout_verdict& verdict, mono_time now) {
  if (finished() || verdict.action == rollout_action::hold)
    return;
  if (verdict.action != rollout_action::advance) {
    ended_ = verdict.action;
    return;
  }
  if (step_ + 1 < spec_.steps.size())
    ++step_;
  since_ = now;
  before_ = nanoseconds{0};
  challenger_ = {};
  champion_requests_ = champion_errors_ = 0;
}

json rollout_policy::to_json(mono_time now) const {
  return {{"format", 2},
          {"steps", spec_.steps},
          {"latency_p99_ms_max", spec_.latency_p99_ms_max}, // "slow" was counted against it
          {"has_champion", has_champion_},
          {"step", step_},
          {"outcome", name_of(ended_)},
          {"step_ns", in_step(now).count()},
          {"requests", challenger_.requests},
          {"errors", challenger_.errors},
          {"slow", challenger_.slow},
          {"latency", challenger_.latency},
          {"champion_requests", champion_requests_},
          {"champion_errors", champion_errors_},
          {"champion_quality", flywheel::to_json(champion_quality_)},
          {"challenger_quality", flywheel::to_json(challenger_quality_)},
          {"paired_drop", flywheel::to_json(paired_drop_)}};
}

result<rollout_policy> rollout_policy::from_json(const json& state, const rollout_spec& spec, mono_time now) {
  FLYWHEEL_TRY(auto p, begin(spec, true, now));
  try {
    if (state.at("format") != 1 && state.at("format") != 2)
      return error{errc::incompatible_version, "the rollout's state has format " + state.at("format").dump(), {}, "use a newer Flywheel"};
    if (state.at("steps") != json(spec.steps) || state.at("latency_p99_ms_max") != spec.latency_p99_ms_max)
      return error{errc::invalid_format, "the rollout's state belongs to other steps or another latency limit"};
    state.at("has_champion").get_to(p.has_champion_);
    state.at("step").get_to(p.step_);
    const auto outcome = state.at("outcome").get<std::string>();
    for (const auto a : {rollout_action::hold, rollout_action::rollback, rollout_action::complete})
      if (outcome == name_of(a))
        p.ended_ = a;
    p.before_ = nanoseconds{state.at("step_ns").get<std::int64_t>()};
    state.at("requests").get_to(p.challenger_.requests);
    state.at("errors").get_to(p.challenger_.errors);
    state.at("slow").get_to(p.challenger_.slow);
    state.at("latency").get_to(p.challenger_.latency);
    state.at("champion_requests").get_to(p.champion_requests_);
    state.at("champion_errors").get_to(p.champion_errors_);
    p.champion_quality_ = quality_from(state.at("champion_quality"));
    p.challenger_quality_ = quality_from(state.at("challenger_quality"));
    if (state.at("format") == 2) // programs that wrote format 1 did not compare row by row
      p.paired_drop_ = quality_from(state.at("paired_drop"));
    if (p.step_ >= spec.steps.size() || p.before_.count() < 0 || outcome != name_of(p.ended_))
      return error{errc::invalid_format, "the rollout's state names a step or outcome that does not exist"};
  } catch (const json::exception& e) {
    return error{errc::invalid_format, std::string{"the rollout's state cannot be read: "} + e.what()};
  }
  return p;
}

} // namespace flywheel
