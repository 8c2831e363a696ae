#include "cluster/base/json.hpp"
#include "deploy/server/model_service.hpp"

#include "tests/deploy/server/small_models.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

using namespace flywheel;
using namespace flywheel::testing_models;
using nlohmann::json;
using testing::HasSubstr;

namespace {

class service_test : public testing::Test {
protected:
  static model_server_options options() {
    model_server_options o;
    o.name = "churn";
    o.observations_max = 64;
    return o;
  }
  static served_model version(int v, std::shared_ptr<const tabular_model> m) { return {"churn/v" + std::to_string(v), std::move(m)}; }

  service_answer ask(http_verb verb, std::string_view target, std::string_view body = {}, std::string_view accept = {}) {
    service_answer a;
    service.answer({verb, target, body, accept}, a, scratch);
    return a;
  }
  service_answer post(std::string_view target, std::string_view body) { return ask(http_verb::post, target, body); }
  service_answer get(std::string_view target) { return ask(http_verb::get, target); }
  static json parsed(const service_answer& a) {
    const auto j = json::parse(a.body, nullptr, false);
    EXPECT_FALSE(j.is_discarded()) << a.body;
    return j;
  }
  void champion(std::shared_ptr<const tabular_model> m = std::make_shared<linear_model>(0.125F)) {
    service.set_routes({version(1, std::move(m)), {}, 0, 1});
  }

  manual_clock clock;
  model_service service{options(), clock, 42};
  service_scratch scratch;
};

constexpr const char* row = R"({"minutes":250,"calls":1,"plan":"no","area":"408"})";

} // namespace

TEST_F(service_test, predicts_a_row_with_label_and_probabilities) {
  champion();
  const auto a = post("/predict", R"({"id":"c-1","features":{"minutes":250,"calls":1,"plan":"yes","area":"408"}})");
  EXPECT_EQ(a.status, 200);
  EXPECT_EQ(a.body, R"({"id":"c-1","model":"churn","version":"churn/v1","prediction":"yes","probabilities":{"no":0.375,"yes":0.625}})");
  EXPECT_EQ(post("/predict?x=1", row).status, 200);
}

TEST_F(service_test, an_array_is_answered_by_an_array_in_order) {
  champion();
  const auto j = parsed(post("/predict", R"([{"id":"a","minutes":0,"calls":1,"plan":"no","area":"408"},{"minutes":800,"calls":1,"plan":"no","area":"408"}])"));
  ASSERT_EQ(j.size(), 2U);
  EXPECT_EQ(j[0]["id"], "a");
  EXPECT_EQ(j[0]["prediction"], "no");
  EXPECT_EQ(j[1]["prediction"], "yes");
  EXPECT_EQ(post("/predict", "[]").body, "[]");
}

TEST_F(service_test, made_ids_differ) {
  champion();
  std::set<std::string> ids;
  for (int i = 0; i < 100; ++i)
    ids.insert(parsed(post("/predict", row))["id"]);
  EXPECT_EQ(ids.size(), 100U);
}

TEST_F(service_test, regression_answers_a_number) {
  champion(std::make_shared<double_model>());
  EXPECT_EQ(parsed(post("/predict", R"({"x":1.25})"))["prediction"], 2.5);
  EXPECT_EQ(parsed(post("/v2/models/churn/infer", R"({"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1,2]}]})"))["outputs"],
            json::parse(R"([{"name":"predict","shape":[2],"datatype":"FP32","data":[2.0,4.0]}])"));
  EXPECT_EQ(post("/feedback", R"({"id":"a","label":3.5})").status, 200);
  EXPECT_EQ(post("/feedback", R"({"id":"a","label":"x"})").status, 400);
}

TEST_F(service_test, with_no_model_it_lives_and_says_it_is_not_ready) {
  EXPECT_EQ(post("/predict", row).status, 503);
  EXPECT_EQ(get("/v2/health/live").status, 200);
  EXPECT_EQ(get("/v2/health/ready").status, 503);
  EXPECT_EQ(get("/v2/models/churn/ready").status, 503);
  EXPECT_EQ(get("/v2/models/churn").status, 503);
  EXPECT_EQ(post("/v2/models/churn/infer", "{}").status, 503);
  EXPECT_EQ(get("/").status, 200);
  EXPECT_EQ(get("/metrics").status, 200);
  champion();
  EXPECT_EQ(get("/v2/health/ready").status, 200);
  EXPECT_EQ(get("/v2/models/churn/ready").body, R"({"name":"churn","ready":true})");
}

