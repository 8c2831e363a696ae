#pragma once
// One line of JSON: an object whose values are strings, numbers, true, false or null, spread over known names.

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace flywheel {

class jsonl_record {
public:
  struct problem {
    std::string_view rule;   ///< "json", "nested", "columns", "nul" or "encoding"
    std::string what;
  };
  /// `names` must outlive the object. Keys outside of them are a problem.
  explicit jsonl_record(const std::vector<std::string>& names);

  /// Reads one line; nothing if it is well-formed. Strings are unescaped, numbers kept as written.
  std::optional<problem> parse(std::string_view line);
  bool is_null(std::size_t i) const noexcept { return cells_[i].null; }
  std::string_view text(std::size_t i) const noexcept { return std::string_view{storage_}.substr(cells_[i].begin, cells_[i].size); }

  /// The keys and values of a line in their order, for drafting a contract; a missing second value is null.
  static std::optional<problem> read_pairs(std::string_view line,
                                           std::vector<std::pair<std::string, std::optional<std::string>>>& out);

private:
  struct cell {
    bool null = true;
    std::size_t begin = 0, size = 0;
  };
  std::unordered_map<std::string_view, std::size_t> index_;
  const std::vector<std::string>& names_;
  std::vector<cell> cells_;
  std::string storage_, key_, value_;
};

} // namespace flywheel
