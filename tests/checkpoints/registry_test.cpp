#include "checkpoints/registry.hpp"

#include "cluster/content/publish.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sys/wait.h>
#include <unistd.h>

using namespace flywheel;
namespace fs = std::filesystem;

namespace {

class registry : public testing::Test {
protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "flywheel-registry-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder = name;
  }
  void TearDown() override { fs::remove_all(folder); }

  model_registry open() {
    auto r = model_registry::open(folder / "models");
    EXPECT_TRUE(r);
    return *r;
  }
  static lineage origin() {
    lineage l;
    l.goal = "g-1";
    l.family = "gbt";
    l.params = R"({"max_depth":6})";
    l.seed = 18446744073709551615ULL;
    l.metrics = {{"accuracy", 0.964}, {"auc", 0.93}};
    return l;
  }
  static std::function<status(const fs::path&)> files(std::string text) {
    return [text](const fs::path& to) -> status {
      FLYWHEEL_CHECK(publish_file(to / "model.json", text));
      fs::create_directory(to / "trees");
      return publish_file(to / "trees" / "forest.bin", std::string(300, 'x') + text);
    };
  }
  static result<model_version> publish(model_registry& r, const std::string& key, const std::string& text = "model",
                                       const std::string& model = "churn") {
    return r.publish(model, key, origin(), wall_time{1'700'000'000'000'000'000}, files(text));
  }
  /// In place; twice is as before.
  static void flip(const fs::path& path, std::size_t bit) {
    std::fstream file{path, std::ios::binary | std::ios::in | std::ios::out};
    file.seekg(static_cast<std::streamoff>(bit / 8));
    const char byte = static_cast<char>(file.get() ^ (1 << (bit % 8)));
    file.seekp(static_cast<std::streamoff>(bit / 8));
    file.put(byte);
    ASSERT_TRUE(file.good());
  }

  fs::path folder;
};

} // namespace

TEST_F(registry, a_published_version_comes_back_with_its_lineage) {
  auto r = open();
  const auto v = publish(r, "key-1");
  ASSERT_TRUE(v) << v.error().to_string();
  EXPECT_EQ(v->id(), "churn/v1");
  const auto found = open().find("churn/v1");
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_EQ(found->origin.params, R"({"max_depth":6})");
  EXPECT_EQ(found->origin.seed, 18446744073709551615ULL);
  EXPECT_EQ(found->origin.metrics.at("accuracy"), 0.964);
  EXPECT_EQ(found->created.ns, 1'700'000'000'000'000'000);
  EXPECT_EQ(found->manifest, v->manifest);
  EXPECT_TRUE(r.verify(*found).ok());
  EXPECT_EQ(read_file(found->folder / "model.json", 100).value(), "model");
}

TEST_F(registry, one_key_is_one_version_whatever_is_offered) {
  auto r = open();
  EXPECT_EQ(publish(r, "a")->version, 1U);
  EXPECT_EQ(publish(r, "b")->version, 2U);
  EXPECT_EQ(publish(r, "a", "something else")->version, 1U);
  EXPECT_EQ(read_file(folder / "models/churn/v1/model.json", 100).value(), "model");
  EXPECT_EQ(r.list("churn")->size(), 2U);
}

TEST_F(registry, numbers_only_grow_even_if_the_newest_is_removed_by_hand) {
  auto r = open();
  ASSERT_TRUE(publish(r, "a"));
  ASSERT_TRUE(publish(r, "b"));
  fs::remove_all(folder / "models/churn/v2");
  EXPECT_EQ(publish(r, "c")->version, 3U);
}

TEST_F(registry, a_failed_fill_publishes_nothing_and_its_error_comes_back) {
  auto r = open();
  const auto v = r.publish("churn", "a", origin(), {}, [](const fs::path& to) -> status {
    FLYWHEEL_CHECK(publish_file(to / "half", "half"));
    return error{errc::training_diverged, "no model"};
  });
  ASSERT_FALSE(v);
  EXPECT_EQ(v.error().code, errc::training_diverged);
  EXPECT_TRUE(r.list()->empty());
  EXPECT_EQ(publish(r, "a")->version, 1U);
}

TEST_F(registry, a_model_may_not_bring_a_manifest_or_a_link) {
  auto r = open();
  EXPECT_EQ(r.publish("churn", "a", origin(), {}, [](const fs::path& to) { return publish_file(to / "manifest.json", "{}"); })
                .error().code, errc::invalid_argument);
  EXPECT_EQ(r.publish("churn", "a", origin(), {}, [](const fs::path& to) -> status {
                fs::create_symlink("/etc/hostname", to / "model.json");
                return success();
              }).error().code, errc::unsupported);
  EXPECT_TRUE(r.list()->empty());
}

