#include "actors/dispatcher/dispatch_format.hpp"

#include "cluster/base/ids.hpp"
#include "cluster/base/json.hpp"
#include "cluster/transfer/curve_keys.hpp"

namespace flywheel::dispatch {

using nlohmann::json;

namespace {

constexpr std::size_t slots_max = 4096, held_max = 65'536;

/// Reads fields; what is missing or of another type is thrown, and caught in one place.
template <class Read> auto read(const char* what, Read&& r) -> result<decltype(r())> {
  try {
    return r();
  } catch (const json::exception& e) {
    return error{errc::protocol_violation, std::string{what} + ": " + e.what(), {}, "run the same version of flywheel on all nodes"};
  }
}

std::vector<std::string> texts(const std::vector<std::filesystem::path>& paths) {
  std::vector<std::string> all;
  for (const auto& p : paths)
    all.push_back(p.string());
  return all;
}
std::vector<std::filesystem::path> paths(const json& j) {
  std::vector<std::filesystem::path> all;
  for (const auto& p : j)
    all.emplace_back(p.get<std::string>());
  return all;
}

} // namespace

json to_json(const welcome& w) {
  return {{"epoch", w.epoch}, {"head_epoch", w.head_epoch}, {"heartbeat_ms", w.heartbeat_ms}, {"dead_after_ms", w.dead_after_ms}, {"state", w.state}, {"token", w.token},
          {"data_port", w.data_port}, {"data_key", w.data_key}};
}
result<welcome> welcome_from(const json& j) {
  return read("welcome", [&] {
    return welcome{j.at("epoch").get<std::uint64_t>(), j.at("head_epoch").get<std::uint64_t>(), j.at("heartbeat_ms").get<std::uint32_t>(),
                   j.at("dead_after_ms").get<std::uint32_t>(), j.at("state").get<std::string>(), j.at("token").get<std::string>(),
                   j.at("data_port").get<std::uint16_t>(), j.at("data_key").get<std::string>()};
  });
}

std::string to_text(const greeting& g) { return json{{"protocol", g.protocol}, {"data_key", g.data_key}}.dump(); }
greeting greeting_from(const std::string& text) {
  greeting g;
  const auto j = json::parse(text, nullptr, false);
  if (!j.is_object())
    return g;
  if (const auto i = j.find("protocol"); i != j.end() && i->is_number_unsigned())
    g.protocol = i->get<std::uint32_t>();
  if (const auto i = j.find("data_key"); i != j.end() && i->is_string() && transfer::is_public_key(i->get<std::string>()))
    g.data_key = i->get<std::string>();
  return g;
}

namespace {
json files_to_json(const task_files& f) {
  return {{"inputs", texts(f.inputs)}, {"folder", f.folder.string()}, {"state", f.state}, {"results", f.results}, {"body_paths", f.body_paths}, {"result_paths", f.result_paths}};
}
task_files files_from(const json& j) {
  const auto names = [&](const char* key) { return j.at(key).get<std::vector<std::string>>(); };
  return {paths(j.at("inputs")), j.at("folder").get<std::string>(), names("state"), names("results"), names("body_paths"), names("result_paths")};
}
} // namespace

json to_json(const worker_task& t) {
  return {{"id", t.task.id}, {"attempt", t.task.attempt}, {"kind", t.task.kind}, {"body", t.task.body}, {"time_max_ns", t.time_max.count()},
          {"memory_max", t.memory_max}, {"readable", texts(t.sandbox.readable)}, {"writable", texts(t.sandbox.writable)}, {"files", files_to_json(t.files)}};
}
result<worker_task> task_from(const json& j) {
  return read("task", [&] {
    worker_task t;
    t.task.id = j.at("id").get<std::string>();
    t.task.attempt = j.at("attempt").get<std::uint32_t>();
    t.task.kind = j.at("kind").get<std::string>();
    t.task.body = j.at("body").get<std::string>();
    t.time_max = nanoseconds{j.at("time_max_ns").get<std::int64_t>()};
    t.memory_max = j.at("memory_max").get<std::uint64_t>();
    t.sandbox.readable = paths(j.at("readable"));
    t.sandbox.writable = paths(j.at("writable"));
    t.files = files_from(j.at("files"));
    return t;
  });
}

json to_json(const task_end& e) {
  return {{"task", e.task},
          {"attempt", e.attempt},
          {"body", e.body},
          {"seconds", e.seconds},
          {"rss_peak_bytes", e.rss_peak_bytes},
          {"sandboxed", e.sandboxed},
          {"cause", {{"code", std::string{name_of(e.cause.code)}}, {"what", e.cause.what}, {"where", e.cause.where}, {"hint", e.cause.hint}}}};
}
result<task_end> end_from(const json& j) {
  return read("end", [&] {
    task_end e;
    e.task = j.at("task").get<std::string>();
    e.attempt = j.at("attempt").get<std::uint32_t>();
    e.body = j.at("body").get<std::string>();
    e.seconds = j.at("seconds").get<double>();
    e.rss_peak_bytes = j.at("rss_peak_bytes").get<std::uint64_t>();
    e.sandboxed = j.at("sandboxed").get<bool>();
    const auto& c = j.at("cause");
    e.cause = error{errc_from_name(c.at("code").get<std::string>()).value_or(errc::internal), c.at("what").get<std::string>(),
                    c.at("where").get<std::string>(), c.at("hint").get<std::string>()};
    return e;
  });
}

json to_json(const wire::report& r) {
  return {{"task", r.task}, {"attempt", r.attempt}, {"rung", r.rung}, {"resource", r.resource}, {"value", r.value}, {"standard_error", r.standard_error}};
}
result<wire::report> report_from(const json& j) {
  return read("report", [&] {
    wire::report r;
    r.task = j.at("task").get<std::string>();
    r.attempt = j.at("attempt").get<std::uint32_t>();
    r.rung = j.at("rung").get<std::uint32_t>();
    r.resource = j.at("resource").get<std::uint64_t>();
    r.value = j.at("value").get<double>();
    r.standard_error = j.at("standard_error").get<double>();
    return r;
  });
}

json to_json(std::span<const slot> slots) {
  json all = json::array();
  for (const auto& s : slots)
    all.push_back({{"name", s.id.name}, {"kind", name_of(s.kind)}, {"model", s.model}, {"memory", s.memory}, {"numa", s.numa}, {"shares_files", s.shares_files}});
  return all;
}
result<std::vector<slot>> slots_from(const json& j, const std::string& node) {
  if (!j.is_array() || j.size() > slots_max)
    return error{errc::protocol_violation, "slots: expected a list of at most " + std::to_string(slots_max), node};
  auto all = read("slots", [&] {
    std::vector<slot> out;
    for (const auto& s : j)
      out.push_back({{node, s.at("name").get<std::string>()}, s.at("kind").get<std::string>() == "gpu" ? slot_kind::gpu : slot_kind::cpu,
                     s.at("model").get<std::string>(), s.at("memory").get<std::uint64_t>(), s.at("numa").get<int>(), s.value("shares_files", true)});
    return out;
  });
  if (all)
    for (const auto& s : *all)
      if (!is_valid_name(s.id.name))
        return error{errc::protocol_violation, "slots: a slot's name is letters, digits, '-', '_' and '.'", node};
  return all;
}

json to_json(std::span<const held_task> held) {
  json all = json::array();
  for (const auto& h : held)
    all.push_back({{"task", h.task}, {"lease", h.lease}});
  return all;
}
result<std::vector<held_task>> held_from(const json& j) {
  if (!j.is_array() || j.size() > held_max)
    return error{errc::protocol_violation, "held: expected a list of at most " + std::to_string(held_max)};
  return read("held", [&] {
    std::vector<held_task> out;
    for (const auto& h : j)
      out.push_back({h.at("task").get<std::string>(), h.at("lease").get<std::uint64_t>()});
    return out;
  });
}

} // namespace flywheel::dispatch
