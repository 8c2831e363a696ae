#include "deploy/release.hpp"

#include "cluster/content/publish.hpp"
#include "models/features.hpp"
#include "models/trial.hpp"
#include "tests/models/sample_tables.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

using namespace flywheel;
namespace fs = std::filesystem;
using testing::HasSubstr;

namespace {

/// One small forest, published once for all tests.
class release_test : public testing::Test {
protected:
  static void SetUpTestSuite() {
    shared = std::make_unique<test::temporary_folder>();
    const table rows = test::make_table(300, 1, task_type::binary, 5);
    learning_task task;
    task.target = "y";
    task.classes = {"no", "yes"};
    task.inputs = {"a", "b", "c", "small", "large"};
    trial_spec spec;
    spec.trial = "t1";
    spec.family = "gbt";
    spec.params = find_family("gbt")->defaults;
    const std::atomic<bool> stop{false};
    auto fitted = fit_model(rows, task, spec, 5, {}, {}, stop);
    ASSERT_TRUE(fitted) << fitted.error().to_string();
    fitted_model = *fitted;
    auto r = model_registry::open(shared->path() / "models");
    ASSERT_TRUE(r);
    auto v = r->publish("toy", "k", {}, wall_time{5}, [](const fs::path& to) { return fitted_model->save(to); });
    ASSERT_TRUE(v) << v.error().to_string();
    version = *v;
    features = *encode_features(fitted_model->signature(), rows);
  }
  static void TearDownTestSuite() {
    shared.reset();
    fitted_model.reset();
  }
  static model_registry registry() { return *model_registry::open(shared->path() / "models"); }
  static model_server_options serve() {
    model_server_options o;
    o.name = "toy";
    o.port = 8080;
    return o;
  }
  static void expect_same_answers(const served_model& m) {
    std::vector<float> mine(600), theirs(600);
    fitted_model->predict(features, 300, mine);
    m.model->predict(features, 300, theirs);
    EXPECT_EQ(mine, theirs);
  }
  static void flip_middle(const fs::path& path) {
    std::fstream file{path, std::ios::binary | std::ios::in | std::ios::out};
    const auto middle = static_cast<std::streamoff>(fs::file_size(path) / 2);
    file.seekg(middle);
    const char c = static_cast<char>(file.get() ^ 1);
    file.seekp(middle);
    file.put(c);
  }

  inline static std::unique_ptr<test::temporary_folder> shared;
  inline static std::shared_ptr<const tabular_model> fitted_model;
  inline static model_version version;
  inline static std::vector<float> features;
  test::temporary_folder folder;
};

} // namespace

TEST_F(release_test, a_version_loads_from_the_registry_and_answers_as_before) {
  const auto m = load_release(registry(), version);
  ASSERT_TRUE(m) << m.error().to_string();
  EXPECT_EQ(m->version, "toy/v1");
  expect_same_answers(*m);
}

TEST_F(release_test, a_release_holds_all_it_needs) {
  const auto path = folder.path() / "release";
  ASSERT_TRUE(make_release(registry(), version, serve(), wall_time{7}, path));
  const auto r = open_release(path);
  ASSERT_TRUE(r) << r.error().to_string();
  EXPECT_EQ(r->id(), "toy/v1");
  EXPECT_EQ(r->serve.port, 8080);
  EXPECT_EQ(r->created.ns, 7);
  EXPECT_EQ(r->registry_manifest, version.manifest);
  const auto m = load_release(*r);
  ASSERT_TRUE(m) << m.error().to_string();
  expect_same_answers(*m);
}

TEST_F(release_test, made_again_it_is_the_same_or_refused) {
  const auto path = folder.path() / "release";
  const auto first = make_release(registry(), version, serve(), wall_time{7}, path);
  const auto again = make_release(registry(), version, serve(), wall_time{8}, path);
  ASSERT_TRUE(first && again);
  EXPECT_EQ(first->manifest, again->manifest);
  auto other = serve();
  other.port = 9090;
  EXPECT_EQ(make_release(registry(), version, other, wall_time{8}, path).error().code, errc::already_exists);
}

TEST_F(release_test, any_damaged_file_is_named_and_nothing_is_loaded) {
  const auto path = folder.path() / "release";
  const auto made = make_release(registry(), version, serve(), wall_time{7}, path);
  ASSERT_TRUE(made);
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator{path}) {
    if (!entry.is_regular_file())
      continue;
    ++files;
    flip_middle(entry.path());
    const auto opened = open_release(path);
    ASSERT_FALSE(opened) << entry.path();
    EXPECT_EQ(opened.error().code, errc::checksum_mismatch);
    EXPECT_THAT(opened.error().to_string(), HasSubstr(entry.path().string()));
    EXPECT_FALSE(load_release(*made)) << "also if it was whole when it was opened";
    flip_middle(entry.path());
  }
  EXPECT_GE(files, 6);
  EXPECT_TRUE(load_release(*made));
  fs::remove(path / "serve.json");
  EXPECT_THAT(open_release(path).error().to_string(), HasSubstr("serve.json"));
}

TEST_F(release_test, a_damaged_version_is_neither_loaded_nor_released) {
  fs::copy(shared->path() / "models", folder.path() / "models", fs::copy_options::recursive);
  const auto r = *model_registry::open(folder.path() / "models");
  const auto v = *r.find("toy/v1");
  for (const auto& entry : fs::directory_iterator{v.folder}) {
    flip_middle(entry.path());
    EXPECT_EQ(load_release(r, v).error().code, errc::checksum_mismatch) << entry.path();
    EXPECT_FALSE(make_release(r, v, serve(), wall_time{7}, folder.path() / "release"));
    EXPECT_FALSE(fs::exists(folder.path() / "release"));
    flip_middle(entry.path());
  }
  EXPECT_TRUE(load_release(r, v));
}

TEST_F(release_test, what_is_no_release_is_refused) {
  EXPECT_EQ(open_release(folder.path()).error().code, errc::not_found);
  std::ofstream{folder.path() / "release.json"} << "{}";
  EXPECT_EQ(open_release(folder.path()).error().code, errc::checksum_mismatch);
}
