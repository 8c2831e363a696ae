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
  f.space = {{"learning_rate", real(0.03, 0.25, true)}, {"max_depth", integer(3, 9)},
             {"min_child_weight", real(0.5, 10, true)}, {"subsample", real(0.5, 1)},
             {"colsample_bytree", real(0.4, 1)},        {"gamma", real(0, 3)},
             {"reg_lambda", real(0.1, 20, true)},       {"reg_alpha", real(0, 2)}};
  f.defaults = {{"learning_rate", 0.07},    {"max_depth", std::int64_t{6}}, {"min_child_weight", 1.0}, {"subsample", 0.8},
                {"colsample_bytree", 0.7},  {"gamma", 0.0},                 {"reg_lambda", 1.0},       {"reg_alpha", 0.0}};
  f.resource = "boosting rounds";
  f.resource_max = 200;
  f.good_for = "strong on tables of mixed columns with thresholds and interactions, needs no scaling, bears missing values "
               "and answers in microseconds";
  return f;
}

family_info mlp() {
  family_info f;
  f.name = "mlp";
  f.title = "residual network with embedded columns";
  f.space = {{"learning_rate", real(1e-3, 8e-3, true)}, {"weight_decay", real(1e-3, 0.3, true)},
             {"dropout", real(0.05, 0.45)},                 {"hidden", integer(32, 128, true)},
             {"blocks", integer(1, 2)},                 {"numeric_width", integer(4, 12)},
             {"segments", integer(8, 32, true)},        {"batch", integer(96, 256, true)},
             {"label_smoothing", real(0, 0.1)}};
  f.defaults = {{"learning_rate", 4e-3},        {"weight_decay", 0.05},         {"dropout", 0.3},
                {"hidden", std::int64_t{64}},   {"blocks", std::int64_t{2}},    {"numeric_width", std::int64_t{8}},
                {"segments", std::int64_t{16}}, {"batch", std::int64_t{128}},   {"label_smoothing", 0.05},
                {"members", std::int64_t{1}},   {"activation", std::string{"relu"}}};
  f.resource = "epochs";
  f.resource_max = 40;
  f.good_for = "smooth effects, many categories and plenty of rows; averages well with trees because it errs elsewhere";
  return f;
}

} // namespace

const std::vector<family_info>& families() {
  static const std::vector<family_info> all{gbt(), mlp()};
  return all;
}

const family_info* find_family(std::string_view name) {
  const auto& all = families();
  const auto at = std::find_if(all.begin(), all.end(), [&](const family_info& f) { return f.name == name; });
  return at == all.end() ? nullptr : &*at;
}

} // namespace flywheel
