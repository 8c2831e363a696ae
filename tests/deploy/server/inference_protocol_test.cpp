#include "cluster/base/json.hpp"
#include "deploy/server/inference_protocol.hpp"

#include "cluster/base/random.hpp"
#include "tests/deploy/server/small_models.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

using namespace flywheel;
using nlohmann::json;
using testing::HasSubstr;
using testing_models::customer_signature;

namespace {

const row_layout& customers() {
  static const row_layout layout{customer_signature()};
  return layout;
}
struct read_result {
  infer_request request;
  row_batch rows;
};
read_result read(const std::string& body, const row_layout& layout = customers()) {
  read_result r;
  const auto s = read_infer(layout, customer_signature(), body, r.request, r.rows);
  EXPECT_TRUE(s.ok()) << s.error().to_string();
  return r;
}
std::string refusal(const std::string& body) {
  read_result r;
  const auto s = read_infer(customers(), customer_signature(), body, r.request, r.rows);
  EXPECT_FALSE(s.ok()) << body;
  return s.ok() ? "" : s.error().to_string();
}
/// The four columns, with one of them replaced.
std::string request(const std::string& name = "", const std::string& tensor = "") {
  json inputs = json::array();
  for (const auto& [n, t] : std::vector<std::pair<std::string, std::string>>{
           {"minutes", R"({"name":"minutes","shape":[2],"datatype":"FP64","data":[100,null]})"},
           {"calls", R"({"name":"calls","shape":[2,1],"datatype":"INT64","data":[[1],[2]]})"},
           {"plan", R"({"name":"plan","shape":[2],"datatype":"BYTES","data":["yes","?"]})"},
           {"area", R"({"name":"area","shape":[2],"datatype":"INT32","data":[415,408]})"}})
    inputs.push_back(json::parse(n == name ? tensor : t));
  return json{{"id", "q1"}, {"inputs", inputs}}.dump();
}

} // namespace

TEST(inference_protocol, reads_one_tensor_per_input) {
  const auto r = read(request());
  EXPECT_EQ(r.request.id, "q1");
  ASSERT_EQ(r.rows.rows, 2U);
  EXPECT_EQ(r.rows.features[0], 100.0F);
  EXPECT_THAT(std::vector<float>(r.rows.features.begin() + 1, r.rows.features.begin() + 4), testing::ElementsAre(1, 1, 1));
  EXPECT_TRUE(std::isnan(r.rows.features[4]));
  EXPECT_EQ(r.rows.features[6], unseen_category);
  EXPECT_THAT(r.rows.unknown_inputs, testing::ElementsAre(2U));
}

TEST(inference_protocol, reads_one_matrix_with_categories_as_codes) {
  const auto r = read(R"({"inputs":[{"name":"rows","shape":[2,4],"datatype":"FP32","data":[1,2,0,1, [3,4,1,null]]}]})");
  ASSERT_EQ(r.rows.rows, 2U);
  EXPECT_THAT(std::vector<float>(r.rows.features.begin(), r.rows.features.begin() + 7), testing::ElementsAre(1, 2, 0, 1, 3, 4, 1));
  EXPECT_TRUE(std::isnan(r.rows.features[7]));
  EXPECT_THAT(refusal(R"({"inputs":[{"name":"rows","shape":[1,4],"datatype":"FP32","data":[1,2,2,1]}]})"),
              HasSubstr("not a category code of 'plan'"));
  EXPECT_THAT(refusal(R"({"inputs":[{"name":"rows","shape":[1,4],"datatype":"FP32","data":[1,2,0.5,1]}]})"),
              HasSubstr("not a category code of 'plan'"));
}

TEST(inference_protocol, datatypes_mean_what_they_say) {
  EXPECT_EQ(read(request("minutes", R"({"name":"minutes","shape":[2],"datatype":"BOOL","data":[true,false]})")).rows.features[0], 1.0F);
  EXPECT_EQ(read(request("minutes", R"({"name":"minutes","shape":[2],"datatype":"INT32","data":[-5,7]})")).rows.features[0], -5.0F);
  for (const auto& [tensor, told] : std::vector<std::pair<std::string, std::string>>{
           {R"({"name":"minutes","shape":[2],"datatype":"INT32","data":[1.5,2]})", "whole numbers"},
           {R"({"name":"minutes","shape":[2],"datatype":"INT8","data":[128,2]})", "does not fit INT8"},
           {R"({"name":"minutes","shape":[2],"datatype":"UINT8","data":[-1,2]})", "does not fit UINT8"},
           {R"({"name":"minutes","shape":[2],"datatype":"BOOL","data":[1,0]})", "true, false"},
           {R"({"name":"minutes","shape":[2],"datatype":"FP32","data":["1",2]})", "not string"},
           {R"({"name":"minutes","shape":[2],"datatype":"FP32","data":[1e60,2]})", "out of range"},
           {R"({"name":"minutes","shape":[2],"datatype":"BYTES","data":["1","2"]})", "was sent as BYTES"},
           {R"({"name":"minutes","shape":[2],"datatype":"FP23","data":[1,2]})", "did you mean FP32?"},
           {R"({"name":"minutes","shape":[2],"data":[1,2]})", "needs a 'datatype'"},
           {R"({"name":"minutes","shape":[3],"datatype":"FP32","data":[1,2]})", "its shape asks for 3"},
           {R"({"name":"minutes","shape":[1],"datatype":"FP32","data":[1]})", "another number of rows"},
           {R"({"name":"minutes","shape":[-2],"datatype":"FP32","data":[1,2]})", "whole numbers"},
           {R"({"name":"minutes","shape":[2,1,1],"datatype":"FP32","data":[1,2]})", "one or two numbers"},
           {R"({"name":"minutes","shape":[18446744073709551615],"datatype":"FP32","data":[1,2]})", "more than"},
           {R"({"name":"minutes","shape":[2,18446744073709551615],"datatype":"FP32","data":[1,2]})", "columns"},
           {R"({"name":"minutes","shape":[2],"datatype":"FP32"})", "needs 'data'"},
           {R"({"name":"minuets","shape":[2],"datatype":"FP32","data":[1,2]})", "did you mean 'minutes'?"},
           {R"({"name":"calls","shape":[2],"datatype":"FP32","data":[1,2]})", "given twice"},
           {R"({"shape":[2],"datatype":"FP32","data":[1,2]})", "needs a 'name'"},
           {R"(7)", "needs a 'name'"}})
    EXPECT_THAT(refusal(request("minutes", tensor)), HasSubstr(told)) << tensor;
  EXPECT_THAT(refusal(request("plan", R"({"name":"plan","shape":[2],"datatype":"INT64","data":[0,1]})")), HasSubstr("send datatype BYTES"));
}

