#include "actors/protocol/study_order.hpp"

#include "cluster/base/json.hpp"

namespace flywheel {

using nlohmann::json;

json to_json(const search_space& s) {
  json out = json::object();
  for (const auto& [name, r] : s) {
    json j{{"low", r.low}, {"high", r.high}, {"log", r.log}};
    j["type"] = r.type == param_range::kind::integer ? "integer" : r.type == param_range::kind::real ? "real" : "choice";
    if (r.type == param_range::kind::choice)
      j["choices"] = r.choices;
    out[name] = std::move(j);
  }
  return out;
}

result<search_space> space_from_json(const json& j) {
  try {
    search_space s;
    for (const auto& [name, v] : j.items()) {
      param_range r;
      const auto type = v.at("type").get<std::string>();
      r.type = type == "integer" ? param_range::kind::integer : type == "real" ? param_range::kind::real
                                                                               : param_range::kind::choice;
      v.at("low").get_to(r.low);
      v.at("high").get_to(r.high);
      v.at("log").get_to(r.log);
      if (r.type == param_range::kind::choice)
        v.at("choices").get_to(r.choices);
      s[name] = std::move(r);
    }
    return s;
  } catch (const json::exception& e) {
    return error{errc::invalid_format, std::string{"search space: "} + e.what()};
  }
}

search_space space_for(const family_info& family, const search_spec& wishes) {
  auto space = family.space;
  const auto asked = wishes.space.find(family.name);
  if (asked == wishes.space.end())
    return space;
  for (const auto& [name, wish] : asked->second) {
    const auto i = space.find(name);
    if (i == space.end())
      continue;
    auto& r = i->second;
    r.low = wish.low.value_or(r.low);
    r.high = wish.high.value_or(r.high);
    r.log = wish.log.value_or(r.log);
    if (!wish.choices.empty())
      r.choices = wish.choices;
  }
  return space;
}

json to_json(const study_order& o) {
  json studies = json::array();
  for (const auto& s : o.studies) {
    json planned = json::array();
    for (const auto& [params, reason] : s.planned)
      planned.push_back({{"params", to_json(params)}, {"reason", reason}});
    studies.push_back({{"study", s.study}, {"family", s.family}, {"space", to_json(s.space)}, {"planned", planned},
                       {"sampler", s.sampler}, {"pruner", s.pruner}, {"resource_max", s.resource_max},
                       {"trials", s.trials}, {"wall_seconds", s.wall_seconds}, {"slot_seconds", s.slot_seconds},
                       {"patience", s.patience},
                       {"good_enough", s.good_enough ? json(*s.good_enough) : json(nullptr)}});
  }
  return {{"table", o.table.string()}, {"folder", o.folder.string()}, {"task", to_json(o.task)}, {"folds", o.folds},
          {"seed", o.seed}, {"slots", o.slots}, {"memory_max", o.memory_max},
          {"trial_seconds_max", o.trial_seconds_max}, {"studies", studies}};
}

result<study_order> order_from_json(const json& j) {
  try {
    study_order o;
    o.table = j.at("table").get<std::string>();
    o.folder = j.at("folder").get<std::string>();
    FLYWHEEL_TRY(o.task, task_from_json(j.at("task")));
    j.at("folds").get_to(o.folds);
    j.at("seed").get_to(o.seed);
    j.at("slots").get_to(o.slots);
    j.at("memory_max").get_to(o.memory_max);
    j.at("trial_seconds_max").get_to(o.trial_seconds_max);
    for (const auto& v : j.at("studies")) {
      study_request s;
      v.at("study").get_to(s.study);
      v.at("family").get_to(s.family);
      FLYWHEEL_TRY(s.space, space_from_json(v.at("space")));
      for (const auto& p : v.at("planned")) {
        FLYWHEEL_TRY(auto params, params_from_json(p.at("params")));
        s.planned.emplace_back(std::move(params), p.at("reason").get<std::string>());
      }
      v.at("sampler").get_to(s.sampler);
      v.at("pruner").get_to(s.pruner);
      v.at("resource_max").get_to(s.resource_max);
      v.at("trials").get_to(s.trials);
      v.at("wall_seconds").get_to(s.wall_seconds);
      v.at("slot_seconds").get_to(s.slot_seconds);
      v.at("patience").get_to(s.patience);
      if (const auto& asked = v.at("good_enough"); !asked.is_null())
        s.good_enough = asked.get<double>();
      o.studies.push_back(std::move(s));
    }
    return o;
  } catch (const json::exception& e) {
    return error{errc::invalid_format, std::string{"study order: "} + e.what()};
  }
}

json to_json(const study_summary& s) {
  json trials = json::array();
  for (const auto& t : s.trials)
    trials.push_back({{"trial", t.trial}, {"how", t.how}, {"params", to_json(t.params)}, {"value", t.value},
                      {"standard_error", t.standard_error}, {"seconds", t.seconds}, {"resource", t.resource},
                      {"fold_values", t.fold_values}, {"cause", t.cause}});
  return {{"study", s.study}, {"family", s.family}, {"ended", s.ended}, {"reason", s.reason}, {"trials", trials},
          {"best", s.best}, {"slot_seconds", s.slot_seconds}, {"resource_max", s.resource_max}};
}

result<study_summary> summary_from_json(const json& j) {
  try {
    study_summary s;
    j.at("study").get_to(s.study);
    j.at("family").get_to(s.family);
    j.at("ended").get_to(s.ended);
    j.at("reason").get_to(s.reason);
    j.at("best").get_to(s.best);
    j.at("slot_seconds").get_to(s.slot_seconds);
    j.at("resource_max").get_to(s.resource_max);
    for (const auto& v : j.at("trials")) {
      study_trial t;
      v.at("trial").get_to(t.trial);
      v.at("how").get_to(t.how);
      FLYWHEEL_TRY(t.params, params_from_json(v.at("params")));
      v.at("value").get_to(t.value);
      v.at("standard_error").get_to(t.standard_error);
      v.at("seconds").get_to(t.seconds);
      v.at("resource").get_to(t.resource);
      v.at("fold_values").get_to(t.fold_values);
      v.at("cause").get_to(t.cause);
      s.trials.push_back(std::move(t));
    }
    return s;
  } catch (const json::exception& e) {
    return error{errc::invalid_format, std::string{"study summary: "} + e.what()};
  }
}

} // namespace flywheel