TEST_F(service_test, speaks_the_open_inference_protocol) {
  service.set_routes({version(3, std::make_shared<linear_model>(0.0F)), version(4, std::make_shared<linear_model>(0.5F)), 0, 1});
  EXPECT_EQ(parsed(get("/v2"))["name"], "flywheel");
  EXPECT_EQ(parsed(get("/v2/models/churn"))["versions"], (json{"3", "4"}));
  EXPECT_EQ(parsed(get("/v2/models/churn/versions/4"))["versions"], (json{"4"}));
  EXPECT_EQ(get("/v2/models/churn/versions/v4/ready").status, 200);
  EXPECT_THAT(get("/v2/models/churn/versions/9").body, HasSubstr("these are: 3, 4"));
  EXPECT_EQ(get("/v2/models/churn/versions/9").status, 404);
  EXPECT_EQ(get("/v2/models/other").status, 404);
  const std::string infer = R"({"id":"q","inputs":[{"name":"r","shape":[2,4],"datatype":"FP32","data":[250,0,0,0, 100,0,1,0]}]})";
  const auto any = parsed(post("/v2/models/churn/infer", infer));
  EXPECT_EQ(any["model_version"], "3");
  EXPECT_EQ(any["id"], "q");
  EXPECT_EQ(any["outputs"][0]["data"], (json{"no", "no"}));
  EXPECT_EQ(parsed(post("/v2/models/churn/versions/4/infer", infer))["outputs"][0]["data"], (json{"yes", "yes"}));
  EXPECT_EQ(post("/v2/models/churn/versions/9/infer", infer).status, 404);
  EXPECT_EQ(post("/v2/models/churn/infer", "{").status, 400);
}

TEST_F(service_test, wrong_paths_and_methods_are_told_what_is_right) {
  champion();
  const auto wrong = ask(http_verb::get, "/predict");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.allow, "POST");
  EXPECT_EQ(post("/metrics", "").status, 405);
  EXPECT_EQ(ask(http_verb::other, "/").status, 405);
  EXPECT_EQ(get("/v2/models/churn/infer").status, 405);
  EXPECT_THAT(post("/predcit", row).body, HasSubstr("did you mean /predict?"));
  for (const auto* path : {"/x", "/v2x", "/v2/x", "/v2/models/", "/v2/models/churn/x", "/v2/models/churn/versions/1/x", "//", ""})
    EXPECT_EQ(get(path).status, 404) << path;
  EXPECT_TRUE(parsed(get("/\"\\<\xff")).contains("error"));
}

