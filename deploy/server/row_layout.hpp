#pragma once
// A model's inputs as a reader of rows needs them: names and categories found by one hash and one comparison.

#include "models/tabular_model.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

/// Text to index, fixed after construction. Open addressing, at most half full.
class name_table {
public:
  /// Later duplicates are not found (the first one wins).
  explicit name_table(std::vector<std::string> names = {});
  /// -1 if absent. Any thread.
  std::int32_t find(std::string_view name) const noexcept;
  const std::vector<std::string>& names() const noexcept { return names_; }

private:
  std::vector<std::string> names_;
  std::vector<std::int32_t> slots_;
};

class row_layout {
public:
  static constexpr std::int32_t unknown = -1;
  static constexpr std::int32_t ignored = -2;

  /// `tolerated`: names that are not inputs of this model but of the other one behind the route; their values are skipped,
  /// so that a client can send one row that fits champion and challenger.
  explicit row_layout(const model_signature& signature, const std::vector<std::string>& tolerated = {});

  std::size_t size() const noexcept { return inputs_.size(); }
  const std::string& name(std::size_t i) const noexcept { return names_.names()[i]; }
  column_type type(std::size_t i) const noexcept { return inputs_[i].type; }
  /// Index of an input, `ignored` or `unknown`.
  std::int32_t find(std::string_view name) const noexcept;
  /// Code of a category of input `i`, -1 if it is not one.
  std::int32_t category(std::size_t i, std::string_view text) const noexcept { return inputs_[i].categories.find(text); }
  /// Categories of input `i` by code.
  const std::vector<std::string>& categories(std::size_t i) const noexcept { return inputs_[i].categories.names(); }
  /// Some category of input `i` reads as a number, so that a client may send numbers.
  bool numbers_as_categories(std::size_t i) const noexcept { return inputs_[i].numeric_categories; }

  const std::vector<std::string>& names() const noexcept { return names_.names(); }
  const std::string& target() const noexcept { return target_; }
  /// Same inputs, types and categories in the same order: a decoded row fits both.
  bool same_coding(const row_layout& other) const noexcept;

  /// What to tell a client that used the name `name`, which is neither input nor tolerated.
  error unknown_name(std::string_view name) const;

private:
  struct input {
    column_type type;
    bool numeric_categories;
    name_table categories;
  };
  std::vector<input> inputs_;
  name_table names_;
  name_table tolerated_;
  std::string target_;
};

} // namespace flywheel
