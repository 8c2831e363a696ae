#include "actors/protocol/log_format.hpp"

#include "actors/protocol/text_or_bytes.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"

namespace flywheel::log_format {

using nlohmann::json;

namespace {

error broken(const std::string& field) { return {errc::protocol_violation, "the field '" + field + "' of a journal entry between nodes is missing or wrong"}; }

result<std::string> text(const json& j, const char* key) {
  auto found = j.is_object() && j.contains(key) ? text_from(j[key]) : std::nullopt;
  if (!found)
    return broken(key);
  return std::move(*found);
}
result<std::uint64_t> number(const json& j, const char* key) {
  if (!j.is_object() || !j.contains(key) || !j[key].is_number_unsigned())
    return broken(key);
  return j[key].get<std::uint64_t>();
}

json draft_to_json(const event_draft& d) {
  return {{"kind", std::string{name_of(d.kind)}}, {"goal", text_json(d.goal)}, {"step", text_json(d.step)}, {"subject", text_json(d.subject)},
          {"key", text_json(d.key)}, {"actor", text_json(d.actor)}, {"text", text_json(d.text)}, {"body", text_json(d.body)}, {"epoch", d.epoch}};
}

status read_draft(const json& j, event_draft& d) {
  FLYWHEEL_TRY(const auto kind, text(j, "kind"));
  const auto known = event_kind_from_name(kind);
  if (!known)
    return broken("kind: " + printable(kind, 40));
  d.kind = *known;
  FLYWHEEL_TRY(d.goal, text(j, "goal"));
  FLYWHEEL_TRY(d.step, text(j, "step"));
  FLYWHEEL_TRY(d.subject, text(j, "subject"));
  FLYWHEEL_TRY(d.key, text(j, "key"));
  FLYWHEEL_TRY(d.actor, text(j, "actor"));
  FLYWHEEL_TRY(d.text, text(j, "text"));
  FLYWHEEL_TRY(d.body, text(j, "body"));
  FLYWHEEL_TRY(d.epoch, number(j, "epoch"));
  return success();
}

} // namespace

json to_json(const std::vector<event_draft>& drafts) {
  json all = json::array();
  for (const auto& d : drafts)
    all.push_back(draft_to_json(d));
  return all;
}

json to_json(const event& e) {
  json j = draft_to_json(e);
  j["seq"] = e.seq;
  j["time_ns"] = e.time.ns;
  j["hash"] = e.hash.hex();
  return j;
}

json to_json(const journal_filter& f) {
  json kinds = json::array();
  for (const auto kind : f.kinds)
    kinds.push_back(std::string{name_of(kind)});
  return {{"goal", f.goal}, {"step", f.step}, {"subject", f.subject}, {"key", f.key}, {"kinds", kinds}, {"after_seq", f.after_seq},
          {"limit", f.limit}, {"newest_first", f.newest_first}};
}

result<std::vector<event_draft>> drafts_from(const json& j) {
  if (!j.is_array())
    return broken("drafts");
  std::vector<event_draft> all(j.size());
  for (std::size_t i = 0; i < j.size(); ++i)
    FLYWHEEL_CHECK(read_draft(j[i], all[i]));
  return all;
}

result<std::vector<event>> events_from(const json& j) {
  if (!j.is_array())
    return broken("events");
  std::vector<event> all(j.size());
  for (std::size_t i = 0; i < j.size(); ++i) {
    auto& e = all[i];
    FLYWHEEL_CHECK(read_draft(j[i], e));
    FLYWHEEL_TRY(e.seq, number(j[i], "seq"));
    if (!j[i].contains("time_ns") || !j[i]["time_ns"].is_number_integer())
      return broken("time_ns");
    e.time.ns = j[i]["time_ns"].get<std::int64_t>();
    FLYWHEEL_TRY(const auto hash, text(j[i], "hash"));
    const auto known = digest::from_hex(hash);
    if (!known)
      return broken("hash");
    e.hash = *known;
  }
  return all;
}

result<journal_filter> filter_from(const json& j) {
  journal_filter f;
  FLYWHEEL_TRY(f.goal, text(j, "goal"));
  FLYWHEEL_TRY(f.step, text(j, "step"));
  FLYWHEEL_TRY(f.subject, text(j, "subject"));
  FLYWHEEL_TRY(f.key, text(j, "key"));
  FLYWHEEL_TRY(f.after_seq, number(j, "after_seq"));
  FLYWHEEL_TRY(f.limit, number(j, "limit"));
  if (!j.contains("newest_first") || !j["newest_first"].is_boolean())
    return broken("newest_first");
  f.newest_first = j["newest_first"].get<bool>();
  if (!j.contains("kinds") || !j["kinds"].is_array())
    return broken("kinds");
  for (const auto& name : j["kinds"]) {
    const auto kind = name.is_string() ? event_kind_from_name(name.get<std::string>()) : std::nullopt;
    if (!kind)
      return broken("kinds");
    f.kinds.push_back(*kind);
  }
  return f;
}

result<json> page(const event_log& log, const journal_filter& filter, std::size_t bytes_max) {
  json events = json::array();
  std::size_t bytes = 0;
  bool more = false;
  FLYWHEEL_CHECK(log.visit(filter, [&](const event& e) {
    const auto size = e.body.size() + e.text.size() + e.goal.size() + e.subject.size() + e.key.size() + 512;
    if (!events.empty() && bytes + size > bytes_max) {
      more = true;
      return false;
    }
    bytes += size;
    events.push_back(to_json(e));
    return true;
  }));
  if (more && filter.newest_first)
    return error{errc::too_large, "the newest entries that were asked for do not fit one page", {}, "ask with a smaller limit"};
  return json{{"events", std::move(events)}, {"more", more}, {"last", log.last_seq()}};
}

} // namespace flywheel::log_format
