#include "actors/node/control_desk.hpp"

#include "actors/protocol/control_format.hpp"
#include "actors/protocol/log_format.hpp"
#include "cluster/base/clock_skew.hpp"
#include "cluster/base/ids.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>

#include <unistd.h>

namespace flywheel {

using nlohmann::json;

namespace {

/// A page of the journal; with what is around it, it fits an envelope of the gate.
constexpr std::size_t page_bytes_max = 512u << 10;

json reply_of(const acknowledgement& a) { return a.problem ? control::failure(a.problem.to_error()) : json{{"ok", true}, {"text", a.text}}; }

/// A field as text; empty if absent or of another type. What is missing is refused by whoever needs it.
std::string text_of(const json& m, const char* key) {
  const auto i = m.find(key);
  return i != m.end() && i->is_string() ? i->get<std::string>() : std::string{};
}
bool flag_of(const json& m, const char* key) {
  const auto i = m.find(key);
  return i != m.end() && i->is_boolean() && i->get<bool>();
}
std::uint64_t number_of(const json& m, const char* key) {
  const auto i = m.find(key);
  return i != m.end() && i->is_number_unsigned() ? i->get<std::uint64_t>() : 0;
}

/// What an agent of the cluster answered: JSON of its own, or its error.
json reply_of(const gate_answer& a) {
  if (a.problem)
    return control::failure(a.problem.to_error());
  auto body = control::decode(a.body);
  if (!body)
    return control::failure(body.error());
  (*body)["ok"] = true;
  return *body;
}

constexpr std::int64_t skew_ns_max = 10LL * 365 * 86'400 * 1'000'000'000, skew_lasts_ns_max = 3'600LL * 1'000'000'000;
constexpr std::size_t rehearsal_bytes_max = 256u << 10;

json recorded(result<std::uint64_t> seq) { return seq ? json{{"ok", true}, {"seq", *seq}} : control::failure(seq.error()); }

/// What a rehearsal of faults came to, as `flywheel chaos` judged it: policy.release.require_chaos reads it.
json record_rehearsal(node& owner, const json& m, const std::string& user) {
  const auto name = text_of(m, "experiment"), digest = text_of(m, "digest"), state = text_of(m, "state");
  const auto report = m.find("report");
  const bool known = state == "began" || state == "kept" || state == "broken" || state == "stopped";
  const bool hex = digest.size() == 64 && digest.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!is_valid_name(name) || !known || !hex || report == m.end() || !report->is_object())
    return control::failure(error{errc::invalid_argument, "a rehearsal has an experiment, its digest, a state and a report"});
  json body = *report;
  body["state"] = state;
  body["by"] = user;
  event_draft d{event_kind::rehearsal, {}, {}, name, digest, "chaos", printable(text_of(m, "text"), 1000), {}, 0};
  d.body = body.dump(-1, ' ', false, json::error_handler_t::replace);
  if (d.body.size() > rehearsal_bytes_max)
    return control::failure(error{errc::too_large, "the report of a rehearsal has more than " + format_bytes(rehearsal_bytes_max)});
  return recorded(owner.record(std::move(d)));
}

/// Wrong time for a while. What it was for stands in the journal, so that its times can be explained; that comes first.
json skew_clock(node& owner, const json& m, const std::string& user) {
  const auto number = [&](const char* key) {
    const auto i = m.find(key);
    return i != m.end() && i->is_number_integer() ? i->get<std::int64_t>() : std::int64_t{0};
  };
  const auto by = number("by_ns"), lasting = number("lasting_ns");
  if (by < -skew_ns_max || by > skew_ns_max || lasting < 0 || lasting > skew_lasts_ns_max)
    return control::failure(error{errc::invalid_argument, "a clock is skewed by at most ten years, for at most an hour"});
  auto reply = recorded(owner.record({event_kind::note, {}, {}, "clock", {}, "chaos",
                                      user + (by == 0 ? " ends the wrong time" : " sets the head's wall clock wrong by " + std::to_string(by / 1'000'000) + " ms for " +
                                                                                     format_duration(nanoseconds{lasting})),
                                      json{{"by_ns", by}, {"lasting_ns", lasting}}.dump(), 0}));
  if (reply.value("ok", false))
    skew_wall_clock(nanoseconds{by}, nanoseconds{lasting});
  return reply;
}

/// What happened to a gang after event `after`, from the journal, at most 200 events.
json look_at_gang(const node& owner, const std::string& id, std::uint64_t after) {
  journal_filter filter;
  filter.kinds = {event_kind::gang_state};
  filter.subject = id;
  filter.after_seq = after;
  filter.limit = 200;
  const auto reader = journal_reader::open(owner.state());
  const auto events = reader ? reader->read(filter) : result<std::vector<event>>{reader.error()};
  if (!events)
    return control::failure(events.error());
  if (events->empty() && after == 0)
    return control::failure(error{errc::not_found, "no gang has this name", id});
  json all = json::array();
  for (const auto& e : *events)
    all.push_back({{"seq", e.seq}, {"at_ns", e.time.ns}, {"text", e.text}, {"body", json::parse(e.body, nullptr, false)}});
  return {{"ok", true}, {"events", std::move(all)}};
}

} // namespace

