#include "actors/node/control_desk.hpp"

#include "actors/protocol/control_format.hpp"
#include "cluster/base/json.hpp"

#include <unistd.h>

namespace flywheel {

using nlohmann::json;

namespace {

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
  if (op == "ping" || op == "wait" || op == "nodes" || op == "gang")
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
  if (op == "drain")
    return reply_of(owner_->drain({text_of(m, "node"), user}));
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
