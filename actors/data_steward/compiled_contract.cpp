#include "actors/data_steward/compiled_contract.hpp"

#include "cluster/base/limits.hpp"
#include "cluster/base/text.hpp"
#include "cluster/content/digest.hpp"

#include <re2/re2.h>

#include <algorithm>
#include <array>

namespace flywheel {
namespace {

constexpr std::array<std::string_view, 6> type_names{"integer", "number", "boolean", "category", "text", "timestamp"};

error bad(std::string what, std::string where, std::string hint = {}) {
  return {errc::invalid_contract, std::move(what), std::move(where), std::move(hint)};
}

std::optional<std::size_t> index_of(const std::vector<std::string>& names, std::string_view name) {
  const auto at = std::find(names.begin(), names.end(), name);
  return at == names.end() ? std::nullopt : std::optional{static_cast<std::size_t>(at - names.begin())};
}

result<std::size_t> find_column(const std::vector<std::string>& names, const std::string& name, const std::string& where) {
  if (const auto i = index_of(names, name))
    return *i;
  const auto near = nearest(name, names);
  return bad("the contract has no column '" + printable(name, 80) + "'", where,
             near.empty() ? "add it to contract.columns" : "did you mean '" + std::string{near} + "'?");
}

result<compiled_column> compile_column(const column_rule& rule) {
  const std::string where = "contract.columns." + printable(rule.name, 80);
  compiled_column c;
  c.name = rule.name;
  const auto type = cell_type_from_name(rule.type);
  if (!type)
    return bad("'" + printable(rule.type, 40) + "' is no type", where, "use one of " + join({type_names.begin(), type_names.end()}, ", "));
  c.type = *type;
  c.nullable = rule.nullable;
  c.unique = rule.unique;
  if ((rule.min || rule.max) && is_coded(c.type))
    return bad("a column of type " + rule.type + " has no order, so it has no min or max", where, "use values or pattern");
  c.min = rule.min.value_or(c.min);
  c.max = rule.max.value_or(c.max);
  if (!(c.min <= c.max))
    return bad("min " + format_number(c.min) + " is above max " + format_number(c.max), where);
  if (!rule.values.empty() && (!is_coded(c.type) || c.type == cell_type::boolean))
    return bad("values are for category and text columns, this one is of type " + rule.type, where, "use min and max");
  c.values.insert(rule.values.begin(), rule.values.end());
  if (!rule.pattern.empty()) {
    if (c.type != cell_type::category && c.type != cell_type::text)
      return bad("a pattern is for category and text columns, this one is of type " + rule.type, where);
    RE2::Options options(RE2::Quiet);
    options.set_max_mem(8 << 20);
    auto pattern = std::make_shared<const RE2>(rule.pattern, options);
    if (!pattern->ok())
      return bad("pattern '" + printable(rule.pattern, 80) + "': " + pattern->error(), where,
                 "write it in RE2 syntax; it must match the whole cell");
    c.pattern = std::move(pattern);
  }
  return c;
}

} // namespace

std::string_view name_of(cell_type t) noexcept { return type_names[static_cast<std::size_t>(t)]; }

std::optional<cell_type> cell_type_from_name(std::string_view name) noexcept {
  for (std::size_t i = 0; i < type_names.size(); ++i)
    if (type_names[i] == name)
      return static_cast<cell_type>(i);
  return std::nullopt;
}

bool compiled_contract::is_null_token(std::string_view text) const noexcept {
  return std::find(null_tokens.begin(), null_tokens.end(), text) != null_tokens.end();
}

result<compiled_contract> compile_contract(const data_contract& contract) {
  compiled_contract out;
  std::vector<std::string> names;
  if (contract.columns.size() > limits::data_columns_max)
    return bad(std::to_string(contract.columns.size()) + " columns; at most " + std::to_string(limits::data_columns_max),
               "contract.columns");
  for (const column_rule& rule : contract.columns) {
    if (index_of(names, rule.name))
      return bad("the column is there twice", "contract.columns." + printable(rule.name, 80));
    FLYWHEEL_TRY(auto column, compile_column(rule));
    out.columns.push_back(std::move(column));
    names.push_back(rule.name);
  }
  for (const auto& name : contract.key) {
    FLYWHEEL_TRY(const auto i, find_column(names, name, "contract.key"));
    out.columns[i].in_key = true;
    out.key.push_back(i);
  }
  for (std::size_t i = 0; i < out.columns.size(); ++i)
    if (out.columns[i].unique && !(out.key.size() == 1 && out.key.front() == i))
      out.unique.push_back(i);
  for (const row_rule& rule : contract.rules) {
    const std::string where = "contract.rules." + printable(rule.name, 80);
    auto parsed = row_expression::parse(rule.check);
    if (!parsed)
      return bad(parsed.error().what, where + ", " + parsed.error().where, parsed.error().hint);
    auto bound = parsed->bind(names);
    if (!bound)
      return bad(bound.error().what, where, bound.error().hint);
    out.rules.push_back({"rule " + rule.name, std::move(*bound)});
  }
  if (!contract.time_column.empty()) {
    FLYWHEEL_TRY(const auto i, find_column(names, contract.time_column, "contract.time_column"));
    if (is_coded(out.columns[i].type))
      return bad("'" + contract.time_column + "' is of type " + std::string{name_of(out.columns[i].type)},
                 "contract.time_column", "make it a timestamp, or a number of seconds since 1970");
    out.time_column = i;
  }
  if (contract.fresh_within && !out.time_column)
    return bad("fresh_within needs a time_column", "contract.fresh_within", "name the column that holds the time");
  out.null_tokens = contract.null_tokens;
  return out;
}

std::string contract_digest(const data_contract& c) {
  hasher h;
  h.field("flywheel contract 1");
  const auto number = [&](const std::optional<double>& x) { h.field(x ? format_number(*x) : "none"); };
  h.field(std::uint64_t{c.columns.size()});
  for (const column_rule& r : c.columns) {
    h.field(r.name).field(r.type).field(std::uint64_t{r.nullable}).field(std::uint64_t{r.unique}).field(r.pattern);
    number(r.min);
    number(r.max);
    h.field(std::uint64_t{r.values.size()});
    for (const auto& v : r.values)
      h.field(v);
  }
  h.field(std::uint64_t{c.rules.size()});
  for (const row_rule& r : c.rules)
    h.field(r.name).field(r.check);
  h.field(std::uint64_t{c.key.size()});
  for (const auto& k : c.key)
    h.field(k);
  h.field(std::uint64_t{c.null_tokens.size()});
  for (const auto& t : c.null_tokens)
    h.field(t);
  h.field(c.rows_min).field(c.rows_max ? std::to_string(*c.rows_max) : "none").field(format_number(c.bad_rows_max));
  h.field(c.time_column).field(c.fresh_within ? std::to_string(c.fresh_within->count()) : "none");
  return h.finish().hex();
}

} // namespace flywheel
