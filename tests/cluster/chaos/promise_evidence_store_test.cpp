// What files tell of the promises: doctored ones are found.

#include "cluster/chaos/promise_evidence_store.hpp"

#include "cluster/base/json.hpp"
#include "cluster/content/publish.hpp"
#include "checkpoints/registry.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <unistd.h>

namespace flywheel {
namespace {

namespace fs = std::filesystem;

struct state_folder {
  state_folder() {
    layout.root = ::mkdtemp(name);
    auto own = state_directory::own(layout.root);
    EXPECT_TRUE(own);
    auto log = journal::open(layout.root, clock);
    EXPECT_TRUE(log);
    event_draft d{event_kind::note, {}, {}, "x", {}, "test", "the first", "{}", 1};
    EXPECT_TRUE((*log)->append(d));
    auto registry = model_registry::open(layout.models());
    EXPECT_TRUE(registry);
    lineage from;
    from.goal = "g";
    EXPECT_TRUE(registry->publish("m", "release/g", from, clock.wall(), [](const fs::path& to) { return publish_file(to / "weights", std::string(1000, 'w')); }));
    EXPECT_TRUE(registry->set_alias("m", "champion", 1, 1));
  }
  ~state_folder() { fs::remove_all(layout.root); }
  char name[32] = "/tmp/fw-evidence-XXXXXX";
  manual_clock clock;
  state_layout layout;
};

TEST(promise_evidence_store, reads_journal_registry_and_aliases) {
  state_folder s;
  const auto e = gather_evidence(s.layout);
  ASSERT_TRUE(e) << e.error().to_string();
  EXPECT_TRUE(e->chain.intact);
  EXPECT_EQ(e->events.size(), 1U);
  ASSERT_EQ(e->versions.size(), 1U);
  EXPECT_EQ(e->versions[0].goal, "g");
  ASSERT_EQ(e->aliases.size(), 1U);
  EXPECT_EQ(e->aliases[0].epoch, 1U);
  EXPECT_EQ(e->owner_epoch, 1U);
  EXPECT_TRUE(e->damage.empty());
  EXPECT_TRUE(files_left(s.layout).empty());
}

TEST(promise_evidence_store, a_changed_model_and_a_changed_entry_are_damage) {
  state_folder s;
  const auto file = s.layout.models() / "m" / "v1" / "weights";
  fs::permissions(file, fs::perms::owner_all);
  std::fstream{file, std::ios::in | std::ios::out | std::ios::binary}.put('x');
  const auto e = gather_evidence(s.layout);
  ASSERT_TRUE(e);
  EXPECT_EQ(e->damage.size(), 1U);

  state_folder t;
  std::fstream db{t.layout.root / "journal.db", std::ios::in | std::ios::out | std::ios::binary};
  const std::string bytes{std::istreambuf_iterator<char>{db}, {}};
  const auto at = bytes.find("the first");
  ASSERT_NE(at, std::string::npos);
  db.clear();
  db.seekp(static_cast<std::streamoff>(at));
  db.put('T');
  db.close();
  const auto damaged = gather_evidence(t.layout);
  ASSERT_TRUE(damaged) << damaged.error().to_string();
  EXPECT_FALSE(damaged->chain.intact);
}

TEST(promise_evidence_store, a_secret_in_a_log_is_found_and_not_repeated) {
  state_folder s;
  const std::string line = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
  fs::create_directories(s.layout.root / "certs" / "head");
  std::ofstream{s.layout.root / "certs" / "head" / "head.key"} << "-----BEGIN PRIVATE KEY-----\n" << line << "\nAAAA\n-----END PRIVATE KEY-----\n";
  auto e = gather_evidence(s.layout);
  ASSERT_TRUE(e);
  EXPECT_GT(e->secrets_looked_for, 0U);
  EXPECT_TRUE(e->secrets_found.empty());
  std::ofstream{s.layout.log() / "head.log"} << "using key " << line << "\n";
  e = gather_evidence(s.layout);
  ASSERT_TRUE(e);
  ASSERT_EQ(e->secrets_found.size(), 1U);
  EXPECT_EQ(e->secrets_found[0].find(line), std::string::npos);
}

TEST(promise_evidence_store, temporaries_and_ballast_are_left_behind) {
  state_folder s;
  std::ofstream{s.layout.data() / "x.tmp-1"} << "x";
  std::ofstream{s.layout.log() / "ballast"} << "x";
  EXPECT_EQ(files_left(s.layout, {s.layout.log() / "ballast", s.layout.log() / "none"}).size(), 2U);
}

TEST(promise_evidence_store, no_journal_is_an_error) { EXPECT_FALSE(gather_evidence(state_layout{"/nonexistent"})); }

} // namespace
} // namespace flywheel
