#include "actors/dispatcher/task_host_state_actor.hpp"
#include "actors/protocol/control_format.hpp"
#include "cluster/base/text.hpp"
#include "cluster/transfer/file_server.hpp"

#include <algorithm>

namespace flywheel::hosting {

using nlohmann::json;

namespace {
constexpr unsigned couriers_max = 4;
} // namespace

namespace {

json error_json(const error& e) { return {{"code", std::string{name_of(e.code)}}, {"what", e.what}, {"where", e.where}, {"hint", e.hint}}; }

/// Whatever came of an errand, as a message to ourselves.
transfer::courier_events courier_ears(self_pointer self) {
  const task_host_agent me{self};
  const auto tell = [me, number = self->state.courier_number](const char* what, std::uint64_t lease, const std::string& task, json more, const error* problem) {
    more["moved"] = what;
    more["lease"] = lease;
    more["task"] = task;
    if (problem != nullptr)
      more["problem"] = error_json(*problem);
    cafx::anon_send(me, files_moved{number, control::encode(more)});
  };
  transfer::courier_events ears;
  ears.ready = [tell](std::uint64_t lease, const std::string& task, const result<worker_task>& t) {
    tell("ready", lease, task, t ? json{{"here", dispatch::to_json(*t)}} : json::object(), t ? nullptr : &t.error());
  };
  ears.saved = [tell](std::uint64_t lease, const std::string& task, std::uint64_t number, const status& s) {
    tell("saved", lease, task, {{"number", number}}, s ? nullptr : &s.error());
  };
  ears.brought = [tell](std::uint64_t lease, const std::string& task, const result<std::string>& body) {
    tell("brought", lease, task, body ? json{{"body", *body}} : json::object(), body ? nullptr : &body.error());
  };
  return ears;
}

} // namespace

std::string open_courier(self_pointer self) {
  auto& st = self->state;
  if (st.courier)
    return {};
  if (st.terms.data_port == 0 || !st.options.keys)
    return "no file server is offered";
  const auto endpoint = transfer::tcp_endpoint(st.options.head_host, st.terms.data_port, false);
  if (!endpoint)
    return endpoint.error().to_string();
  transfer::courier_options o;
  o.folder = st.options.folder;
  o.node = st.options.node;
  o.server.endpoint = *endpoint;
  o.server.server_key = st.terms.data_key;
  o.cache_bytes_max = st.options.cache_bytes_max;
  o.threads = static_cast<unsigned>(std::clamp<std::size_t>(st.options.slots.size(), 1, couriers_max));
  ++st.courier_number;
  auto courier = transfer::task_courier::start(std::move(o), st.options.keys, courier_ears(self), *st.options.time);
  if (!courier)
    return courier.error().to_string();
  st.courier = std::move(*courier);
  return {};
}

namespace {

/// The task is over here: told to the head until it has taken it.
void finish_away(self_pointer self, const std::string& task, json end, bool handed_back) {
  auto& st = self->state;
  const auto i = st.away.find(task);
  st.unreported[task] = {i->second.lease, std::move(end), handed_back};
  st.courier->drop(i->second.lease);
  st.away.erase(i);
  st.running.erase(task);
  tell_end(self, task);
}

json end_of(const std::string& task, const error& cause) {
  task_end e;
  e.task = task;
  e.cause = cause;
  return dispatch::to_json(e);
}

void hand_back(self_pointer self, const std::string& task, const error& why) {
  self->state.options.log("hands " + task + " back: " + why.to_string());
  finish_away(self, task, end_of(task, why), true);
}

void fetched(self_pointer self, const std::string& task, away_task& a, const json& m, const std::optional<error>& problem) {
  if (!a.cancelled.empty())
    return finish_away(self, task, end_of(task, error{errc::cancelled, a.cancelled}), false);
  if (problem)
    return hand_back(self, task, *problem);
  auto t = dispatch::task_from(m.at("here"));
  if (!t || !self->state.pool)
    return hand_back(self, task, t ? self->state.pool_error : t.error());
  a.in_pool = true;
  self->state.pool->submit(std::move(*t));
}

/// What a verdict is asked for is safe at the head, or the task does not go on here.
void saved(self_pointer self, const std::string& task, away_task& a, const json& m, const std::optional<error>& problem) {
  auto& st = self->state;
  const auto number = m.value("number", std::uint64_t{0});
  if (a.saves > 0)
    --a.saves;
  const auto r = st.unsaved.find(number);
  if (problem && a.in_pool && !a.lost && a.end.is_null()) {
    a.lost = *problem;
    if (st.pool)
      st.pool->cancel(task, "its files cannot be brought to the head");
  }
  if (r == st.unsaved.end())
    return;
  if (a.lost) {
    if (st.pool)
      st.pool->verdict(number, false);
  } else {
    st.reports[number] = std::move(r->second);
    tell_report(self, number);
  }
  st.unsaved.erase(r);
}

void brought(self_pointer self, const std::string& task, away_task& a, const json& m, const std::optional<error>& problem) {
  if (problem)
    return hand_back(self, task, *problem);
  auto end = std::move(a.end);
  end["body"] = m.at("body");
  finish_away(self, task, std::move(end), false);
}

} // namespace

void moved(self_pointer self, const files_moved& m) {
  auto& st = self->state;
  const auto body = control::decode(m.bytes);
  if (m.courier != st.courier_number || !st.courier || !body)
    return;
  const auto task = body->value("task", "");
  const auto i = st.away.find(task);
  if (i == st.away.end() || i->second.lease != body->value("lease", std::uint64_t{0}))
    return;
  std::optional<error> problem;
  if (body->contains("problem")) {
    const auto& p = (*body)["problem"];
    problem = error{errc_from_name(p.value("code", "")).value_or(errc::internal), p.value("what", ""), p.value("where", ""), p.value("hint", "")};
  }
  const auto what = body->value("moved", "");
  if (what == "ready")
    fetched(self, task, i->second, *body, problem);
  else if (what == "saved")
    saved(self, task, i->second, *body, problem);
  else
    brought(self, task, i->second, *body, problem);
}

void save_running(self_pointer self) {
  auto& st = self->state;
  st.next_save = st.now() + save_every;
  for (auto& [task, a] : st.away)
    if (a.in_pool && a.end.is_null() && !a.lost && a.saves == 0 && st.courier) {
      ++a.saves;
      st.courier->save(a.lease, 0);
    }
}

void ended_away(self_pointer self, const std::string& task, away_task& a, json end) {
  if (a.lost)
    return hand_back(self, task, *a.lost);
  if (end["cause"].value("code", "") == name_of(errc::disk_full)) // this node's disk, not the task
    return hand_back(self, task, error{errc::disk_full, end["cause"].value("what", ""), "node " + self->state.options.node, end["cause"].value("hint", "")});
  if (end["cause"].value("code", "") != name_of(errc::ok))
    return finish_away(self, task, std::move(end), false);
  const auto body = end.value("body", "");
  a.end = std::move(end);
  self->state.courier->bring(a.lease, body);
}

} // namespace flywheel::hosting