TEST_F(registry, names_that_could_leave_the_folder_are_refused) {
  auto r = open();
  for (const auto* name : {"../x", "a/b", "", ".hidden", "a b"}) {
    EXPECT_EQ(publish(r, "k", "m", name).error().code, errc::invalid_argument) << name;
    EXPECT_FALSE(r.find(name)) << name;
  }
  ASSERT_TRUE(publish(r, "k"));
  EXPECT_EQ(r.set_alias("churn", "../../x", 1, 1).error().code, errc::invalid_argument);
  EXPECT_FALSE(r.find("churn/../churn/v1"));
  EXPECT_FALSE(r.find("churn/v01"));
}

TEST_F(registry, references_resolve_and_misses_name_what_is_near) {
  auto r = open();
  ASSERT_TRUE(publish(r, "a"));
  ASSERT_TRUE(publish(r, "b"));
  EXPECT_EQ(r.find("churn")->version, 2U) << "no champion yet: the newest";
  ASSERT_TRUE(r.set_alias("churn", "champion", 1, 5).ok());
  EXPECT_EQ(r.find("churn")->version, 1U);
  EXPECT_EQ(r.find("churn@champion")->version, 1U);
  EXPECT_EQ(r.find("churn/2")->version, 2U);
  EXPECT_THAT(r.find("chrun").error().to_string(), testing::HasSubstr("did you mean 'churn'?"));
  EXPECT_THAT(r.find("churn@champoin").error().to_string(), testing::HasSubstr("did you mean 'champion'?"));
  EXPECT_THAT(r.find("churn/v9").error().to_string(), testing::HasSubstr("churn/v2"));
  EXPECT_EQ(r.find("churn/v9").error().code, errc::not_found);
}

TEST_F(registry, an_alias_obeys_the_newest_owner) {
  auto r = open();
  ASSERT_TRUE(publish(r, "a"));
  ASSERT_TRUE(publish(r, "b"));
  ASSERT_TRUE(r.set_alias("churn", "champion", 1, 5).ok());
  ASSERT_TRUE(r.set_alias("churn", "champion", 2, 5).ok());
  EXPECT_EQ(r.set_alias("churn", "champion", 1, 4).error().code, errc::stale_epoch);
  EXPECT_EQ(*r.alias("churn", "champion"), 2U);
  ASSERT_TRUE(r.set_alias("churn", "champion", 1, 6).ok()) << "back is allowed: that is a rollback";
  EXPECT_EQ(r.set_alias("churn", "champion", 7, 6).error().code, errc::not_found);
  ASSERT_TRUE(r.set_alias("churn", "challenger", 2, 6).ok());
  EXPECT_EQ(r.aliases("churn"), (std::map<std::string, std::uint32_t>{{"champion", 1}, {"challenger", 2}}));
  ASSERT_TRUE(r.set_alias("churn", "challenger", 0, 6).ok());
  EXPECT_EQ(r.alias("churn", "challenger").error().code, errc::not_found);
  EXPECT_EQ(r.set_alias("churn", "challenger", 1, 5).error().code, errc::stale_epoch) << "taking it away keeps the epoch";
}

TEST_F(registry, every_flipped_bit_of_every_file_is_reported_by_name) {
  auto r = open();
  const auto v = publish(r, "a");
  ASSERT_TRUE(v);
  ASSERT_TRUE(r.set_alias("churn", "champion", 1, 5).ok());
  std::size_t tried = 0;
  for (const auto& entry : fs::recursive_directory_iterator{folder}) {
    if (!entry.is_regular_file() || entry.file_size() == 0)
      continue;
    const auto path = entry.path();
    const std::size_t bits = entry.file_size() * 8;
    for (std::size_t bit = 0; bit < bits; bit += path.extension() == ".bin" ? 37 : 1) {
      flip(path, bit);
      std::string told;
      if (path.parent_path().filename() == "aliases") {
        const auto got = r.find("churn@champion");
        ASSERT_FALSE(got) << path << " bit " << bit;
        told = got.error().to_string();
      } else if (path.filename() == "newest.json") {
        const auto got = publish(r, "new");
        ASSERT_FALSE(got) << path << " bit " << bit;
        told = got.error().to_string();
      } else {
        const auto got = r.verify(*v);
        ASSERT_FALSE(got.ok()) << path << " bit " << bit;
        told = got.error().to_string();
      }
      ASSERT_THAT(told, testing::HasSubstr(path.string()));
      ASSERT_THAT(told, testing::HasSubstr("[checksum_mismatch]"));
      ++tried;
      flip(path, bit);
    }
  }
  EXPECT_GT(tried, 5000U);
  EXPECT_TRUE(r.verify(*v).ok());
}

