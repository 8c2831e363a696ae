#include "models/xgboost_booster.hpp"

#include "models/xgboost_model_format.hpp"

#include <xgboost/c_api.h>

#include <limits>
#include <mutex>

namespace flywheel {

namespace {

/// XGBoost's message starts with "[time] file:line: " and ends in a stack trace; people need the sentence between.
std::string last_message() {
  std::string text = XGBGetLastError();
  if (const auto trace = text.find("Stack trace"); trace != std::string::npos)
    text.resize(trace);
  if (const auto check = text.find("Check failed"); check != std::string::npos)
    text = text.substr(check);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' '))
    text.pop_back();
  return text;
}

status done(int code, const char* call) {
  if (code == 0)
    return success();
  return error{errc::library_failed, std::string{call} + ": " + last_message(), "XGBoost"};
}

/// XGBoost prints warnings on its own; its errors come back as return values, which is where we read them.
void silence() {
  static std::once_flag once;
  std::call_once(once, [] { XGBRegisterLogCallback([](const char*) {}); });
}

std::vector<DMatrixHandle> handles_of(const std::vector<const boost_matrix*>& matrices) {
  std::vector<DMatrixHandle> handles;
  for (const auto* m : matrices)
    handles.push_back(m->handle());
  return handles;
}

} // namespace

result<boost_matrix> boost_matrix::create(std::span<const float> features, std::span<const float> labels,
                                          std::span<const std::uint32_t> category_counts) {
  silence();
  DMatrixHandle raw = nullptr;
  FLYWHEEL_CHECK(done(XGDMatrixCreateFromMat(features.data(), labels.size(), category_counts.size(),
                                             std::numeric_limits<float>::quiet_NaN(), &raw),
                      "creating a matrix"));
  boost_matrix m;
  m.rows_ = labels.size();
  m.handle_ = std::shared_ptr<void>(raw, [](void* h) { XGDMatrixFree(h); });
  std::vector<const char*> types;
  for (const auto count : category_counts)
    types.push_back(count > 0 ? "c" : "q");
  FLYWHEEL_CHECK(done(XGDMatrixSetStrFeatureInfo(raw, "feature_type", types.data(), types.size()), "naming feature types"));
  FLYWHEEL_CHECK(done(XGDMatrixSetFloatInfo(raw, "label", labels.data(), labels.size()), "setting labels"));
  return m;
}

result<booster> booster::create(const boost_params& params, std::vector<const boost_matrix*> watched) {
  silence();
  const auto handles = handles_of(watched);
  BoosterHandle raw = nullptr;
  FLYWHEEL_CHECK(done(XGBoosterCreate(handles.data(), handles.size(), &raw), "creating a booster"));
  booster b;
  b.handle_ = std::shared_ptr<void>(raw, [](void* h) { XGBoosterFree(h); });
  for (const auto& [name, value] : params)
    FLYWHEEL_CHECK(done(XGBoosterSetParam(raw, name.c_str(), value.c_str()), "setting a parameter"));
  return b;
}

status booster::update(std::uint32_t round, const boost_matrix& train) {
  return done(XGBoosterUpdateOneIter(handle_.get(), static_cast<int>(round), train.handle()), "boosting one round");
}

result<std::vector<float>> booster::margins(const boost_matrix& rows) const {
  constexpr int output_margin = 1;
  bst_ulong size = 0;
  const float* values = nullptr;
  FLYWHEEL_CHECK(done(XGBoosterPredict(handle_.get(), rows.handle(), output_margin, 0, 0, &size, &values), "predicting"));
  return std::vector<float>(values, values + size);
}

result<std::string> booster::state() const {
  bst_ulong size = 0;
  const char* bytes = nullptr;
  FLYWHEEL_CHECK(done(XGBoosterSerializeToBuffer(handle_.get(), &size, &bytes), "saving the booster's state"));
  return std::string(bytes, size);
}

result<booster> booster::restore(const std::string& state, const boost_params& params,
                                 std::vector<const boost_matrix*> watched) {
  FLYWHEEL_TRY(auto b, create({}, std::move(watched)));
  FLYWHEEL_CHECK(done(XGBoosterUnserializeFromBuffer(b.handle_.get(), state.data(), state.size()),
                      "restoring the booster's state"));
  for (const auto& [name, value] : params)
    FLYWHEEL_CHECK(done(XGBoosterSetParam(b.handle_.get(), name.c_str(), value.c_str()), "setting a parameter"));
  return b;
}

result<flat_forest> booster::forest(std::vector<float> base, std::vector<std::uint32_t> category_counts) const {
  bst_ulong size = 0;
  const char* bytes = nullptr;
  FLYWHEEL_CHECK(done(XGBoosterSaveModelToBuffer(handle_.get(), R"({"format":"ubj"})", &size, &bytes), "saving the trees"));
  return forest_from_xgboost({bytes, size}, std::move(base), std::move(category_counts));
}

} // namespace flywheel
