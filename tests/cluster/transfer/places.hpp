#pragma once
// A temporary folder with files in it, removed with the test.

#include "cluster/content/publish.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace flywheel::transfer {

class places {
public:
  places() {
    std::string pattern = "/tmp/fw-transfer-XXXXXX";
    root = ::mkdtemp(pattern.data());
  }
  ~places() {
    std::error_code ignored;
    std::filesystem::remove_all(root, ignored);
  }
  places(const places&) = delete;
  places& operator=(const places&) = delete;
  void write(const std::string& name, const std::string& bytes) const {
    std::filesystem::create_directories((root / name).parent_path());
    std::ofstream{root / name, std::ios::binary} << bytes;
  }
  std::string read(const std::string& name) const {
    const auto bytes = read_file(root / name, std::size_t{1} << 30);
    return bytes ? *bytes : "unreadable: " + bytes.error().to_string();
  }
  bool has(const std::string& name) const { return std::filesystem::exists(root / name); }
  /// Every file and folder below `name`, as paths relative to it, sorted and joined.
  std::string tree(const std::string& name) const {
    std::vector<std::string> all;
    for (const auto& e : std::filesystem::recursive_directory_iterator{root / name})
      all.push_back(e.path().lexically_relative(root / name).string());
    std::sort(all.begin(), all.end());
    std::string text;
    for (const auto& a : all)
      text += a + " ";
    return text;
  }
  std::filesystem::path root;
};

} // namespace flywheel::transfer
