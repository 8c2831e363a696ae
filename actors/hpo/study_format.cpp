#include "actors/hpo/study_format.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"

#include <cmath>
#include <limits>

namespace flywheel::study_format {
namespace {
using nlohmann::json;

json number(double x) { return std::isfinite(x) ? json(x) : json(format_number(x)); }

std::string_view state_of(trial_outcome how) {
  switch (how) {
  case trial_outcome::running: return "running";
  case trial_outcome::completed: return "completed";
  case trial_outcome::pruned: return "pruned";
  case trial_outcome::failed: return "failed";
  }
  return "";
}

/// Reads the fields of one object, and remembers the first that is missing or mistyped.
class reader {
public:
  explicit reader(const json& object) : object_(&object) {}

  std::string text(const char* key) {
    const auto* j = find(key);
    if (!j)
      return {};
    if (!j->is_string())
      return wrong(key, "a text"), std::string{};
    return j->get<std::string>();
  }
  std::uint64_t count(const char* key, std::uint64_t most = std::numeric_limits<std::uint32_t>::max()) {
    const auto* j = find(key);
    if (!j)
      return 0;
    if (!j->is_number_integer() || (j->is_number_integer() && !j->is_number_unsigned() && j->get<std::int64_t>() < 0) ||
        j->get<std::uint64_t>() > most)
      return wrong(key, "a whole number from 0 to " + std::to_string(most)), 0;
    return j->get<std::uint64_t>();
  }
  std::uint32_t small(const char* key) { return static_cast<std::uint32_t>(count(key)); }
  bool flag(const char* key) {
    const auto* j = find(key);
    if (!j)
      return false;
    if (!j->is_boolean())
      return wrong(key, "true or false"), false;
    return j->get<bool>();
  }
  double real(const char* key) {
    const auto* j = find(key);
    return j ? real_from(key, *j) : 0;
  }
  nanoseconds seconds(const char* key) {
    const double s = real(key);
    if (!(s >= 0 && s < 9e9))
      return wrong(key, "a time in seconds"), nanoseconds{0};
    return nanoseconds{std::llround(s * 1e9)};
  }
  std::vector<double> reals(const char* key) {
    std::vector<double> xs;
    const auto* j = find(key);
    if (!j)
      return xs;
    if (!j->is_array())
      return wrong(key, "a list of numbers"), xs;
    for (const auto& x : *j)
      xs.push_back(real_from(key, x));
    return xs;
  }
  param_set params(const char* key) {
    const auto* j = find(key);
    if (!j)
      return {};
    auto p = params_from_json(*j);
    if (!p)
      return wrong(key, "parameters (" + p.error().what + ")"), param_set{};
    return std::move(*p);
  }
  bool has(const char* key) const { return object_->contains(key); }
  void wrong(const char* key, const std::string& expected) {
    if (problem_.empty())
      problem_ = std::string{"the field \""} + key + "\" must be " + expected;
  }
  template <class Body> result<body> done(Body b) const {
    if (!problem_.empty())
      return error{errc::invalid_format, "an event of a study: " + problem_};
    return body{std::move(b)};
  }

private:
  const json* find(const char* key) {
    const auto it = object_->find(key);
    if (it == object_->end()) {
      wrong(key, "there");
      return nullptr;
    }
    return &*it;
  }
  double real_from(const char* key, const json& j) {
    if (j.is_number())
      return j.get<double>();
    const auto text = j.is_string() ? j.get<std::string>() : std::string{};
    if (text == "nan")
      return std::numeric_limits<double>::quiet_NaN();
    if (text == "inf" || text == "-inf")
      return (text[0] == '-' ? -1 : 1) * std::numeric_limits<double>::infinity();
    return wrong(key, "a number"), 0;
  }

