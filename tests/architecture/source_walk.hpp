#pragma once
// Walks a source tree and reports what breaks the map. Knows nothing of this particular tree: the rules are handed in.

#include "tests/architecture/source_map.hpp"

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace flywheel::architecture {

/// A source file, as far as the map is concerned. Paths are relative to the root, with '/'.
struct source_file {
  std::string path;
  std::string folder;
  std::vector<std::string> includes; ///< as written between the quotes or brackets, in order
  std::string text;
};

/// Every .hpp, .cpp, .cu and .cuh below the given folders of `root`, by path.
std::map<std::string, source_file> read_tree(const std::filesystem::path& root, const std::vector<std::string>& folders);

/// Each of these returns sentences, one per finding; empty means that all is well.
using findings = std::vector<std::string>;
using tree = std::map<std::string, source_file>;

findings check_map_is_acyclic(const std::vector<folder_rule>& rules);
/// Every source stands in a folder of the map, and includes only what the map allows.
findings check_includes(const tree& files, const std::vector<folder_rule>& rules);
/// Foreign libraries only where their rule says; .cu files see no CAF, ZeroMQ or MessagePack, also not through headers.
findings check_libraries(const tree& files, const std::vector<library_rule>& rules);
/// A file that may not include CAF does not see it through the headers it includes either, except in composition folders.
findings check_caf_is_not_seen(const tree& files, const std::set<std::string>& composition_folders);
findings check_words(const tree& files, const std::vector<word_rule>& rules);
/// #pragma once, and a /// contract in every header.
findings check_headers(const tree& files);
/// Every folder with sources is built: it has a CMakeLists.txt, or one of a parent folder names it.
findings check_folders_are_built(const tree& files, const std::filesystem::path& root);
/// Every logic .cpp is named by a test (its header is included there), or is a part of a unit of its folder that is. Actors
/// and main files are tested by what they do.
findings check_tests(const tree& files, const tree& tests, const std::vector<untested_unit>& excused);

} // namespace flywheel::architecture
