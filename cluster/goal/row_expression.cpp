#include "cluster/goal/row_expression.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace flywheel {
namespace {

/// What the evaluation stack holds. No default values: the stack is an array that is not cleared per row.
struct value {
  enum class kind : std::uint8_t { null, boolean, number, text } type;
  double number;
  const char* data;
  std::size_t size;

  std::string_view text() const noexcept { return {data, size}; }
  static value null() noexcept { return {kind::null, 0, nullptr, 0}; }
  static value of(double x) noexcept { return std::isfinite(x) ? value{kind::number, x, nullptr, 0} : null(); }
  static value of(std::string_view s) noexcept { return {kind::text, 0, s.data(), s.size()}; }
  static value of(truth t) noexcept {
    return t == truth::unknown ? null() : value{kind::boolean, t == truth::yes ? 1.0 : 0.0, nullptr, 0};
  }
};

std::optional<double> number_in(std::string_view text) noexcept {
  if (text.size() > 1 && text.front() == '+' && text[1] != '-')
    text.remove_prefix(1);
  double x = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), x);
  if (code != std::errc{} || end != text.data() + text.size() || !std::isfinite(x))
    return std::nullopt;
  return x;
}

bool equals_ignoring_case(std::string_view a, std::string_view lower_case) noexcept {
  return a.size() == lower_case.size() && std::equal(a.begin(), a.end(), lower_case.begin(), [](char x, char y) {
           return (x >= 'A' && x <= 'Z' ? static_cast<char>(x - 'A' + 'a') : x) == y;
         });
}

truth boolean_in(std::string_view text) noexcept {
  for (const std::string_view word : {"true", "yes", "1", "y", "t"})
    if (equals_ignoring_case(text, word))
      return truth::yes;
  for (const std::string_view word : {"false", "no", "0", "n", "f"})
    if (equals_ignoring_case(text, word))
      return truth::no;
  return truth::unknown;
}

truth truth_of(const value& v) noexcept {
  switch (v.type) {
    case value::kind::null: return truth::unknown;
    case value::kind::text: return boolean_in(v.text());
    case value::kind::boolean:
    case value::kind::number: break;
  }
  return v.number == 1 ? truth::yes : v.number == 0 ? truth::no : truth::unknown;
}

constexpr truth truth_from(bool b) noexcept { return b ? truth::yes : truth::no; }
constexpr truth negated(truth t) noexcept {
  return t == truth::unknown ? t : t == truth::yes ? truth::no : truth::yes;
}

double as_number(const value& v) noexcept {
  if (v.type == value::kind::number)
    return v.number;
  if (v.type == value::kind::text)
    if (const auto x = number_in(v.text()))
      return *x;
  return std::numeric_limits<double>::quiet_NaN();
}

truth equal(const value& a, const value& b) noexcept {
  using kind = value::kind;
  if (a.type == kind::null || b.type == kind::null)
    return truth::unknown;
  if (a.type == kind::boolean || b.type == kind::boolean) {
    const truth x = truth_of(a), y = truth_of(b);
    return x == truth::unknown || y == truth::unknown ? truth::unknown : truth_from(x == y);
  }
  if (a.type == kind::text && b.type == kind::text)
    return truth_from(a.text() == b.text());
  return truth_from(as_number(a) == as_number(b)); // NaN (a text that is no number) equals nothing
}

/// -1, 0, 1; 2 if they cannot be ordered.
int order(const value& a, const value& b) noexcept {
  using kind = value::kind;
  if (a.type == kind::null || b.type == kind::null || a.type == kind::boolean || b.type == kind::boolean)
    return 2;
  if (a.type == kind::text && b.type == kind::text) {
    const int c = a.text().compare(b.text());
    return c < 0 ? -1 : c > 0 ? 1 : 0;
  }
  const double x = as_number(a), y = as_number(b);
  return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
}

/// Characters, not bytes.
double length_of(std::string_view text) noexcept {
  return static_cast<double>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

} // namespace

