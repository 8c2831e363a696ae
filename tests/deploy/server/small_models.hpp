#pragma once
// Models whose answers a test can work out in its head.

#include "models/tabular_model.hpp"

#include <cmath>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace flywheel::testing_models {

/// Inputs: minutes (number), calls (number), plan ("no", "yes"), area ("408", "415"). Classes no, yes.
inline model_signature customer_signature() {
  model_signature s;
  s.type = task_type::binary;
  s.target = "churn";
  s.inputs = {{"minutes", column_type::numeric, {}},
              {"calls", column_type::numeric, {}},
              {"plan", column_type::categorical, {"no", "yes"}},
              {"area", column_type::categorical, {"408", "415"}}};
  s.classes = {"no", "yes"};
  return s;
}

/// P(yes) = `shift` + minutes/1000 + 0.25 if plan is "yes" + 0.125 if area is missing; minutes missing counts as 0.
class linear_model : public tabular_model {
public:
  explicit linear_model(float shift = 0, model_signature s = customer_signature())
      : tabular_model(std::move(s)), shift_(shift) {
    for (std::size_t i = 0; i < signature_.inputs.size(); ++i) {
      if (signature_.inputs[i].name == "minutes")
        minutes_ = i;
      if (signature_.inputs[i].name == "plan")
        plan_ = i;
      if (signature_.inputs[i].name == "area")
        area_ = i;
    }
    const auto& plans = signature_.inputs[plan_].categories;
    while (yes_ < plans.size() && plans[yes_] != "yes")
      ++yes_;
  }
  std::string_view family() const noexcept override { return "gbt"; }
  void predict(std::span<const float> features, std::size_t rows, std::span<float> out) const override {
    const std::size_t n = signature_.inputs.size();
    for (std::size_t r = 0; r < rows; ++r) {
      const float* row = features.data() + r * n;
      float p = shift_;
      if (!std::isnan(row[minutes_]))
        p += row[minutes_] / 1000;
      if (row[plan_] == static_cast<float>(yes_))
        p += 0.25F;
      if (std::isnan(row[area_]))
        p += 0.125F;
      out[r * 2] = 1 - p;
      out[r * 2 + 1] = p;
    }
  }
  status save(const std::filesystem::path&) const override { return success(); }

private:
  float shift_;
  std::size_t minutes_ = 0, plan_ = 0, area_ = 0, yes_ = 0;
};

/// Predicts twice x.
class double_model : public tabular_model {
public:
  double_model() : tabular_model([] {
    model_signature s;
    s.type = task_type::regression;
    s.target = "y";
    s.inputs = {{"x", column_type::numeric, {}}};
    return s;
  }()) {}
  std::string_view family() const noexcept override { return "mlp"; }
  void predict(std::span<const float> features, std::size_t rows, std::span<float> out) const override {
    for (std::size_t r = 0; r < rows; ++r)
      out[r] = 2 * features[r];
  }
  status save(const std::filesystem::path&) const override { return success(); }
};

/// Fails as models fail: by a value that is none, or by an exception.
class failing_model : public linear_model {
public:
  explicit failing_model(bool throws) : throws_(throws) {}
  void predict(std::span<const float>, std::size_t, std::span<float> out) const override {
    if (throws_)
      throw std::runtime_error{"secret detail"};
    for (float& x : out)
      x = std::numeric_limits<float>::quiet_NaN();
  }

private:
  bool throws_;
};

} // namespace flywheel::testing_models
