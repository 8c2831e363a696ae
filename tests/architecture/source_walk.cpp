#include "tests/architecture/source_walk.hpp"

#include <algorithm>
#include <fstream>
#include <functional>
#include <regex>
#include <sstream>

namespace flywheel::architecture {
namespace {

namespace fs = std::filesystem;

std::string read_text(const fs::path& file) {
  std::ifstream in(file);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

bool is_header(const std::string& path) { return path.ends_with(".hpp") || path.ends_with(".cuh"); }

std::vector<std::string> includes_of(const std::string& text) {
  static const std::regex line(R"(^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"])", std::regex::multiline);
  std::vector<std::string> found;
  for (std::sregex_iterator i(text.begin(), text.end(), line), end; i != end; ++i)
    found.push_back((*i)[1]);
  return found;
}

/// The folder of the map that holds `path`: the longest one that fits; empty if none does.
std::string mapped_folder(const std::string& path, const std::vector<folder_rule>& rules) {
  const auto folder = folder_of(path);
  for (const auto& r : rules)
    if (r.folder == folder)
      return folder;
  return {};
}

std::map<std::string, std::set<std::string>> closure_of(const std::vector<folder_rule>& rules) {
  std::map<std::string, std::set<std::string>> closed;
  std::map<std::string, std::vector<std::string>> direct;
  for (const auto& r : rules)
    direct[r.folder] = r.may_include;
  const std::function<void(const std::string&, std::set<std::string>&)> add = [&](const std::string& folder, std::set<std::string>& all) {
    if (all.insert(folder).second)
      for (const auto& next : direct[folder])
        add(next, all);
  };
  for (const auto& r : rules)
    add(r.folder, closed[r.folder]);
  return closed;
}

bool starts_with_any(const std::string& include, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](const std::string& p) { return include.starts_with(p); });
}

/// The chain of includes from `path` to the first include for which `wanted` holds; empty if there is none.
std::vector<std::string> chain_to(const tree& files, const std::string& path, const std::function<bool(const std::string&)>& wanted) {
  std::set<std::string> seen{path};
  std::vector<std::vector<std::string>> open{{path}};
  for (std::size_t i = 0; i < open.size(); ++i) {
    const auto chain = open[i];
    const auto file = files.find(chain.back());
    if (file == files.end())
      continue;
    for (const auto& include : file->second.includes) {
      auto longer = chain;
      longer.push_back(include);
      if (wanted(include))
        return longer;
      if (seen.insert(include).second)
        open.push_back(longer);
    }
  }
  return {};
}

std::string joined(const std::vector<std::string>& chain) {
  std::string text;
  for (const auto& part : chain)
    text += (text.empty() ? "" : " -> ") + part;
  return text;
}

} // namespace

tree read_tree(const fs::path& root, const std::vector<std::string>& folders) {
  tree files;
  for (const auto& folder : folders) {
    if (!fs::exists(root / folder))
      continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      const auto extension = entry.path().extension().string();
      if (!entry.is_regular_file() || (extension != ".hpp" && extension != ".cpp" && extension != ".cu" && extension != ".cuh"))
        continue;
      source_file f;
      f.path = entry.path().lexically_relative(root).generic_string();
      f.folder = folder_of(f.path);
      f.text = read_text(entry.path());
      f.includes = includes_of(f.text);
      files.emplace(f.path, std::move(f));
    }
  }
  return files;
}

findings check_map_is_acyclic(const std::vector<folder_rule>& rules) {
  findings found;
  std::set<std::string> folders;
  for (const auto& r : rules)
    if (!folders.insert(r.folder).second)
      found.push_back(r.folder + " stands twice in the map");
  for (const auto& r : rules)
    for (const auto& next : r.may_include)
      if (!folders.contains(next))
        found.push_back(r.folder + " may include " + next + ", which is not in the map");
  const auto closed = closure_of(rules);
  for (const auto& [folder, reach] : closed)
    for (const auto& other : reach)
      if (folder < other && folders.contains(other) && closed.at(other).contains(folder))
        found.push_back(folder + " and " + other + " may include each other");
  return found;
}

findings check_includes(const tree& files, const std::vector<folder_rule>& rules) {
  findings found;
  const auto closed = closure_of(rules);
  for (const auto& [path, file] : files) {
    const auto folder = mapped_folder(path, rules);
    if (folder.empty()) {
      found.push_back(path + ": its folder is not in the map (tests/architecture/source_map.cpp)");
      continue;
    }
    for (const auto& include : file.includes) {
      if (include.starts_with("tests/") || include.starts_with("bench/"))
        found.push_back(path + " includes " + include + ": the product knows nothing of its tests");
      if (!files.contains(include))
        continue; // a system header
      const auto target = mapped_folder(include, rules);
      if (!target.empty() && !closed.at(folder).contains(target))
        found.push_back(path + " includes " + include + ": " + folder + " may not include " + target);
    }
  }
  return found;
}

findings check_libraries(const tree& files, const std::vector<library_rule>& rules) {
  findings found;
  for (const auto& rule : rules) {
    const std::regex where(rule.where);
    for (const auto& [path, file] : files)
      for (const auto& include : file.includes)
        if (!files.contains(include) && starts_with_any(include, rule.prefixes) && !std::regex_match(path, where))
          found.push_back(path + " includes " + include + ": " + rule.name + " stays elsewhere, because " + rule.why);
  }
  for (const auto& [path, file] : files)
    if (path.ends_with(".cu"))
      if (const auto chain = chain_to(files, path, [](const std::string& i) { return starts_with_any(i, {"caf/", "zmq", "msgpack"}); }); !chain.empty())
        found.push_back("a kernel sees a message library: " + joined(chain));
  return found;
}

