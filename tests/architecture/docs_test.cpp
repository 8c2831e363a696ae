// The pages for people hold together: every page is in the index, every link leads somewhere.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

namespace flywheel::architecture {
namespace {

namespace fs = std::filesystem;
const fs::path root = FLYWHEEL_SOURCE_DIR;

std::string text_of(const fs::path& file) {
  std::ifstream in(file);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

/// Targets of the relative links of a page, without their anchors.
std::set<std::string> links_of(const std::string& text) {
  static const std::regex link(R"(\]\(([^)#\s]+)[^)]*\))");
  std::set<std::string> found;
  for (std::sregex_iterator i(text.begin(), text.end(), link), end; i != end; ++i)
    if (const std::string target = (*i)[1]; target.find("://") == std::string::npos)
      found.insert(target);
  return found;
}

std::set<fs::path> pages() {
  std::set<fs::path> all{root / "README.md"};
  for (const auto& entry : fs::recursive_directory_iterator(root / "docs"))
    if (entry.path().extension() == ".md")
      all.insert(entry.path());
  return all;
}

TEST(docs, links_are_recognised) {
  EXPECT_THAT(links_of("[a](b.md) [c](../d/#e), `f(y)` [web](https://example.org) [here](#part)"), testing::ElementsAre("../d/", "b.md"));
}

TEST(docs, every_link_leads_somewhere) {
  for (const auto& page : pages())
    for (const auto& link : links_of(text_of(page)))
      EXPECT_TRUE(fs::exists(page.parent_path() / link)) << page << " links to " << link;
}

TEST(docs, every_page_is_in_the_index) {
  const auto index = links_of(text_of(root / "docs/README.md"));
  for (const auto& page : pages()) {
    const bool is_index = page == root / "README.md" || page == root / "docs/README.md";
    EXPECT_TRUE(is_index || index.contains(page.lexically_relative(root / "docs").generic_string())) << page << " is not in docs/README.md";
  }
}

} // namespace
} // namespace flywheel::architecture
