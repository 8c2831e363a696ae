#include "actors/trainer/task_format.hpp"
#include "cluster/base/json.hpp"

#include <gtest/gtest.h>

using namespace flywheel;
using nlohmann::json;

namespace {

worker_job a_job() {
  worker_job j;
  j.kind = "fit";
  j.table = "/state/data/s/train.fwt";
  j.folder = "/state/trials/g-1";
  j.task.type = task_type::binary;
  j.task.metric = metric_name::auc;
  j.task.target = "left";
  j.task.inputs = {"minutes"};
  j.task.classes = {"no", "yes"};
  j.spec.trial = "gbt-0003";
  j.spec.family = "gbt";
  j.spec.params = find_family("gbt")->defaults;
  j.spec.resource_max = 200;
  j.spec.rungs = {22, 66, 200};
  j.spec.seed = 18446744073709551615u;
  j.resource = 120;
  return j;
}

} // namespace

TEST(task_format, a_job_survives_the_journey) {
  const auto j = json::parse(to_json(a_job()).dump());
  const auto back = job_from_json(j);
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(to_json(*back), j);
  EXPECT_EQ(back->spec.params, find_family("gbt")->defaults);
  EXPECT_EQ(back->spec.seed, 18446744073709551615u);
}

TEST(task_format, a_trials_checkpoints_and_model_lie_beside_each_other_and_apart) {
  auto other = a_job();
  other.spec.trial = "gbt-0004";
  EXPECT_EQ(checkpoint_folder(a_job()), "/state/trials/g-1/gbt-0003");
  EXPECT_NE(checkpoint_folder(a_job()), model_folder(a_job()));
  EXPECT_NE(checkpoint_folder(a_job()), checkpoint_folder(other));
  EXPECT_NE(model_folder(a_job()), model_folder(other));
}

TEST(task_format, every_lost_or_spoilt_key_is_refused) {
  const auto good = to_json(a_job());
  for (const auto& [key, value] : good.items()) {
    auto lost = good;
    lost.erase(key);
    EXPECT_FALSE(job_from_json(lost)) << key;
    auto spoilt = good;
    spoilt[key] = value.is_array() ? json(7) : json::array();
    EXPECT_FALSE(job_from_json(spoilt)) << key;
  }
  for (const json& j : {json(nullptr), json(7), json::array(), json::object()})
    EXPECT_EQ(job_from_json(j).error().code, errc::invalid_format);
}
