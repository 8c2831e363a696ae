#include "cluster/dataset/table.hpp"

#include <algorithm>
#include <string_view>
#include <unordered_set>

namespace flywheel {

std::string_view name_of(column_type type) noexcept {
  return type == column_type::numeric ? "numeric" : "categorical";
}

std::int32_t column::code_of(std::string_view text) const noexcept {
  const auto at = std::find(categories.begin(), categories.end(), text);
  return at == categories.end() ? -1 : static_cast<std::int32_t>(at - categories.begin());
}

const column* table::find(std::string_view name) const noexcept {
  const auto at = std::find_if(columns.begin(), columns.end(), [&](const column& c) { return c.name == name; });
  return at == columns.end() ? nullptr : &*at;
}

table table::select(std::span<const std::uint32_t> indices) const {
  table out;
  out.columns.reserve(columns.size());
  for (const column& from : columns) {
    column& to = out.columns.emplace_back();
    to.name = from.name;
    to.type = from.type;
    to.categories = from.categories;
    if (from.type == column_type::numeric) {
      to.numbers.reserve(indices.size());
      for (const auto i : indices)
        to.numbers.push_back(from.numbers[i]);
    } else {
      to.codes.reserve(indices.size());
      for (const auto i : indices)
        to.codes.push_back(from.codes[i]);
    }
  }
  out.row_ids.reserve(indices.size());
  for (const auto i : indices)
    out.row_ids.push_back(row_ids[i]);
  return out;
}

status table::check() const {
  std::unordered_set<std::string_view> names;
  for (const column& c : columns) {
    const std::string where = "column '" + c.name + "'";
    if (!names.insert(c.name).second)
      return error{errc::invalid_format, "the name repeats", where};
    if (c.rows() != rows())
      return error{errc::invalid_format,
                   "it has " + std::to_string(c.rows()) + " rows, the table " + std::to_string(rows()), where};
    if (c.type == column_type::numeric ? !c.codes.empty() || !c.categories.empty() : !c.numbers.empty())
      return error{errc::invalid_format, "it holds values of the other type", where};
    std::unordered_set<std::string_view> categories;
    for (const auto& category : c.categories)
      if (!categories.insert(category).second)
        return error{errc::invalid_format, "category '" + category + "' repeats", where};
    const auto size = static_cast<std::int32_t>(c.categories.size());
    for (std::size_t i = 0; i < c.codes.size(); ++i)
      if (c.codes[i] < -1 || c.codes[i] >= size)
        return error{errc::invalid_format,
                     "code " + std::to_string(c.codes[i]) + " in row " + std::to_string(i) + " names none of " +
                         std::to_string(size) + " categories",
                     where};
  }
  return success();
}

} // namespace flywheel