bool may_do(role r, std::string_view op) noexcept {
  const auto at_least = [r](role wanted) { return r != role::node && r >= wanted; };
  if (op == "ping" || op == "wait" || op == "nodes" || op == "events" || op == "gang")
    return r == role::node || at_least(role::viewer);
  if (op == "submit" || op == "cancel" || op == "launch")
    return at_least(role::submitter);
  if (op == "answer" || op == "rollback")
    return at_least(role::approver);
  return r == role::admin;
}

json control_desk::carry_out(const json& m, const control_caller& from) const {
  const auto op = text_of(m, "op");
  if (!from.local && !may_do(from.as, op))
    return control::failure(error{errc::not_allowed, "a " + std::string{name_of(from.as)} + " may not " + (op.empty() ? "do nothing in particular" : op.substr(0, 40)),
                                  from.name, "ask for a certificate of another role: flywheel certs issue --help"});
  const auto user = from.local ? text_of(m, "user") : from.name;
  if (op == "ping")
    return {{"ok", true}, {"pid", ::getpid()}};
  if (op == "submit") {
    const auto a = owner_->submit({text_of(m, "id"), user, text_of(m, "spec"), flag_of(m, "approve")});
    if (a.problem)
      return control::failure(a.problem.to_error());
    return {{"ok", true}, {"id", a.id}, {"seq", a.seq}, {"existed", a.existed}};
  }
  if (op == "answer")
    return reply_of(owner_->answer({text_of(m, "approval"), user, text_of(m, "reason"), flag_of(m, "grant")}));
  if (op == "launch")
    return reply_of(owner_->gangs({op, user, control::encode({{"order", m.value("order", json{})}})}));
  if (op == "gang")
    return look_at_gang(*owner_, text_of(m, "id"), number_of(m, "after"));
  if (op == "cancel") {
    const auto stopped = owner_->gangs({op, user, control::encode({{"gang", text_of(m, "id")}, {"reason", text_of(m, "reason")}})});
    if (!stopped.problem)
      return reply_of(stopped);
  }
  if (op == "cancel") // no gang: a goal
    return reply_of(owner_->cancel({text_of(m, "id"), user, text_of(m, "reason")}));
  if (op == "rollback")
    return reply_of(owner_->rollback({text_of(m, "model"), user, text_of(m, "reason"), static_cast<std::uint32_t>(number_of(m, "to"))}));
  if (op == "nodes")
    return reply_of(owner_->nodes());
  if (op == "events") {
    const auto i = m.find("filter");
    const auto filter = i == m.end() ? result<journal_filter>{journal_filter{}} : log_format::filter_from(*i);
    auto page = filter ? log_format::page(owner_->log(), *filter, page_bytes_max) : result<json>{filter.error()};
    if (!page)
      return control::failure(page.error());
    (*page)["ok"] = true;
    return std::move(*page);
  }
  if (op == "drain")
    return reply_of(owner_->drain({text_of(m, "node"), user}));
  if (op == "rehearsal")
    return record_rehearsal(*owner_, m, user);
  if (op == "skew")
    return skew_clock(*owner_, m, user);
  if (op == "crash") {
    const auto ended = owner_->crash_agent(text_of(m, "agent"));
    return ended ? json{{"ok", true}} : control::failure(ended.error());
  }
  if (op == "down" || op == "stop") {
    if (op == "down")
      if (const auto told = owner_->shut_down_nodes({user}); told.problem)
        return control::failure(told.problem.to_error());
    stop_requested_();
    return {{"ok", true}, {"pid", ::getpid()}};
  }
  return control::failure(error{errc::unsupported, "no control operation is called '" + op.substr(0, 40) + "'"});
}

} // namespace flywheel