  const json* object_;
  std::string problem_;
};

struct writer {
  json& j;
  void operator()(const std::monostate&) const {}
  void operator()(const created& b) const {
    j["state"] = "created";
    j["number"] = b.number;
    j["params"] = to_json(b.params);
    j["source"] = b.source;
    j["reason"] = b.reason;
  }
  void operator()(const running& b) const {
    j["state"] = "running";
    j["attempt"] = b.attempt;
    j["time_max_seconds"] = std::chrono::duration<double>(b.time_max).count();
  }
  void operator()(const report& b) const {
    j["attempt"] = b.attempt;
    j["rung"] = b.at.rung;
    j["resource"] = b.at.resource;
    j["value"] = number(b.at.value);
    j["standard_error"] = number(b.at.standard_error);
    j["go_on"] = b.go_on;
    j["reason"] = b.reason;
  }
  void operator()(const ended& b) const {
    j["state"] = state_of(b.how);
    j["value"] = number(b.value);
    j["standard_error"] = number(b.standard_error);
    j["resource"] = b.resource;
    j["fold_values"] = json::array();
    for (const double x : b.fold_values)
      j["fold_values"].push_back(number(x));
    j["seconds"] = number(b.seconds);
    j["reason"] = b.reason;
    if (b.cause.code != errc::ok)
      j["cause"] = {{"code", std::string(name_of(b.cause.code))}, {"what", b.cause.what}};
  }
  void amount(const budget_use& a) const {
    j["trials"] = a.trials;
    j["slot_seconds"] = std::chrono::duration<double>(a.slots).count();
  }
  void operator()(const reserved& b) const { amount(b.amount); }
  void operator()(const settled& b) const { amount(b.amount); }
  void operator()(const stop_trial& b) const {
    j["choice"] = "stop trial " + b.trial;
    j["stop_trial"] = b.trial;
    j["reason"] = b.reason;
  }
  void operator()(const finished& b) const {
    j["study_end"] = std::string(name_of(b.why));
    j["reason"] = b.reason;
  }
};

result<body> read_trial_state(reader& r) {
  const auto state = r.text("state");
  if (state == "created")
    return r.done(created{r.small("number"), r.params("params"), r.text("source"), r.text("reason")});
  if (state == "running")
    return r.done(running{r.small("attempt"), r.seconds("time_max_seconds")});
  ended b;
  if (state == "completed")
    b.how = trial_outcome::completed;
  else if (state == "pruned")
    b.how = trial_outcome::pruned;
  else if (state != "failed")
    r.wrong("state", "created, running, completed, pruned or failed");
  b.value = r.real("value");
  b.standard_error = r.real("standard_error");
  b.resource = r.small("resource");
  b.fold_values = r.reals("fold_values");
  b.seconds = r.real("seconds");
  b.reason = r.text("reason");
  return r.done(std::move(b));
}

budget_use read_amount(reader& r) { return {r.count("trials"), r.seconds("slot_seconds")}; }

} // namespace

std::string write(const body& b, const std::string& study, const std::string& extra_evidence_json) {
  json j = json::object();
  j["study"] = study;
  std::visit(writer{j}, b);
  if (!extra_evidence_json.empty())
    j.update(json::parse(extra_evidence_json));
  return j.dump(-1, ' ', false, json::error_handler_t::replace);
}

result<body> read(event_kind kind, std::string_view text, const std::string& study) {
  const bool ours = kind == event_kind::trial_state || kind == event_kind::trial_report ||
                    kind == event_kind::budget_reserved || kind == event_kind::budget_settled ||
                    kind == event_kind::decision;
  if (!ours)
    return body{};
  const auto j = json::parse(text, nullptr, false);
  if (!j.is_object())
    return error{errc::invalid_format, "an event's body is not a JSON object: " + printable(text, 60)};
  if (const auto it = j.find("study"); it == j.end() || !it->is_string() || it->get<std::string>() != study)
    return body{};

  reader r{j};
  if (kind == event_kind::trial_state) {
    auto b = read_trial_state(r);
    if (!b || !j.contains("cause") || !std::holds_alternative<ended>(*b))
      return b;
    reader cause{j["cause"]};
    if (!j["cause"].is_object())
      return error{errc::invalid_format, "an event of a study: the field \"cause\" must be an object"};
    const auto code = errc_from_name(cause.text("code"));
    std::get<ended>(*b).cause = error{code.value_or(errc::internal), cause.text("what")};
    return b;
  }
  if (kind == event_kind::trial_report) {
    report b;
    b.attempt = r.small("attempt");
    b.at = {r.small("rung"), r.small("resource"), r.real("value"), r.real("standard_error")};
    b.go_on = r.flag("go_on");
    b.reason = r.text("reason");
    return r.done(std::move(b));
  }
  if (kind == event_kind::budget_reserved)
    return r.done(reserved{read_amount(r)});
  if (kind == event_kind::budget_settled)
    return r.done(settled{read_amount(r)});
  if (r.has("stop_trial"))
    return r.done(stop_trial{r.text("stop_trial"), r.text("reason")});
  if (r.has("study_end")) {
    const auto why = study_end_from_name(r.text("study_end"));
    if (!why)
      r.wrong("study_end", "a known reason to end");
    return r.done(finished{why.value_or(study_end::running), r.text("reason")});
  }
  return body{};
}

} // namespace flywheel::study_format
