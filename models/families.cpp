#include "models/trial.hpp"

#include <algorithm>

namespace flywheel {

namespace {

param_range real(double low, double high, bool log = false) { return {param_range::kind::real, low, high, log, {}}; }
param_range integer(double low, double high, bool log = false) { return {param_range::kind::integer, low, high, log, {}}; }

family_info gbt() {
  family_info f;
  f.name = "gbt";
  f.title = "gradient-boosted trees (XGBoost)";
  f.space = {{"learning_rate", real(0.02, 0.3, true)}, {"max_depth", integer(3, 9)},
             {"min_child_weight", real(0.5, 10, true)}, {"subsample", real(0.5, 1)},
             {"colsample_bytree", real(0.4, 1)},        {"gamma", real(0, 3)},
             {"reg_lambda", real(0.1, 20, true)},       {"reg_alpha", real(0, 2)}};
  f.defaults = {{"learning_rate", 0.1},     {"max_depth", std::int64_t{6}}, {"min_child_weight", 1.0}, {"subsample", 0.8},
                {"colsample_bytree", 0.8},  {"gamma", 0.0},                 {"reg_lambda", 1.0},       {"reg_alpha", 0.0}};
  f.resource = "boosting rounds";
  f.resource_max = 300;
  f.good_for = "strong on tables of mixed columns with thresholds and interactions, needs no scaling, bears missing values "
               "and answers in microseconds";
  return f;
}

} // namespace

const std::vector<family_info>& families() {
  static const std::vector<family_info> all{gbt()};
  return all;
}

const family_info* find_family(std::string_view name) {
  const auto& all = families();
  const auto at = std::find_if(all.begin(), all.end(), [&](const family_info& f) { return f.name == name; });
  return at == all.end() ? nullptr : &*at;
}

} // namespace flywheel
