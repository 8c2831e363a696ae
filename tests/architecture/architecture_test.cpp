// Walks the sources and holds them to the map in source_map.cpp; and, first, checks that each check can fail.

#include "tests/architecture/source_map.hpp"
#include "tests/architecture/source_walk.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

namespace flywheel::architecture {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::filesystem::path root = FLYWHEEL_SOURCE_DIR;
const std::vector<std::string> product_folders{"actors", "cluster", "gpu", "nccl", "models", "checkpoints", "deploy"};

const tree& product() {
  static const tree files = read_tree(root, product_folders);
  return files;
}

std::string lines(const findings& all) {
  std::string text;
  for (const auto& one : all)
    text += one + "\n";
  return text;
}

TEST(architecture, the_tree_is_there) { EXPECT_GT(product().size(), 100u); }
TEST(architecture, the_map_has_no_cycle) { EXPECT_EQ(lines(check_map_is_acyclic(folder_rules())), ""); }
TEST(architecture, includes_follow_the_map) { EXPECT_EQ(lines(check_includes(product(), folder_rules())), ""); }
TEST(architecture, foreign_libraries_stay_behind_their_door) { EXPECT_EQ(lines(check_libraries(product(), library_rules())), ""); }
TEST(architecture, what_decides_does_not_see_actors) {
  EXPECT_EQ(lines(check_caf_is_not_seen(product(), {"actors/protocol", "actors/gate", "actors/node", "actors/client"})), "");
}
TEST(architecture, clocks_and_dice_are_in_one_place) { EXPECT_EQ(lines(check_words(product(), word_rules())), ""); }
TEST(architecture, headers_are_contracts) { EXPECT_EQ(lines(check_headers(product())), ""); }
TEST(architecture, no_source_is_an_orphan) { EXPECT_EQ(lines(check_folders_are_built(product(), root)), ""); }
TEST(architecture, every_unit_has_a_test) {
  EXPECT_EQ(lines(check_tests(product(), read_tree(root, {"tests"}), untested_units())), "");
}

/// A small tree in which things go wrong.
class broken_tree : public testing::Test {
protected:
  void SetUp() override {
    char name[] = "/tmp/flywheel-architecture-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    root_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void file(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  tree sources() const { return read_tree(root_, {"low", "high", "actors"}); }
  std::filesystem::path root_;
  const std::vector<folder_rule> rules_{{"low", {}, ""}, {"high", {"low"}, ""}, {"actors/x", {"high"}, ""}};
};

TEST_F(broken_tree, an_arrow_back_is_found) {
  file("low/a.hpp", "#include \"high/b.hpp\"\n");
  file("high/b.hpp", "#include  \"low/a.hpp\"\n");
  EXPECT_THAT(check_includes(sources(), rules_), ElementsAre("low/a.hpp includes high/b.hpp: low may not include high"));
}

TEST_F(broken_tree, what_may_be_included_comes_with_what_it_includes) {
  file("low/a.hpp", "");
  file("actors/x/c.cpp", "#include \"low/a.hpp\"\n");
  EXPECT_THAT(check_includes(sources(), rules_), IsEmpty());
}

TEST_F(broken_tree, a_folder_outside_of_the_map_is_found) {
  file("low/new/a.cpp", "");
  EXPECT_THAT(check_includes(sources(), rules_), ElementsAre(HasSubstr("low/new/a.cpp: its folder is not in the map")));
}

TEST_F(broken_tree, the_product_may_not_include_tests) {
  file("low/a.cpp", "#include \"tests/helper.hpp\"\n");
  EXPECT_THAT(check_includes(sources(), rules_), ElementsAre(HasSubstr("knows nothing of its tests")));
}

TEST_F(broken_tree, cycles_in_the_map_are_found) {
  EXPECT_THAT(check_map_is_acyclic({{"a", {"b"}, ""}, {"b", {"c"}, ""}, {"c", {"b"}, ""}, {"d", {"e"}, ""}}),
              ElementsAre(HasSubstr("d may include e, which is not in the map"), "b and c may include each other"));
}

TEST_F(broken_tree, libraries_are_found_where_they_do_not_belong_also_through_headers) {
  file("low/a.hpp", "# include <caf/all.hpp>\n");
  file("high/k.cu", "#include \"low/a.hpp\"\n");
  file("actors/x/x_actor.cpp", "#include <caf/all.hpp>\n");
  file("actors/x/x_policy.cpp", "#include \"low/a.hpp\"\n");
  const std::vector<library_rule> rules{{"CAF", {"caf/"}, "actors/.*_actor\\.cpp", "x"}};
  EXPECT_THAT(check_libraries(sources(), rules),
              ElementsAre(HasSubstr("low/a.hpp includes caf/all.hpp"), "a kernel sees a message library: high/k.cu -> low/a.hpp -> caf/all.hpp"));
  EXPECT_THAT(check_caf_is_not_seen(sources(), {}), ElementsAre(HasSubstr("actors/x/x_policy.cpp -> low/a.hpp -> caf/all.hpp")));
  EXPECT_THAT(check_caf_is_not_seen(sources(), {"actors/x"}), IsEmpty());
}

TEST_F(broken_tree, words_are_found_in_code_but_not_in_comments) {
  file("low/a.cpp", "// steady_clock::now is read elsewhere\nauto t = std::chrono::steady_clock::now();\n");
  EXPECT_THAT(check_words(sources(), word_rules()), ElementsAre(HasSubstr("low/a.cpp:2: 'steady_clock::now'")));
}

TEST_F(broken_tree, headers_without_contract_or_guard_are_found) {
  file("low/a.hpp", "int f();\n");
  EXPECT_EQ(check_headers(sources()).size(), 2u);
  file("low/a.hpp", "#pragma once\n/// Always 1.\nint f();\n");
  EXPECT_THAT(check_headers(sources()), IsEmpty());
}

TEST_F(broken_tree, orphans_are_found) {
  file("CMakeLists.txt", "foreach(folder\n  low high)\n");
  file("low/CMakeLists.txt", "flywheel_folder(low DEPS x)");
  file("low/a.cpp", "");
  file("low/inner/b.cpp", "");
  file("high/c.cpp", "");
  EXPECT_THAT(check_folders_are_built(sources(), root_), ElementsAre(HasSubstr("high has sources"), HasSubstr("low/inner has sources")));
}

TEST_F(broken_tree, units_without_a_test_are_found) {
  file("low/tested.hpp", "");
  file("low/tested.cpp", "#include \"low/tested.hpp\"\n#include \"low/inner.hpp\"\n");
  file("low/tested_part2.cpp", "#include \"low/tested.hpp\"\n");
  file("low/inner.hpp", "");
  file("low/inner.cpp", "#include \"low/inner.hpp\"\n");
  file("low/forgotten.hpp", "");
  file("low/forgotten.cpp", "#include \"low/forgotten.hpp\"\n");
  file("high/user.hpp", "");
  file("high/user.cpp", "#include \"high/user.hpp\"\n#include \"low/forgotten.hpp\"\n");
  file("actors/x/x_actor.cpp", "");
  file("actors/x/x_main.cpp", "");
  file("tests/low/tested_test.cpp", "#include \"low/tested.hpp\"\n#include \"high/user.hpp\"\n");
  const auto tests = read_tree(root_, {"tests"});
  EXPECT_THAT(check_tests(sources(), tests, {}), ElementsAre(HasSubstr("low/forgotten.cpp has no test")));
  EXPECT_THAT(check_tests(sources(), tests, {{"low/forgotten.cpp", "it is shown here"}}), IsEmpty());
  EXPECT_THAT(check_tests(sources(), tests, {{"low/forgotten.cpp", ""}, {"low/inner.cpp", ""}, {"low/gone.cpp", ""}}),
              ElementsAre(HasSubstr("low/inner.cpp is excused from tests, but has one"), HasSubstr("low/gone.cpp is excused from tests, but does not exist")));
}

} // namespace
} // namespace flywheel::architecture
