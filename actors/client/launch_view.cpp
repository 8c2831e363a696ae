#include "actors/client/launch_view.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>
#include <cmath>

namespace flywheel {
namespace {

using nlohmann::json;

json record_of_cause(const gang_cause& c) {
  json r{{"end", std::string(name_of(c.end))}, {"sentence", sentence_of(c)}, {"steps", c.steps}};
  if (c.rank >= 0) {
    r["rank"] = c.rank;
    r["host"] = c.host;
    r["slot"] = c.slot;
  }
  if (c.signal != 0)
    r["signal"] = c.signal;
  else if (c.end == gang_end::exit_code || c.end == gang_end::out_of_memory || c.end == gang_end::peers_only)
    r["code"] = c.code;
  if (c.has_stepped)
    r["step"] = c.step;
  if (c.collective > 0) {
    r["collective"] = c.collective;
    r["collective_name"] = c.collective_name;
  }
  return r;
}

} // namespace

std::string line_of(const gang_event& e) {
  switch (e.what) {
  case gang_event::kind::straggler:
  case gang_event::kind::garbled: return e.text;
  case gang_event::kind::restarting: return sentence_of(e.cause) + "; all ranks were stopped: " + e.text;
  case gang_event::kind::noticed:
  case gang_event::kind::attempt_started:
  case gang_event::kind::rank_started:
  case gang_event::kind::first_step:
  case gang_event::kind::cleared:
  case gang_event::kind::ended: return {};
  }
  return {};
}

json record_of(const gang_event& e) {
  json r{{"event", std::string(name_of(e.what))}, {"at_ns", e.at.ns}, {"attempt", e.attempt}};
  if (e.rank >= 0)
    r["rank"] = e.rank;
  if (e.pid > 0)
    r["pid"] = e.pid;
  if (!e.text.empty())
    r["text"] = e.text;
  if (e.what == gang_event::kind::restarting)
    r["after_ns"] = e.delay.count();
  if (e.what == gang_event::kind::noticed || e.what == gang_event::kind::cleared)
    r["cause"] = record_of_cause(e.cause);
  return r;
}

json record_of(const gang_result& result) {
  json r{{"event", result.cause.end == gang_end::succeeded ? "done" : "failed"}, {"attempt", result.attempt}, {"restarts", result.restarts},
         {"steps", result.steps}, {"cause", record_of_cause(result.cause)}};
  if (result.loss && std::isfinite(*result.loss)) // JSON has no other numbers
    r["loss"] = *result.loss;
  if (!result.why_final.empty())
    r["why_final"] = result.why_final;
  return r;
}

std::optional<gang_result> end_in(const json& body) {
  const auto text = [](const json& j, const char* key) { return j.is_object() && j.contains(key) && j[key].is_string() ? j[key].get<std::string>() : std::string{}; };
  const auto number = [](const json& j, const char* key) { return j.is_object() && j.contains(key) && j[key].is_number_integer() ? j[key].get<std::int64_t>() : 0; };
  const auto state = text(body, "state");
  if (state != "done" && state != "gave_up" && state != "cancelled")
    return std::nullopt;
  const auto cause = body.value("cause", json::object());
  gang_result r;
  r.attempt = static_cast<std::uint64_t>(std::max<std::int64_t>(number(body, "attempt"), 0));
  r.restarts = static_cast<std::uint32_t>(std::max<std::int64_t>(number(body, "restarts"), 0));
  r.steps = static_cast<std::uint64_t>(std::max<std::int64_t>(number(body, "steps"), 0));
  r.cause.end = state == "cancelled" ? gang_end::cancelled : gang_end::peers_only; // one that this version does not know
  for (const auto e : {gang_end::succeeded, gang_end::killed, gang_end::exit_code, gang_end::out_of_memory, gang_end::hung, gang_end::frozen,
                       gang_end::never_came_up, gang_end::not_startable, gang_end::peers_only, gang_end::host_lost, gang_end::cancelled})
    if (state == "gave_up" && text(cause, "end") == name_of(e))
      r.cause.end = e;
  if (state == "done")
    r.cause.end = gang_end::succeeded;
  r.cause.signal = static_cast<int>(number(cause, "signal"));
  r.cause.code = static_cast<int>(number(cause, "code"));
  return r;
}

std::string line_of(const gang_result& r) {
  const std::string restarts = r.restarts == 0 ? "" : r.restarts == 1 ? " after 1 restart" : " after " + std::to_string(r.restarts) + " restarts";
  if (r.cause.end == gang_end::succeeded)
    return sentence_of(r.cause) + restarts;
  return sentence_of(r.cause) + "; final" + restarts + ": " + r.why_final;
}

int exit_code_of(const gang_result& r, int stop_signal) noexcept {
  switch (r.cause.end) {
  case gang_end::succeeded: return 0;
  case gang_end::cancelled: return stop_signal > 0 ? 128 + stop_signal : 1;
  case gang_end::not_startable: return 127;
  default: break;
  }
  if (r.cause.end == gang_end::hung || r.cause.end == gang_end::frozen || r.cause.end == gang_end::never_came_up || r.cause.end == gang_end::host_lost)
    return 1; // its signal, if any, was ours
  return r.cause.signal != 0 ? 128 + r.cause.signal : r.cause.code != 0 ? r.cause.code : 1;
}

} // namespace flywheel
