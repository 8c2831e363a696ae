// docs/cli.md is generated; this test holds it to the table. To write it anew: FLYWHEEL_WRITE_DOCS=1 and run this test.
#include "actors/client/cli_reference.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace flywheel {
namespace {

TEST(cli_reference, docs_cli_md_is_current) {
  const std::string file = FLYWHEEL_SOURCE_DIR "/docs/cli.md";
  if (std::getenv("FLYWHEEL_WRITE_DOCS"))
    std::ofstream(file) << cli_reference();
  std::ifstream in(file);
  std::stringstream text;
  text << in.rdbuf();
  EXPECT_EQ(text.str(), cli_reference()) << "run this test once with FLYWHEEL_WRITE_DOCS=1 and commit docs/cli.md";
}

} // namespace
} // namespace flywheel