findings check_caf_is_not_seen(const tree& files, const std::set<std::string>& composition_folders) {
  findings found;
  for (const auto& [path, file] : files) {
    if (!path.ends_with(".cpp") || path.ends_with("_actor.cpp") || composition_folders.contains(file.folder))
      continue;
    if (const auto chain = chain_to(files, path, [](const std::string& i) { return i.starts_with("caf/"); }); !chain.empty())
      found.push_back("a unit that is no actor sees CAF: " + joined(chain));
  }
  return found;
}

findings check_words(const tree& files, const std::vector<word_rule>& rules) {
  findings found;
  for (const auto& rule : rules) {
    const std::regex where(rule.where);
    for (const auto& [path, file] : files) {
      if (std::regex_match(path, where))
        continue;
      for (const auto& word : rule.words)
        for (auto at = file.text.find(word); at != std::string::npos; at = file.text.find(word, at + 1)) {
          const auto line_start = file.text.rfind('\n', at) + 1; // npos + 1 is 0
          if (file.text.substr(line_start, at - line_start).find("//") != std::string::npos)
            continue; // in a comment
          const auto line = 1 + std::count(file.text.begin(), file.text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
          found.push_back(path + ":" + std::to_string(line) + ": '" + word + "' is out of place, because " + rule.why);
        }
    }
  }
  return found;
}

findings check_headers(const tree& files) {
  findings found;
  for (const auto& [path, file] : files) {
    if (!is_header(path))
      continue;
    if (file.text.find("#pragma once") == std::string::npos)
      found.push_back(path + " has no #pragma once");
    if (file.text.find("///") == std::string::npos)
      found.push_back(path + " has no contract (///)");
  }
  return found;
}

findings check_folders_are_built(const tree& files, const fs::path& root) {
  findings found;
  std::set<std::string> folders;
  for (const auto& [path, file] : files)
    if (!is_header(path))
      folders.insert(file.folder);
  const auto top = read_text(root / "CMakeLists.txt");
  const auto names = [](const std::string& text, const std::string& folder) {
    return std::regex_search(text, std::regex("(^|[\\s(])" + folder + "($|[\\s)])"));
  };
  for (const auto& folder : folders) {
    bool built = false;
    for (std::string parent = folder; !parent.empty() && !built; parent = folder_of(parent)) {
      const auto lists = root / parent / "CMakeLists.txt";
      built = fs::exists(lists) && names(read_text(lists), folder) && names(top, parent);
    }
    if (!built)
      found.push_back(folder + " has sources, but no CMakeLists.txt that is reached from the root builds it");
  }
  return found;
}

findings check_tests(const tree& files, const tree& tests, const std::vector<untested_unit>& excused) {
  findings found;
  std::set<std::string> named; // headers that a test includes
  for (const auto& [path, test] : tests)
    named.insert(test.includes.begin(), test.includes.end());
  const auto header_of = [](const std::string& source) { return source.substr(0, source.rfind('.')) + ".hpp"; };
  const auto is_unit = [](const std::string& path) {
    return (path.ends_with(".cpp") || path.ends_with(".cu")) && !path.ends_with("_actor.cpp") && !path.ends_with("_main.cpp");
  };
  // From what tests name onwards, but never out of a folder: the parts of a tested unit are tested with it; what another
  // folder happens to use is not.
  std::set<std::string> tested;
  std::vector<std::string> open;
  const auto reach = [&](const std::string& path) {
    if (files.contains(path) && tested.insert(path).second)
      open.push_back(path);
  };
  for (const auto& header : named)
    reach(header);
  while (!open.empty()) {
    const std::string path = open.back();
    open.pop_back();
    const auto& file = files.at(path);
    for (const auto& include : file.includes)
      if (folder_of(include) == file.folder)
        reach(include);
    if (!is_header(path))
      continue;
    for (const auto& [source, source_file] : files) {
      const bool own = header_of(source) == path;
      // A second file of a unit has no header of its own; by the habit "own header first" it begins with the unit's.
      const auto first = std::find_if(source_file.includes.begin(), source_file.includes.end(),
                                      [&](const std::string& i) { return folder_of(i) == source_file.folder; });
      const bool second_file = !files.contains(header_of(source)) && first != source_file.includes.end() && *first == path;
      if (!is_header(source) && (own || second_file))
        reach(source);
    }
  }
  for (const auto& [path, file] : files) {
    if (!is_unit(path) || tested.contains(path))
      continue;
    if (std::none_of(excused.begin(), excused.end(), [&](const untested_unit& u) { return u.file == path; }))
      found.push_back(path + " has no test: no file under tests/ includes " + header_of(path) + ", nor does a tested unit of its folder");
  }
  for (const auto& u : excused) {
    if (!files.contains(u.file))
      found.push_back(u.file + " is excused from tests, but does not exist");
    else if (tested.contains(u.file))
      found.push_back(u.file + " is excused from tests, but has one; take it off the list");
  }
  return found;
}

} // namespace flywheel::architecture
