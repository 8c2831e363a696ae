#include "actors/client/man_page.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

namespace flywheel {
namespace {

using testing::HasSubstr;

std::vector<const command_spec*> pages() {
  std::vector<const command_spec*> all{nullptr};
  for (const auto& c : command_table())
    if (!c.hidden)
      all.push_back(&c);
  return all;
}

TEST(man_page, every_page_has_its_parts_examples_before_the_description) {
  for (const auto* c : pages()) {
    const auto page = man_page(c);
    SCOPED_TRACE(man_page_name(c));
    EXPECT_TRUE(page.starts_with(".TH FLYWHEEL"));
    for (const auto* part : {".SH NAME\n", ".SH SYNOPSIS\n", ".SH EXAMPLES\n", ".SH DESCRIPTION\n", ".SH EXIT STATUS\n"})
      EXPECT_THAT(page, HasSubstr(part));
    EXPECT_LT(page.find(".SH EXAMPLES"), page.find(".SH DESCRIPTION"));
  }
}

// A line that starts with '.' or ' is a request to roff; text must never become one.
TEST(man_page, only_known_requests_start_a_line) {
  const std::set<std::string> known{".TH", ".SH", ".SS", ".TP", ".PP"};
  for (const auto* c : pages()) {
    std::istringstream lines(man_page(c));
    for (std::string line; std::getline(lines, line);) {
      EXPECT_FALSE(line.starts_with('\'')) << line;
      EXPECT_FALSE(line.empty());
      EXPECT_TRUE(!line.starts_with('.') || known.contains(line.substr(0, 3))) << line;
    }
  }
}

TEST(man_page, writes_all_pages_and_says_why_it_cannot) {
  char name[] = "/tmp/flywheel-man-XXXXXX";
  ASSERT_NE(::mkdtemp(name), nullptr);
  const std::filesystem::path folder = name;
  ASSERT_TRUE(write_man_pages(folder / "share/man"));
  for (const auto* c : pages()) {
    std::ifstream in(folder / "share/man/man1" / (man_page_name(c) + ".1"));
    std::stringstream text;
    text << in.rdbuf();
    EXPECT_EQ(text.str(), man_page(c));
  }
  std::ofstream(folder / "file") << "";
  const auto refused = write_man_pages(folder / "file");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().what, HasSubstr("file/man1"));
  std::filesystem::remove_all(folder);
}

} // namespace
} // namespace flywheel