TEST(inference_protocol, what_is_no_request_is_refused_in_words) {
  EXPECT_THAT(refusal(""), HasSubstr("not JSON"));
  EXPECT_THAT(refusal("[]"), HasSubstr("must be an object"));
  EXPECT_THAT(refusal("{}"), HasSubstr("'inputs'"));
  EXPECT_THAT(refusal(R"({"inputs":[]})"), HasSubstr("at least one tensor"));
  EXPECT_THAT(refusal(R"({"inputs":{}})"), HasSubstr("at least one tensor"));
  EXPECT_THAT(refusal(R"({"id":7,"inputs":[]})"), HasSubstr("'id' must be a string"));
  EXPECT_THAT(refusal(R"({"inputs":[{"name":"minutes","shape":[1],"datatype":"FP32","data":[1]}]})"), HasSubstr("'calls', 'plan', 'area'"));
  EXPECT_THAT(refusal(R"({"outputs":[{"name":"logits"}],"inputs":[]})"), HasSubstr("no output 'logits'"));
  EXPECT_THAT(refusal("{\"inputs\":" + std::string(100'000, '[')), HasSubstr("nested deeper"));
  EXPECT_THAT(refusal("{\"inputs\":\"\xff\"}"), HasSubstr("not JSON"));
}

TEST(inference_protocol, answers_with_labels_and_probabilities_or_what_was_asked_for) {
  infer_request asked;
  asked.id = "q\"1";
  const std::vector<float> outputs{0.75F, 0.25F, 0.1F, 0.9F};
  std::string out;
  write_infer(out, "churn", "churn/v3", asked, customer_signature(), outputs, 2);
  EXPECT_EQ(out, R"({"model_name":"churn","model_version":"3","id":"q\"1","outputs":[)"
                 R"({"name":"predict","shape":[2],"datatype":"BYTES","data":["no","yes"]},)"
                 R"({"name":"predict_proba","shape":[2,2],"datatype":"FP32","data":[0.75,0.25,0.1,0.9]}]})");
  const auto r = read(json{{"inputs", json::parse(request())["inputs"]}, {"outputs", {{{"name", "predict_proba"}}}}}.dump());
  out.clear();
  write_infer(out, "churn", "churn/v3", r.request, customer_signature(), outputs, 2);
  EXPECT_EQ(json::parse(out)["outputs"].size(), 1U);
  EXPECT_EQ(json::parse(out)["outputs"][0]["name"], "predict_proba");
}

TEST(inference_protocol, metadata_lists_inputs_outputs_and_classes) {
  std::string out;
  write_model_metadata(out, "churn", {"churn/v3", "churn/v4"}, "gbt", customer_signature());
  const auto j = json::parse(out);
  EXPECT_EQ(j["versions"], (json{"3", "4"}));
  EXPECT_EQ(j["inputs"][2], (json{{"name", "plan"}, {"datatype", "BYTES"}, {"shape", {-1}}}));
  EXPECT_EQ(j["outputs"][1]["shape"], (json{-1, 2}));
  EXPECT_EQ(j["outputs"][1]["parameters"]["class_1"], "yes");
}

TEST(inference_protocol, damaged_requests_never_do_worse_than_be_refused) {
  const std::string good = request();
  random_source random{5};
  read_result r;
  int refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string body = good;
    for (auto n = 1 + random.below(3); n > 0; --n) {
      const auto at = random.below(body.size());
      if (random.below(2) == 0)
        body[at] = static_cast<char>(random.below(256));
      else
        body.insert(at, body.substr(random.below(body.size()), random.below(30)));
    }
    const auto s = read_infer(customers(), customer_signature(), body, r.request, r.rows);
    refused += s.ok() ? 0 : 1;
    if (s.ok()) {
      ASSERT_EQ(r.rows.features.size(), r.rows.rows * customers().size());
    }
  }
  EXPECT_GT(refused, 10'000);
}
