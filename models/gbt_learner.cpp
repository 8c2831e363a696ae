#include "cluster/base/text.hpp"
#include "models/features.hpp"
#include "models/gbt_model.hpp"
#include "models/learner.hpp"
#include "models/param_reader.hpp"
#include "models/xgboost_booster.hpp"

#include <algorithm>

namespace flywheel {

namespace {

/// Categories up to here are tried one against the rest, which suits few rows per category (not compared with one-hot on
/// churn); beyond, XGBoost sorts the categories by gradient and splits them into two sets.
constexpr int one_against_rest_max = 64;

result<boost_params> xgboost_params(const learner_setup& setup) {
  param_reader read{"gbt", setup.spec.params};
  boost_params p{{"tree_method", "hist"},
                 {"max_cat_to_onehot", std::to_string(one_against_rest_max)},
                 {"base_score", "0.5"},
                 {"seed", std::to_string(setup.seed % 2'147'483'647)},
                 // Each round seeds its own sampling, so that folds trained in turn do not disturb each other.
                 {"seed_per_iteration", "1"},
                 {"nthread", std::to_string(std::max(1u, setup.spec.threads))},
                 {"verbosity", "0"}};
  p["learning_rate"] = format_number(read.real("learning_rate", 1e-4, 1));
  p["max_depth"] = std::to_string(read.integer("max_depth", 1, 16));
  p["min_child_weight"] = format_number(read.real("min_child_weight", 0, 1e6));
  p["subsample"] = format_number(read.real("subsample", 0.05, 1));
  p["colsample_bytree"] = format_number(read.real("colsample_bytree", 0.01, 1));
  p["gamma"] = format_number(read.real("gamma", 0, 1e6));
  p["reg_lambda"] = format_number(read.real("reg_lambda", 0, 1e6));
  p["reg_alpha"] = format_number(read.real("reg_alpha", 0, 1e6));
  FLYWHEEL_CHECK(read.finish());
  switch (setup.signature.type) {
  case task_type::binary: p["objective"] = "binary:logistic"; break;
  case task_type::multiclass:
    p["objective"] = "multi:softprob";
    p["num_class"] = std::to_string(setup.signature.classes.size());
    break;
  case task_type::regression: p["objective"] = "reg:squarederror"; break;
  }
  return p;
}

/// Where boosting starts: margin 0 for the logistic function, 0.5 per class before softmax, the mean for a regression.
std::vector<float> base_margins(const learner_setup& setup) {
  switch (setup.signature.type) {
  case task_type::binary: return {0.0f};
  case task_type::multiclass: return std::vector<float>(setup.signature.classes.size(), 0.5f);
  default: break;
  }
  double sum = 0;
  for (const double y : setup.train.target)
    sum += y;
  return {static_cast<float>(sum / static_cast<double>(setup.train.rows()))};
}

result<boost_matrix> matrix_of(const learning_rows& rows, const std::vector<std::uint32_t>& counts) {
  return boost_matrix::create(rows.features, std::vector<float>(rows.target.begin(), rows.target.end()), counts);
}

class gbt_learner final : public learner {
public:
  gbt_learner(const model_signature& signature, boost_params params, std::vector<float> base, boost_matrix train,
              std::optional<boost_matrix> validation)
      : signature_(signature), params_(std::move(params)), base_(std::move(base)), train_(std::move(train)),
        validation_(std::move(validation)) {}

  status start() {
    FLYWHEEL_TRY(auto b, booster::create(params_, watched()));
    booster_ = std::move(b);
    return success();
  }

  result<bool> advance_to(std::uint32_t resource, const std::atomic<bool>& stop) override {
    for (; rounds_ < resource; ++rounds_) {
      if (stop.load(std::memory_order_relaxed))
        return false;
      FLYWHEEL_CHECK(booster_->update(rounds_, train_));
    }
    return true;
  }

  result<std::vector<float>> validate() override {
    FLYWHEEL_TRY(auto out, booster_->margins(*validation_));
    out.resize(validation_->rows() * signature_.outputs());
    link_margins(signature_.type, signature_.outputs(), validation_->rows(), out);
    return out;
  }

  status save(checkpoint& c, const std::string& prefix) override {
    FLYWHEEL_TRY(const auto state, booster_->state());
    c.tensors.push_back(tensor::of<std::uint8_t>(
        prefix + "booster", std::span{reinterpret_cast<const std::uint8_t*>(state.data()), state.size()}));
    c.tensors.push_back(tensor::of(prefix + "rounds", std::vector<std::uint32_t>{rounds_}));
    return go_on_from(state); // what this means: see booster::restore
  }

  status load(const checkpoint& c, const std::string& prefix) override {
    const auto* state = c.find(prefix + "booster", tensor_type::u8);
    const auto* rounds = c.find(prefix + "rounds", tensor_type::u32);
    if (!state || !rounds || rounds->bytes.size() != sizeof(std::uint32_t))
      return error{errc::invalid_format, "the checkpoint holds no booster", prefix};
    rounds_ = rounds->to<std::uint32_t>().front();
    return go_on_from({reinterpret_cast<const char*>(state->bytes.data()), state->bytes.size()});
  }

  result<std::shared_ptr<const tabular_model>> model() const override {
    FLYWHEEL_TRY(auto forest, booster_->forest(base_, category_counts(signature_)));
    return gbt_model::create(signature_, std::move(forest));
  }

private:
  std::vector<const boost_matrix*> watched() const {
    std::vector<const boost_matrix*> all{&train_};
    if (validation_)
      all.push_back(&*validation_);
    return all;
  }

  status go_on_from(const std::string& state) {
    FLYWHEEL_TRY(auto b, booster::restore(state, params_, watched()));
    booster_ = std::move(b);
    return success();
  }

  const model_signature& signature_;
  boost_params params_;
  std::vector<float> base_;
  boost_matrix train_;
  std::optional<boost_matrix> validation_;
  std::optional<booster> booster_; ///< declared last: goes before the matrices it watches
  std::uint32_t rounds_ = 0;
};

} // namespace

result<std::unique_ptr<learner>> make_gbt_learner(learner_setup setup) {
  FLYWHEEL_TRY(auto params, xgboost_params(setup));
  auto base = base_margins(setup);
  if (setup.signature.type == task_type::regression)
    params["base_score"] = format_number(static_cast<double>(base.front()));
  const auto counts = category_counts(setup.signature);
  FLYWHEEL_TRY(auto train, matrix_of(setup.train, counts));
  std::optional<boost_matrix> validation;
  if (setup.validation.rows() > 0) {
    FLYWHEEL_TRY(validation, matrix_of(setup.validation, counts));
  }
  auto made = std::make_unique<gbt_learner>(setup.signature, std::move(params), std::move(base), std::move(train),
                                            std::move(validation));
  FLYWHEEL_CHECK(made->start());
  return std::unique_ptr<learner>{std::move(made)};
}

} // namespace flywheel