truth row_expression::evaluate(std::span<const row_cell> cells) const noexcept {
  std::array<value, depth_max> stack; // not cleared: every slot is written before it is read
  value* top = stack.data() - 1;
  for (const instruction& i : program_) {
    switch (i.code) {
      case op::column: {
        const row_cell& c = cells[i.index];
        *++top = c.type == row_cell::kind::number ? value::of(c.number)
                 : c.type == row_cell::kind::text ? value::of(c.text)
                                                  : value::null();
        break;
      }
      case op::number: *++top = value::of(i.value); break;
      case op::text: *++top = value::of(std::string_view{constants_[i.index].text}); break;
      case op::boolean: *++top = value::of(truth_from(i.value != 0)); break;
      case op::add: --top; *top = value::of(as_number(top[0]) + as_number(top[1])); break;
      case op::subtract: --top; *top = value::of(as_number(top[0]) - as_number(top[1])); break;
      case op::multiply: --top; *top = value::of(as_number(top[0]) * as_number(top[1])); break;
      case op::divide: --top; *top = value::of(as_number(top[0]) / as_number(top[1])); break;
      case op::modulo: --top; *top = value::of(std::fmod(as_number(top[0]), as_number(top[1]))); break;
      case op::negate: *top = value::of(-as_number(*top)); break;
      case op::absolute: *top = value::of(std::fabs(as_number(*top))); break;
      case op::round: *top = value::of(std::round(as_number(*top))); break;
      case op::floor: *top = value::of(std::floor(as_number(*top))); break;
      case op::ceil: *top = value::of(std::ceil(as_number(*top))); break;
      case op::length:
        *top = top->type == value::kind::text     ? value::of(length_of(top->text()))
               : top->type == value::kind::number ? value::of(length_of(format_number(top->number)))
                                                  : value::null();
        break;
      case op::least:
      case op::greatest: {
        --top;
        const double x = as_number(top[0]), y = as_number(top[1]);
        *top = std::isnan(x) || std::isnan(y) ? value::null()
                                              : value::of(i.code == op::least ? std::min(x, y) : std::max(x, y));
        break;
      }
      case op::equal: --top; *top = value::of(equal(top[0], top[1])); break;
      case op::not_equal: --top; *top = value::of(negated(equal(top[0], top[1]))); break;
      case op::less:
      case op::less_equal:
      case op::greater:
      case op::greater_equal: {
        --top;
        const int c = order(top[0], top[1]);
        *top = c == 2 ? value::null()
                      : value::of(truth_from(i.code == op::less         ? c < 0
                                             : i.code == op::less_equal ? c <= 0
                                             : i.code == op::greater    ? c > 0
                                                                        : c >= 0));
        break;
      }
      case op::is_null: *top = value::of(truth_from(top->type == value::kind::null)); break;
      case op::is_not_null: *top = value::of(truth_from(top->type != value::kind::null)); break;
      case op::in:
      case op::not_in: {
        truth found = top->type == value::kind::null ? truth::unknown : truth::no;
        for (std::uint32_t k = 0; k < i.count && found == truth::no; ++k) {
          const literal& l = constants_[i.index + k];
          const value item = l.is_text      ? value::of(std::string_view{l.text})
                             : l.is_boolean ? value::of(truth_from(l.number != 0))
                                            : value::of(l.number);
          if (equal(*top, item) == truth::yes)
            found = truth::yes;
        }
        *top = value::of(i.code == op::in ? found : negated(found));
        break;
      }
      case op::logical_and: {
        --top;
        const truth x = truth_of(top[0]), y = truth_of(top[1]);
        *top = value::of(x == truth::no || y == truth::no                ? truth::no
                         : x == truth::unknown || y == truth::unknown ? truth::unknown
                                                                      : truth::yes);
        break;
      }
      case op::logical_or: {
        --top;
        const truth x = truth_of(top[0]), y = truth_of(top[1]);
        *top = value::of(x == truth::yes || y == truth::yes              ? truth::yes
                         : x == truth::unknown || y == truth::unknown ? truth::unknown
                                                                      : truth::no);
        break;
      }
      case op::logical_not: *top = value::of(negated(truth_of(*top))); break;
    }
  }
  return truth_of(*top);
}

result<bound_row_expression> row_expression::bind(std::span<const std::string> names) const {
  std::vector<std::size_t> indices;
  indices.reserve(columns_.size());
  for (const column_use& c : columns_) {
    const auto at = std::find(names.begin(), names.end(), c.name);
    if (at == names.end()) {
      const std::vector<std::string> known{names.begin(), names.end()};
      const std::string_view near = nearest(c.name, known);
      return error{errc::not_found, "there is no column '" + printable(c.name, 60) + "' for: " + printable(text_, 120),
                   "column " + std::to_string(c.offset + 1),
                   near.empty() ? "" : "did you mean '" + std::string{near} + "'?"};
    }
    indices.push_back(static_cast<std::size_t>(at - names.begin()));
  }
  return bound_row_expression{*this, std::move(indices)};
}

} // namespace flywheel