TEST_F(service_test, refusals_are_json_with_the_reason) {
  champion();
  const auto a = post("/predict", R"({"minuets":1})");
  EXPECT_EQ(a.status, 400);
  EXPECT_THAT(parsed(a)["error"].get<std::string>(), HasSubstr("did you mean 'minutes'?"));
  EXPECT_EQ(post("/predict", "{\"\xff\":1}").status, 400);
  EXPECT_TRUE(parsed(post("/predict", "{\"\xff\":1}")).contains("error"));
  std::string many = "[";
  for (int i = 0; i < 20'000; ++i)
    many += std::string{row} + ",";
  many.back() = ']';
  EXPECT_EQ(post("/predict", many).status, 413);
}

TEST_F(service_test, a_failing_model_is_a_500_that_the_rollout_sees_and_that_tells_no_secrets) {
  for (const bool throws : {false, true}) {
    champion(std::make_shared<failing_model>(throws));
    const auto a = post("/predict", row);
    EXPECT_EQ(a.status, 500);
    EXPECT_THAT(a.body, HasSubstr("churn/v1"));
    EXPECT_THAT(a.body, testing::Not(HasSubstr("secret")));
    const auto seen = service.take_requests();
    ASSERT_EQ(seen.size(), 1U);
    EXPECT_EQ(seen[0].http_status, 500);
    EXPECT_EQ(seen[0].version, "churn/v1");
    EXPECT_EQ(post("/v2/models/churn/infer", R"({"inputs":[{"name":"r","shape":[1,4],"datatype":"FP32","data":[1,2,0,0]}]})").status, 500);
    EXPECT_EQ(service.take_requests().size(), 1U);
  }
}

TEST_F(service_test, observations_carry_what_was_asked_and_answered) {
  champion();
  ASSERT_EQ(post("/predict", R"({"id":"c-1","minutes":250,"calls":1,"plan":"??","area":null})").status, 200);
  ASSERT_EQ(post("/predict", "nonsense").status, 400);
  const auto seen = service.take_requests();
  ASSERT_EQ(seen.size(), 1U) << "a request that reached no model says nothing about one";
  EXPECT_EQ(seen[0].id, "c-1");
  EXPECT_EQ(seen[0].features[0], 250.0F);
  EXPECT_EQ(seen[0].features[2], unseen_category) << "the drift detector tells it from a missing value";
  EXPECT_TRUE(std::isnan(seen[0].features[3]));
  EXPECT_THAT(seen[0].outputs, testing::ElementsAre(0.5F, 0.5F));
  EXPECT_EQ(seen[0].wall_ns, clock.wall().ns);
  EXPECT_FALSE(seen[0].challenger);
  EXPECT_TRUE(service.take_requests().empty());
}

TEST_F(service_test, a_batch_is_observed_row_by_row) {
  champion();
  ASSERT_EQ(post("/v2/models/churn/infer", R"({"id":"q","inputs":[{"name":"r","shape":[2,4],"datatype":"FP32","data":[1,2,0,0,3,4,1,1]}]})").status, 200);
  const auto seen = service.take_requests();
  ASSERT_EQ(seen.size(), 2U);
  EXPECT_EQ(seen[0].id, "q/0");
  EXPECT_EQ(seen[1].id, "q/1");
  EXPECT_THAT(seen[1].features, testing::ElementsAre(3, 4, 1, 1));
}

TEST_F(service_test, observations_are_bounded_and_the_rest_counted) {
  champion();
  for (int i = 0; i < 100; ++i)
    ASSERT_EQ(post("/predict", row).status, 200);
  EXPECT_EQ(service.dropped_observations(), 36U);
  EXPECT_EQ(service.take_requests().size(), 64U);
  EXPECT_THAT(get("/metrics").body, HasSubstr("\nflywheel_observations_dropped_total 36\n"));
  ASSERT_EQ(post("/predict", row).status, 200);
  EXPECT_EQ(service.take_requests().size(), 1U);
}

TEST_F(service_test, labels_are_checked_against_the_classes) {
  champion();
  EXPECT_EQ(post("/feedback", R"({"id":"c-1","label":"yes"})").body, R"({"accepted":1})");
  EXPECT_EQ(post("/feedback", R"([{"id":"c-2","label":"no"},{"id":"c-3","label":"yes"}])").body, R"({"accepted":2})");
  EXPECT_THAT(post("/feedback", R"({"id":"c-1","label":"yess"})").body, HasSubstr("did you mean 'yes'?"));
  const auto labels = service.take_labels();
  ASSERT_EQ(labels.size(), 3U);
  EXPECT_EQ(labels[2].id, "c-3");
  EXPECT_EQ(labels[2].label, "yes");
  std::string many = "[";
  for (int i = 0; i < 70; ++i)
    many += R"({"id":"x","label":"no"},)";
  many.back() = ']';
  const auto full = post("/feedback", many);
  EXPECT_EQ(full.status, 503);
  EXPECT_THAT(full.body, HasSubstr("first 64 of 70"));
}

TEST_F(service_test, the_challenger_takes_its_share_and_a_customer_keeps_his_model) {
  service.set_routes({version(1, std::make_shared<linear_model>(0.0F)), version(2, std::make_shared<linear_model>(0.5F)), 25, 7});
  int taken = 0;
  std::vector<std::string> first;
  for (int round = 0; round < 2; ++round)
    for (int i = 0; i < 1000; ++i) {
      const auto j = parsed(post("/predict", R"({"id":"customer-)" + std::to_string(i) + R"(","minutes":1,"calls":1,"plan":"no","area":"408"})"));
      const auto v = j["version"].get<std::string>();
      EXPECT_EQ(j["prediction"], v == "churn/v2" ? "yes" : "no");
      if (round == 0) {
        first.push_back(v);
        taken += v == "churn/v2" ? 1 : 0;
      } else {
        EXPECT_EQ(v, first[static_cast<std::size_t>(i)]);
      }
    }
  EXPECT_NEAR(taken, 250, 45);
}

TEST_F(service_test, without_an_id_the_row_itself_decides) {
  service.set_routes({version(1, std::make_shared<linear_model>(0.0F)), version(2, std::make_shared<linear_model>(0.5F)), 50, 7});
  int taken = 0;
  for (int i = 0; i < 400; ++i) {
    const std::string body = R"({"minutes":)" + std::to_string(i) + R"(,"calls":1,"plan":"no","area":"408"})";
    const auto a = parsed(post("/predict", body))["version"], b = parsed(post("/predict", body))["version"];
    EXPECT_EQ(a, b);
    taken += a == "churn/v2" ? 1 : 0;
  }
  EXPECT_NEAR(taken, 200, 45);
}

TEST_F(service_test, a_batch_may_be_split_and_stays_in_order) {
  service.set_routes({version(1, std::make_shared<linear_model>(0.0F)), version(2, std::make_shared<linear_model>(0.5F)), 50, 7});
  std::string body = "[";
  for (int i = 0; i < 40; ++i)
    body += R"({"id":"k)" + std::to_string(i) + R"(","minutes":)" + std::to_string(i) + R"(,"calls":1,"plan":"no","area":"408"},)";
  body.back() = ']';
  const auto j = parsed(post("/predict", body));
  ASSERT_EQ(j.size(), 40U);
  int taken = 0;
  for (std::size_t i = 0; i < 40; ++i) {
    EXPECT_EQ(j[i]["id"], "k" + std::to_string(i));
    const bool challenger = j[i]["version"] == "churn/v2";
    taken += challenger ? 1 : 0;
    EXPECT_NEAR(j[i]["probabilities"]["yes"].get<double>(), static_cast<double>(i) / 1000 + (challenger ? 0.5 : 0), 1e-6);
  }
  EXPECT_GT(taken, 5);
  EXPECT_LT(taken, 35);
  const auto seen = service.take_requests();
  ASSERT_EQ(seen.size(), 40U);
  for (std::size_t i = 0; i < 40; ++i) {
    EXPECT_EQ(seen[i].challenger, seen[i].version == "churn/v2");
    EXPECT_EQ(seen[i].features[0], static_cast<float>(i));
  }
}

// The challenger was trained on later data: inputs in another order, one more input, categories coded the other way round.
TEST_F(service_test, models_with_different_inputs_each_get_their_own_coding) {
  auto later = customer_signature();
  std::swap(later.inputs[0], later.inputs[2]);
  later.inputs[0].categories = {"yes", "no"};
  later.inputs.push_back({"region", column_type::categorical, {"north"}});
  const auto model = std::make_shared<linear_model>(0.0F, later);
  service.set_routes({version(1, std::make_shared<linear_model>(0.0F)), version(2, model), 50, 7});
  int taken = 0;
  for (int i = 0; i < 60; ++i) {
    const auto j = parsed(post("/predict", R"({"id":"k)" + std::to_string(i) + R"(","region":"north","minutes":125,"calls":1,"plan":"yes","area":"408"})"));
    EXPECT_EQ(j["probabilities"]["yes"], 0.375) << j;
    taken += j["version"] == "churn/v2" ? 1 : 0;
  }
  EXPECT_GT(taken, 10);
  EXPECT_LT(taken, 50);
}

TEST_F(service_test, the_first_release_ever_is_answered_by_the_challenger_alone) {
  service.set_routes({{}, version(1, std::make_shared<linear_model>(0.0F)), 5, 1});
  for (int i = 0; i < 50; ++i)
    EXPECT_EQ(parsed(post("/predict", R"({"id":"k)" + std::to_string(i) + R"(","minutes":1,"calls":1,"plan":"no","area":"408"})"))["version"], "churn/v1");
  for (const auto& r : service.take_requests())
    EXPECT_TRUE(r.challenger);
}

TEST_F(service_test, metrics_read_as_prometheus_text) {
  champion();
  ASSERT_EQ(post("/predict", R"({"minutes":1,"calls":1,"plan":"?","area":"408"})").status, 200);
  ASSERT_EQ(post("/predict", "x").status, 400);
  const auto m = get("/metrics");
  EXPECT_EQ(m.content_type, "text/plain; version=0.0.4");
  for (const auto* line : {"flywheel_requests_total{version=\"churn/v1\",status=\"200\"} 1\n", "flywheel_requests_total{version=\"\",status=\"400\"} 1\n",
                           "flywheel_request_seconds_bucket{version=\"churn/v1\",le=\"+Inf\"} 1\n", "flywheel_request_seconds_count{version=\"churn/v1\"} 1\n",
                           "flywheel_rows_total{version=\"churn/v1\"} 1\n",
                           "flywheel_unknown_categories_total{version=\"churn/v1\",input=\"plan\"} 1\n",
                           "flywheel_route{role=\"champion\",version=\"churn/v1\"} 1\n", "# TYPE flywheel_request_seconds histogram\n"})
    EXPECT_THAT(m.body, HasSubstr(line));
}

TEST_F(service_test, the_front_page_tells_a_person_how_to_ask) {
  champion();
  const auto j = parsed(get("/"));
  EXPECT_EQ(j["predicts"], "churn");
  EXPECT_EQ(post("/predict", j["example"].dump()).status, 200) << "the example works";
  const auto html = ask(http_verb::get, "/", {}, "text/html,*/*");
  EXPECT_EQ(html.content_type, "text/html");
  EXPECT_THAT(html.body, HasSubstr("churn/v1"));
}

TEST_F(service_test, a_life_with_many_versions_keeps_few_counters) {
  for (int v = 1; v <= 200; ++v) {
    service.set_routes({version(v, std::make_shared<linear_model>(0.0F)), {}, 0, static_cast<std::uint64_t>(v)});
    ASSERT_EQ(post("/predict", row).status, 200);
  }
  const auto m = get("/metrics").body;
  EXPECT_THAT(m, HasSubstr("churn/v200"));
  EXPECT_THAT(m, testing::Not(HasSubstr("churn/v100\"")));
  EXPECT_EQ(service.routes().generation, 200U);
}
