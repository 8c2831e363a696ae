#pragma once
// The map of the source, as tables: which folder may include which, and where a foreign library may be seen.
// docs/architecture.md tells the same for people. A new folder is a new row here.

#include <string>
#include <vector>

namespace flywheel::architecture {

/// A folder and what it may include besides itself; what those may include comes with them.
struct folder_rule {
  std::string folder;
  std::vector<std::string> may_include;
  std::string job; ///< one line for people
};
const std::vector<folder_rule>& folder_rules();

/// A foreign library: its includes start with one of `prefixes`, and may stand only in files whose path matches `where`.
struct library_rule {
  std::string name;
  std::vector<std::string> prefixes;
  std::string where; ///< an ECMAScript regular expression of the whole path
  std::string why;
};
const std::vector<library_rule>& library_rules();

/// Words that may stand only in some files (clocks, randomness).
struct word_rule {
  std::vector<std::string> words; ///< searched in the code, not in // comments
  std::string where;
  std::string why;
};
const std::vector<word_rule>& word_rules();

/// A unit without a test that names it, and the reason why that is right.
struct untested_unit {
  std::string file;
  std::string reason;
};
const std::vector<untested_unit>& untested_units();

} // namespace flywheel::architecture
