#include "models/task_json.hpp"

#include "cluster/base/json.hpp"

namespace flywheel {

using nlohmann::json;

namespace {

template <class F> auto guarded(const char* what, F read) -> decltype(read()) {
  try {
    return read();
  } catch (const json::exception& e) {
    return error{errc::invalid_format, std::string{what} + ": " + e.what()};
  }
}

} // namespace

std::string_view name_of(trial_result::end how) noexcept {
  switch (how) {
  case trial_result::end::completed: return "completed";
  case trial_result::end::pruned: return "pruned";
  case trial_result::end::stopped: return "stopped";
  }
  return "stopped";
}

json to_json(const learning_task& t) {
  return {{"type", std::string{name_of(t.type)}}, {"target", t.target}, {"classes", t.classes}, {"inputs", t.inputs},
          {"metric", std::string{name_of(t.metric)}}};
}

result<learning_task> task_from_json(const json& j) {
  return guarded("learning task", [&]() -> result<learning_task> {
    learning_task t;
    const auto type = task_type_from_name(j.at("type").get<std::string>());
    const auto metric = metric_from_name(j.at("metric").get<std::string>());
    if (!type || !metric)
      return error{errc::invalid_format, "learning task: unknown type or metric"};
    t.type = *type;
    t.metric = *metric;
    j.at("target").get_to(t.target);
    j.at("classes").get_to(t.classes);
    j.at("inputs").get_to(t.inputs);
    return t;
  });
}

json to_json(const trial_spec& s) {
  return {{"trial", s.trial}, {"family", s.family}, {"params", to_json(s.params)}, {"folds", s.folds},
          {"resource_max", s.resource_max}, {"rungs", s.rungs}, {"seed", s.seed}, {"threads", s.threads}};
}

result<trial_spec> trial_spec_from_json(const json& j) {
  return guarded("trial", [&]() -> result<trial_spec> {
    trial_spec s;
    j.at("trial").get_to(s.trial);
    j.at("family").get_to(s.family);
    FLYWHEEL_TRY(s.params, params_from_json(j.at("params")));
    j.at("folds").get_to(s.folds);
    j.at("resource_max").get_to(s.resource_max);
    j.at("rungs").get_to(s.rungs);
    j.at("seed").get_to(s.seed);
    j.at("threads").get_to(s.threads);
    return s;
  });
}

json to_json(const trial_result& r) {
  return {{"how", std::string{name_of(r.how)}}, {"rung", r.last.rung}, {"resource", r.last.resource},
          {"value", r.last.value}, {"standard_error", r.last.standard_error}, {"best_resource", r.best_resource},
          {"best_value", r.best_value}, {"fold_values", r.fold_values}, {"seconds", r.seconds}};
}

result<trial_result> trial_result_from_json(const json& j) {
  return guarded("trial result", [&]() -> result<trial_result> {
    trial_result r;
    const auto how = j.at("how").get<std::string>();
    r.how = how == "completed" ? trial_result::end::completed
            : how == "pruned"  ? trial_result::end::pruned
                               : trial_result::end::stopped;
    j.at("rung").get_to(r.last.rung);
    j.at("resource").get_to(r.last.resource);
    j.at("value").get_to(r.last.value);
    j.at("standard_error").get_to(r.last.standard_error);
    j.at("best_resource").get_to(r.best_resource);
    j.at("best_value").get_to(r.best_value);
    j.at("fold_values").get_to(r.fold_values);
    j.at("seconds").get_to(r.seconds);
    return r;
  });
}

} // namespace flywheel