TEST_F(registry, files_added_or_removed_are_damage) {
  auto r = open();
  const auto v = publish(r, "a");
  ASSERT_TRUE(v);
  std::ofstream{v->folder / "extra"} << "x";
  EXPECT_THAT(r.verify(*v).error().to_string(), testing::HasSubstr("extra"));
  fs::remove(v->folder / "extra");
  EXPECT_TRUE(r.verify(*v).ok());
  fs::remove(v->folder / "trees/forest.bin");
  EXPECT_THAT(r.verify(*v).error().to_string(), testing::HasSubstr("forest.bin"));
  fs::remove(v->folder / "manifest.json");
  EXPECT_EQ(r.find("churn/v1").error().code, errc::checksum_mismatch);
}

TEST_F(registry, a_damaged_version_is_left_out_and_told_and_blocks_no_other) {
  auto r = open();
  ASSERT_TRUE(publish(r, "a"));
  ASSERT_TRUE(publish(r, "b"));
  flip(folder / "models/churn/v1/manifest.json", 100);
  EXPECT_FALSE(r.list());
  std::vector<error> damage;
  const auto rest = r.list("churn", &damage);
  ASSERT_TRUE(rest);
  ASSERT_EQ(rest->size(), 1U);
  EXPECT_EQ(rest->front().version, 2U);
  ASSERT_EQ(damage.size(), 1U);
  EXPECT_THAT(damage[0].to_string(), testing::HasSubstr("v1/manifest.json"));
  EXPECT_TRUE(r.find("churn/v2"));
  EXPECT_EQ(publish(r, "a").error().code, errc::checksum_mismatch) << "key 'a' may be the damaged one's: never published twice";
}

TEST_F(registry, a_version_moved_to_another_number_is_not_believed) {
  auto r = open();
  ASSERT_TRUE(publish(r, "a"));
  fs::copy(folder / "models/churn/v1", folder / "models/churn/v7", fs::copy_options::recursive);
  EXPECT_EQ(r.find("churn/v7").error().code, errc::checksum_mismatch);
}

// A child process is killed at a random moment of publishing, again and again. Before: any prefix of the steps may have
// happened. After each kill: every visible version is whole, and asking again with the same keys ends with one of each.
TEST_F(registry, a_kill_at_any_moment_leaves_whole_versions_and_each_key_once) {
  constexpr int keys = 6;
  for (int round = 0; round < 25; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto r = model_registry::open(folder / "models");
      for (int k = 0; r && k < keys; ++k)
        if (!publish(*r, "key-" + std::to_string(k)))
          ::_exit(1);
      ::_exit(0);
    }
    ::usleep(static_cast<useconds_t>(200 + round * 350)); // spreads the kills over the child's life; nothing waits for it
    ::kill(child, SIGKILL);
    int ended = 0;
    ::waitpid(child, &ended, 0);
    auto r = open();
    const auto versions = r.list("churn");
    ASSERT_TRUE(versions) << versions.error().to_string();
    for (const auto& v : *versions)
      ASSERT_TRUE(r.verify(v).ok());
  }
  auto r = open();
  std::set<std::uint32_t> numbers;
  for (int k = 0; k < keys; ++k) {
    const auto v = publish(r, "key-" + std::to_string(k));
    ASSERT_TRUE(v) << v.error().to_string();
    numbers.insert(v->version);
  }
  EXPECT_EQ(numbers.size(), static_cast<std::size_t>(keys));
  EXPECT_EQ(r.list("churn")->size(), static_cast<std::size_t>(keys));
  for (const auto& entry : fs::recursive_directory_iterator{folder})
    EXPECT_EQ(entry.path().string().find(".tmp-"), std::string::npos) << entry.path();
}

TEST_F(registry, publishers_in_several_processes_do_not_collide) {
  constexpr int processes = 3, each = 8;
  std::vector<pid_t> children;
  for (int p = 0; p < processes; ++p) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto r = model_registry::open(folder / "models");
      bool good = static_cast<bool>(r);
      for (int k = 0; good && k < each; ++k) { // half of the keys are shared by all, half are one's own
        const std::string key = k % 2 == 0 ? "shared-" + std::to_string(k) : std::to_string(p) + "-" + std::to_string(k);
        good = static_cast<bool>(publish(*r, key)) && r->set_alias("churn", "champion", 1, static_cast<std::uint64_t>(k)).ok() == true;
        if (!good) // another process may have a newer epoch: that refusal is right
          good = r->set_alias("churn", "champion", 1, 0).error().code == errc::stale_epoch;
      }
      ::_exit(good ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int ended = 0;
    ::waitpid(child, &ended, 0);
    EXPECT_TRUE(WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
  }
  auto r = open();
  const auto versions = r.list("churn");
  ASSERT_TRUE(versions);
  ASSERT_EQ(versions->size(), static_cast<std::size_t>(each / 2 + processes * each / 2));
  for (std::size_t i = 0; i < versions->size(); ++i)
    EXPECT_EQ((*versions)[i].version, i + 1) << "numbers without a gap";
}
