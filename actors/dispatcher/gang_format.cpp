#include "actors/dispatcher/gang_format.hpp"

#include "cluster/base/json.hpp"

#include <algorithm>
#include <cmath>

namespace flywheel::dispatch {

using nlohmann::json;

namespace {

constexpr std::size_t seen_max = 4096, held_max = 65'536;

template <class Read> auto read(const char* what, Read&& r) -> result<decltype(r())> {
  try {
    return r();
  } catch (const json::exception& e) {
    return error{errc::protocol_violation, std::string{what} + ": " + e.what(), {}, "run the same version of flywheel on all nodes"};
  }
}

json time_json(const std::optional<nanoseconds>& t) { return t ? json(t->count()) : json(); }
std::optional<nanoseconds> time_from(const json& j) { return j.is_null() ? std::nullopt : std::optional{nanoseconds{j.get<std::int64_t>()}}; }

json error_json(const error& e) { return {{"code", std::string{name_of(e.code)}}, {"what", e.what}, {"where", e.where}, {"hint", e.hint}}; }
error error_from(const json& j) {
  return {errc_from_name(j.at("code").get<std::string>()).value_or(errc::internal), j.at("what").get<std::string>(), j.at("where").get<std::string>(),
          j.at("hint").get<std::string>()};
}

gang_order plain_order(const json& j) {
  gang_order o;
  o.id = j.at("id").get<std::string>();
  o.user = j.at("user").get<std::string>();
  o.command = j.at("command").get<std::vector<std::string>>();
  o.environment = j.at("environment").get<std::vector<std::string>>();
  o.folder = j.at("folder").get<std::string>();
  o.checkpoints = j.at("checkpoints").get<std::string>();
  o.ranks = j.at("ranks").get<std::uint32_t>();
  o.kind = j.at("kind").get<std::string>() == "gpu" ? slot_kind::gpu : slot_kind::cpu;
  o.memory_max = j.at("memory_max").get<std::uint64_t>();
  o.priority = j.at("priority").get<int>();
  o.restarts_max = j.at("restarts_max").get<std::uint32_t>();
  o.time_max = nanoseconds{j.at("time_max_ns").get<std::int64_t>()};
  o.stop_grace = nanoseconds{j.at("stop_grace_ns").get<std::int64_t>()};
  o.step_max = time_from(j.at("step_max_ns"));
  o.start_max = time_from(j.at("start_max_ns"));
  return o;
}

json report_json(const rank_report& r) {
  json j{{"phase", static_cast<int>(r.phase)}, {"step", r.step}, {"own", r.own.count()}, {"steps", r.steps}};
  if (!std::isnan(r.loss))
    j["loss"] = r.loss;
  if (r.collective > 0)
    j["collective"] = r.collective, j["name"] = r.collective_name;
  if (r.fault != rank_fault::none)
    j["fault"] = static_cast<int>(r.fault), j["blamed"] = r.blamed, j["text"] = r.fault_text;
  return j;
}

rank_report report_of(const json& j) {
  rank_report r;
  const auto phase = j.at("phase").get<int>();
  r.phase = phase >= 0 && phase <= static_cast<int>(rank_phase::failed) ? static_cast<rank_phase>(phase) : rank_phase::silent;
  r.step = j.at("step").get<std::uint64_t>();
  r.own = nanoseconds{j.at("own").get<std::int64_t>()};
  r.steps = j.at("steps").get<std::uint64_t>();
  r.loss = j.value("loss", std::nan(""));
  r.collective = j.value("collective", std::uint64_t{0});
  r.collective_name = j.value("name", "");
  const auto fault = j.value("fault", 0);
  r.fault = fault >= 0 && fault <= static_cast<int>(rank_fault::peer) ? static_cast<rank_fault>(fault) : rank_fault::none;
  r.blamed = j.value("blamed", -1);
  r.fault_text = j.value("text", "");
  return r;
}

json rank_json(const rank_observation& o, nanoseconds waited) {
  json j{{"rank", o.rank}, {"attempt", o.attempt}};
  if (const auto* started = std::get_if<rank_started>(&o.what)) {
    j["started"] = started->pid;
  } else if (const auto* refused = std::get_if<rank_refused>(&o.what)) {
    j["refused"] = error_json(refused->why);
  } else if (const auto* garbled = std::get_if<rank_garbled>(&o.what)) {
    j["garbled"] = error_json(garbled->why);
  } else if (const auto* seen = std::get_if<rank_seen>(&o.what)) {
    j["seen"] = report_json(seen->report);
    j["entered_ago"] = (seen->entered_ago + waited).count();
    j["finished_ago"] = (seen->finished_ago + waited).count();
    j["stopped"] = seen->is_stopped;
  } else {
    const auto& how = std::get<rank_ended>(o.what).how;
    j["ended"] = {{"signal", how.signal}, {"code", how.code}, {"oom", how.kernel_oom}, {"peak", how.peak_bytes}, {"limit", how.memory_max}, {"output", how.last_output}};
  }
  return j;
}

gang_observation observation_of(const json& j) {
  if (j.contains("cleared"))
    return host_cleared{j.at("cleared").get<std::string>(), j.at("attempt").get<std::uint64_t>()};
  if (j.contains("lost"))
    return host_lost{j.at("lost").get<std::string>(), j.at("why").get<std::string>()};
  rank_observation o;
  o.rank = j.at("rank").get<int>();
  o.attempt = j.at("attempt").get<std::uint64_t>();
  if (j.contains("started")) {
    o.what = rank_started{j.at("started").get<int>()};
  } else if (j.contains("refused")) {
    o.what = rank_refused{error_from(j.at("refused"))};
  } else if (j.contains("garbled")) {
    o.what = rank_garbled{error_from(j.at("garbled"))};
  } else if (j.contains("seen")) {
    rank_seen s;
    s.report = report_of(j.at("seen"));
    s.entered_ago = nanoseconds{std::max<std::int64_t>(0, j.at("entered_ago").get<std::int64_t>())};
    s.finished_ago = nanoseconds{std::max<std::int64_t>(0, j.at("finished_ago").get<std::int64_t>())};
    s.is_stopped = j.at("stopped").get<bool>();
    o.what = std::move(s);
  } else {
    const auto& e = j.at("ended");
    rank_exit how;
    how.signal = e.at("signal").get<int>();
    how.code = e.at("code").get<int>();
    how.kernel_oom = e.at("oom").get<bool>();
    how.peak_bytes = e.at("peak").get<std::uint64_t>();
    how.memory_max = e.at("limit").get<std::uint64_t>();
    how.last_output = e.at("output").get<std::string>();
    o.what = rank_ended{std::move(how)};
  }
  return o;
}

json cause_json(const gang_cause& c) {
  json r{{"end", std::string{name_of(c.end)}}, {"sentence", sentence_of(c)}, {"steps", c.steps}};
  if (c.rank >= 0)
    r["rank"] = c.rank, r["host"] = c.host, r["slot"] = c.slot;
  if (c.signal != 0)
    r["signal"] = c.signal;
  else if (c.code != 0)
    r["code"] = c.code;
  if (c.has_stepped)
    r["step"] = c.step;
  if (c.collective > 0)
    r["collective"] = c.collective, r["collective_name"] = c.collective_name;
  return r;
}

} // namespace

json to_json(const gang_order& o) {
  return {{"id", o.id}, {"user", o.user}, {"command", o.command}, {"environment", o.environment}, {"folder", o.folder}, {"checkpoints", o.checkpoints},
          {"ranks", o.ranks}, {"kind", name_of(o.kind)}, {"memory_max", o.memory_max}, {"priority", o.priority}, {"restarts_max", o.restarts_max},
          {"time_max_ns", o.time_max.count()}, {"stop_grace_ns", o.stop_grace.count()}, {"step_max_ns", time_json(o.step_max)},
          {"start_max_ns", time_json(o.start_max)}};
}
result<gang_order> order_from(const json& j) {
  FLYWHEEL_TRY(auto o, read("order of a gang", [&] { return plain_order(j); }));
  FLYWHEEL_CHECK(check(o));
  return o;
}

json to_json(const gang_attempt& a) {
  json seats = json::array();
  for (std::size_t i = 0; i < a.seats.size(); ++i)
    seats.push_back({{"node", a.seats[i].host}, {"slot", a.seats[i].slot}, {"local", a.seats[i].local}, {"gpu", a.gpus[i]}, {"address", a.addresses[i]}});
  return {{"order", to_json(a.order)}, {"attempt", a.attempt}, {"lease", a.lease}, {"restart", a.restart}, {"seats", seats}, {"port", a.master_port},
          {"rendezvous", a.rendezvous}, {"logs", a.logs}};
}
result<gang_attempt> attempt_from(const json& j) {
  FLYWHEEL_TRY(auto a, read("attempt of a gang", [&] {
    gang_attempt r;
    r.order = plain_order(j.at("order"));
    r.attempt = j.at("attempt").get<std::uint64_t>();
    r.lease = j.at("lease").get<std::uint64_t>();
    r.restart = j.at("restart").get<std::uint32_t>();
    for (const auto& s : j.at("seats")) {
      r.seats.push_back({s.at("node").get<std::string>(), s.at("slot").get<std::string>(), s.at("local").get<int>()});
      r.gpus.push_back(s.at("gpu").get<int>());
      r.addresses.push_back(s.at("address").get<std::string>());
    }
    r.master_port = j.at("port").get<int>();
    r.rendezvous = j.at("rendezvous").get<std::string>();
    r.logs = j.at("logs").get<std::string>();
    return r;
  }));
  FLYWHEEL_CHECK(check(a.order));
  if (a.seats.size() != a.order.ranks || a.attempt == 0)
    return error{errc::protocol_violation, "an attempt of " + std::to_string(a.order.ranks) + " ranks with " + std::to_string(a.seats.size()) + " seats", a.order.id};
  return a;
}

json to_json(const gang_observation& o, nanoseconds waited) {
  if (const auto* r = std::get_if<rank_observation>(&o))
    return rank_json(*r, waited);
  if (const auto* c = std::get_if<host_cleared>(&o))
    return {{"cleared", c->host}, {"attempt", c->attempt}};
  const auto& lost = std::get<host_lost>(o);
  return {{"lost", lost.host}, {"why", lost.why}};
}
result<std::vector<gang_observation>> seen_from(const json& j) {
  if (!j.is_array() || j.size() > seen_max)
    return error{errc::protocol_violation, "seen: expected a list of at most " + std::to_string(seen_max)};
  return read("seen", [&] {
    std::vector<gang_observation> all;
    for (const auto& o : j)
      all.push_back(observation_of(o));
    return all;
  });
}

json to_json(const gang_news& n) {
  json j{{"state", std::string{name_of(n.what)}}, {"attempt", n.attempt}, {"restarts", n.restarts}};
  if (!n.places.empty()) {
    j["slots"] = json::array();
    for (const auto& s : n.places)
      j["slots"].push_back(s.text());
  }
  using kind = gang_news::kind;
  if (n.what == kind::failed || n.what == kind::done || n.what == kind::gave_up || n.what == kind::cancelled)
    j["cause"] = cause_json(n.cause);
  if (n.what == kind::failed) {
    j["restart"] = n.restart;
    j["after_ns"] = n.after.count();
    j["avoid"] = json::array();
    for (const auto& s : n.avoid)
      j["avoid"].push_back({s.node, s.name});
  }
  if (n.what == kind::failed || n.what == kind::yielded)
    j["used_ns"] = n.used.count();
  if (n.what == kind::failed || n.what == kind::yielded || n.what == kind::done)
    j["steps"] = n.steps;
  if (n.loss && std::isfinite(*n.loss))
    j["loss"] = *n.loss;
  return j;
}

json to_json(const gang_view& v) {
  return {{"gang", v.id}, {"user", v.user}, {"state", v.state}, {"text", v.text}, {"ranks", v.ranks}, {"restarts", v.restarts}, {"priority", v.priority},
          {"attempt", v.attempt}, {"steps", v.steps}, {"nodes", v.nodes}};
}

result<std::map<std::string, std::uint64_t>> held_gangs_from(const json& j) {
  std::map<std::string, std::uint64_t> all;
  if (j.is_null())
    return all;
  if (!j.is_object() || j.size() > held_max)
    return error{errc::protocol_violation, "gangs: expected a map of names"};
  for (const auto& [id, lease] : j.items()) {
    if (!lease.is_number_unsigned())
      return error{errc::protocol_violation, "gangs: a lease is a number"};
    all[id] = lease.get<std::uint64_t>();
  }
  return all;
}

std::vector<gang_memory> unfinished_gangs(std::span<const event> events) {
  struct seen {
    gang_memory memory;
    std::optional<wall_time> began;
    wall_time last;          ///< of its events
    std::uint64_t order = 0;
  };
  std::map<std::string, seen> open;
  for (const auto& e : events) {
    if (e.kind != event_kind::gang_state)
      continue;
    const auto body = json::parse(e.body, nullptr, false);
    if (!body.is_object() || !body.contains("state") || !body["state"].is_string())
      continue;
    const auto state = body["state"].get<std::string>();
    if (state == "ordered") {
      if (auto order = order_from(body.value("order", json{})))
        open[e.subject] = {{std::move(*order), 0, 0, {}, {}}, std::nullopt, e.time, e.seq};
      continue;
    }
    const auto i = open.find(e.subject);
    if (i == open.end())
      continue;
    auto& s = i->second;
    const auto number = [&](const char* key) { return body.contains(key) && body[key].is_number_integer() ? body[key].get<std::int64_t>() : 0; };
    if (state == "leased") {
      if (s.began) // nobody saw the end of the attempt before
        s.memory.used += std::max(nanoseconds{}, s.last - *s.began);
      s.began = e.time;
    } else if (state == "started") {
      s.memory.attempt = std::max(s.memory.attempt, static_cast<std::uint64_t>(number("attempt")));
    } else if (state == "failed" || state == "yielded") {
      s.memory.used = nanoseconds{number("used_ns")};
      s.memory.restarts = static_cast<std::uint32_t>(number("restarts"));
      s.began.reset();
      s.memory.avoid.clear();
      for (const auto& a : body.value("avoid", json::array()))
        if (a.is_array() && a.size() == 2 && a[0].is_string() && a[1].is_string())
          s.memory.avoid.insert({a[0].get<std::string>(), a[1].get<std::string>()});
    } else if (state == "done" || state == "gave_up" || state == "cancelled") {
      open.erase(i);
      continue;
    }
    s.last = e.time;
  }
  std::vector<seen> in_order;
  for (auto& [id, s] : open) {
    if (s.began)
      s.memory.used += std::max(nanoseconds{}, std::max(events.back().time, s.last) - *s.began);
    in_order.push_back(std::move(s));
  }
  std::ranges::sort(in_order, {}, &seen::order);
  std::vector<gang_memory> all;
  for (auto& s : in_order)
    all.push_back(std::move(s.memory));
  return all;
}

} // namespace flywheel::dispatch
