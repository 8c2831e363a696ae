#pragma once
// The one table of the goal's fields: key, type, unit, default, bounds, allowed values, help, example, and the way to the
// C++ member. The reader, the writer, the JSON Schema, `explain` and the reference in docs/goal.md all walk this table.
// A new field is a member in goal_spec.hpp and one line in goal_schema.cpp.

#include "cluster/goal/goal_parser.hpp"

#include <optional>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

namespace flywheel {

enum class field_type : std::uint8_t {
  text,       ///< any text
  label,      ///< text that may look like a number or a boolean: a class, a category
  name,       ///< is_valid_name(): safe in files and URLs
  path,       ///< of a file, relative to the goal file
  column,     ///< a column of the data
  condition,  ///< row_expression.hpp
  regex,      ///< RE2
  choice,     ///< one of `values`
  family,     ///< one of the vocabulary's families
  user,       ///< a user's name, "*" or "@me"
  address,    ///< an IP address or localhost
  boolean,
  integer,
  number,
  fraction,   ///< 0.95 or 95%
  percent,    ///< 25 or 25%
  duration,   ///< 10m
  bytes,      ///< 2GiB
  record,     ///< a mapping with the fields of `of`
  records,    ///< a list of those
  space,      ///< family -> parameter -> mapping with the fields of `of`
};

/// The C++ member behind a leaf field.
using field_slot =
    std::variant<std::string*, std::uint64_t*, std::uint32_t*, std::uint16_t*, double*, bool*, nanoseconds*,
                 std::optional<double>*, std::optional<std::uint64_t>*, std::optional<bool>*, std::optional<nanoseconds>*,
                 std::vector<std::string>*, std::vector<double>*>;

/// How to get from the owner (the struct a record describes) to the member. Only the pointers that fit are set.
struct field_access {
  field_slot (*leaf)(void* owner) = nullptr;
  void* (*record)(void* owner) = nullptr;
  std::size_t (*size)(void* owner) = nullptr;
  void* (*item)(void* owner, std::size_t i) = nullptr;
  void* (*append)(void* owner) = nullptr;
  void (*clear)(void* owner) = nullptr;
};

struct schema_record;
struct schema_field {
  std::string_view key;
  field_type type;
  field_access at{};
  std::string_view help{};    ///< a full sentence, for people
  std::string_view example{}; ///< as YAML, after "key: "
  bool required = false;
  bool list = false;          ///< a list of `type`
  std::optional<double> min{}, max{};
  bool above_min = false;     ///< min itself is not allowed
  std::string_view unit{};    ///< "requests", "rows"
  std::vector<std::string_view> values{};
  const schema_record* of = nullptr;
};
struct schema_record {
  std::string_view title;
  std::vector<schema_field> fields;
  void* defaults;             ///< a default-constructed struct, never changed
  std::string_view shorthand; ///< key that a plain text stands for ("check"); empty: none

  const schema_field* find(std::string_view key) const;
};

const schema_record& goal_record();
const schema_record& contract_record();
const schema_record& space_record();

/// True if the member can be unset.
bool is_optional(const schema_field& field, const schema_record& owner);
/// "whole number from 1 to 100000", "duration such as 10m", "one of a, b": for messages, explain and docs.
std::string type_text(const schema_field& field);
/// The default as people would write it ("10m", "[gbt, mlp]"); empty if there is none.
std::string default_text(const schema_field& field, const schema_record& owner);
/// What the writer gives for a leaf: the canonical JSON value.
nlohmann::json leaf_json(const schema_field& field, const field_slot& slot);
/// The canonical JSON of a whole record.
nlohmann::json record_json(const schema_record& record, const void* owner);
/// "100000" and not "1e+05"; otherwise as format_number.
std::string shown_number(double x);
/// "10m", exact: the largest unit that divides it.
std::string exact_duration(nanoseconds d);
/// "2GiB", exact.
std::string exact_bytes(std::uint64_t bytes);

} // namespace flywheel
