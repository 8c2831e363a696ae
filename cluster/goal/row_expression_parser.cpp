// Text to stack program in one pass: recursive descent with a static check of what each part is.
#include "cluster/base/text.hpp"
#include "cluster/goal/row_expression.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace flywheel {
namespace {

struct token {
  enum class kind : std::uint8_t { end, number, text, column, word, symbol } type = kind::end;
  std::string text; ///< unquoted; words in lower case
  double number = 0;
  std::size_t offset = 0;
};

/// The first problem found; parsing stops there.
struct problem {
  std::size_t offset = 0;
  std::string message, hint;
};

bool starts_name(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

constexpr std::array<std::string_view, 8> keywords{"and", "or", "not", "is", "in", "null", "true", "false"};
/// What people bring from other languages, and what it is called here.
struct foreign { std::string_view symbol, ours; };
constexpr std::array foreign_symbols{foreign{"&&", "and"}, foreign{"||", "or"}, foreign{"<>", "!="}, foreign{"=", "=="},
                                     foreign{"!", "not"}, foreign{"&", "and"}, foreign{"|", "or"}};
constexpr std::array<std::string_view, 18> symbols{"==", "!=", "<>", "<=", ">=", "&&", "||", "<", ">",
                                                   "+",  "-",  "*",  "/",  "%",  "(",  ")",  "[", "]"};

class lexer {
public:
  explicit lexer(std::string_view text) : text_(text) {}

  /// False and a problem if the next characters are no token.
  bool next(token& out, problem& p) {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r'))
      ++at_;
    out = {};
    out.offset = at_;
    if (at_ == text_.size())
      return true;
    const char c = text_[at_];
    if (is_digit(c) || (c == '.' && at_ + 1 < text_.size() && is_digit(text_[at_ + 1])))
      return take_number(out, p);
    if (c == '"' || c == '\'' || c == '`')
      return take_quoted(out, p);
    if (starts_name(c)) {
      std::size_t end = at_;
      while (end < text_.size() && (starts_name(text_[end]) || is_digit(text_[end]) || text_[end] == '.'))
        ++end;
      out.text = std::string{text_.substr(at_, end - at_)};
      out.type = token::kind::column;
      if (const std::string word = lower(out.text); std::find(keywords.begin(), keywords.end(), word) != keywords.end()) {
        out.type = token::kind::word;
        out.text = word;
      }
      at_ = end;
      return true;
    }
    return take_symbol(out, p);
  }

private:
  bool take_number(token& out, problem& p) {
    const char* const begin = text_.data() + at_;
    const auto [end, code] = std::from_chars(begin, text_.data() + text_.size(), out.number);
    if (code != std::errc{} || !std::isfinite(out.number)) {
      p = {at_, "this number is too large", ""};
      return false;
    }
    const auto length = static_cast<std::size_t>(end - begin);
    if (at_ + length < text_.size() && starts_name(text_[at_ + length])) {
      p = {at_, "a name cannot start with a digit", "write such a column in back quotes: `" +
                                                        std::string{text_.substr(at_, length + 1)} + "...`"};
      return false;
    }
    out.type = token::kind::number;
    out.text = std::string{begin, end};
    at_ += length;
    return true;
  }

  bool take_quoted(token& out, problem& p) {
    const char quote = text_[at_];
    std::size_t i = at_ + 1;
    for (; i < text_.size() && text_[i] != quote; ++i) {
      if (text_[i] == '\\' && i + 1 < text_.size())
        ++i;
      out.text += text_[i];
    }
    if (i >= text_.size()) {
      p = {at_, std::string{"the quote "} + quote + " is never closed", std::string{"add "} + quote};
      return false;
    }
    if (quote == '`' && out.text.empty()) {
      p = {at_, "a column name is missing between the back quotes", ""};
      return false;
    }
    out.type = quote == '`' ? token::kind::column : token::kind::text;
    at_ = i + 1;
    return true;
  }

  bool take_symbol(token& out, problem& p) {
    const std::string_view rest = text_.substr(at_);
    const auto known = std::find_if(symbols.begin(), symbols.end(), [&](std::string_view s) { return rest.starts_with(s); });
    const auto other = std::find_if(foreign_symbols.begin(), foreign_symbols.end(),
                                    [&](const foreign& f) { return rest.starts_with(f.symbol); });
    if (other != foreign_symbols.end() && (known == symbols.end() || known->size() <= other->symbol.size())) {
      p = {at_, "'" + std::string{other->symbol} + "' is not used here", "write '" + std::string{other->ours} + "'"};
      return false;
    }
    if (known == symbols.end() && text_[at_] != ',') {
      p = {at_, "'" + printable(rest.substr(0, 1)) + "' is not understood here", ""};
      return false;
    }
    out.type = token::kind::symbol;
    out.text = known == symbols.end() ? "," : std::string{*known};
    at_ += out.text.size();
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

/// What a part of the text is, as far as that is known before seeing data.
enum class part_type : std::uint8_t { cell, number, text, boolean, condition };

struct part {
  part_type type = part_type::cell;
  std::size_t offset = 0;
  std::string name;       ///< a lone column's name, or a lone text literal
  bool is_number_text = false;
};

bool is_condition(const part& p) noexcept {
  return p.type == part_type::condition || p.type == part_type::boolean || p.type == part_type::cell;
}
std::string_view noun(part_type t) noexcept {
  switch (t) {
    case part_type::cell: return "a column";
    case part_type::number: return "a number";
    case part_type::text: return "a text";
    case part_type::boolean: return "true or false";
    case part_type::condition: return "a condition";
  }
  return "";
}

} // namespace

class row_expression_parser {
  using op = row_expression::op;

public:
  explicit row_expression_parser(std::string_view text) : lexer_(text) { out_.text_ = std::string{text}; }

  bool run() {
    part whole;
    if (!advance() || !either(whole))
      return false;
    if (now_.type != token::kind::end)
      return fail(now_.offset, "'" + printable(now_.text, 40) + "' is not expected here",
                  now_.type == token::kind::symbol && now_.text == ")" ? "remove it, or add '('" : "join conditions by 'and' or 'or'");
    if (!is_condition(whole))
      return fail(whole.offset, std::string{"this is "} + std::string{noun(whole.type)} + ", not a condition",
                  "compare it with something, for example: ... > 0");
    if (whole.type == part_type::boolean)
      return fail(whole.offset, "this is the same for every row", "name a column");
    return true;
  }

  row_expression take() && { return std::move(out_); }
  const problem& what() const { return problem_; }

private:
  struct operation {
    std::string_view symbol;
    op code;
  };

  bool fail(std::size_t offset, std::string message, std::string hint = {}) {
    problem_ = {offset, std::move(message), std::move(hint)};
    return false;
  }
  bool advance() { return lexer_.next(now_, problem_); }
  bool is_symbol(std::string_view s) const { return now_.type == token::kind::symbol && now_.text == s; }
  bool is_word(std::string_view w) const { return now_.type == token::kind::word && now_.text == w; }

  bool emit(row_expression::instruction i, int growth) {
    depth_ += growth;
    if (depth_ > static_cast<int>(row_expression::depth_max))
      return fail(now_.offset, "the condition is nested too deeply", "split it into several rules");
    out_.program_.push_back(i);
    return true;
  }

  bool either(part& out) {
    if (++nesting_ > row_expression::depth_max)
      return fail(now_.offset, "the condition is nested too deeply", "split it into several rules");
    const bool good = joined(out, "or", op::logical_or, [this](part& p) {
      return joined(p, "and", op::logical_and, [this](part& q) { return negation(q); });
    });
    --nesting_;
    return good;
  }

  template <class F> bool joined(part& out, std::string_view word, op code, F&& operand) {
    if (!operand(out))
      return false;
    while (is_word(word)) {
      part right;
      if (!needs_condition(out, word) || !advance() || !operand(right) || !needs_condition(right, word) ||
          !emit({code}, -1))
        return false;
      out.type = part_type::condition;
    }
    return true;
  }

  bool needs_condition(const part& p, std::string_view word) {
    return is_condition(p) || fail(p.offset, "'" + std::string{word} + "' joins conditions, and this is " + std::string{noun(p.type)},
                                   "compare it with something");
  }

  bool negation(part& out) {
    if (!is_word("not"))
      return comparison(out);
    const std::size_t offset = now_.offset;
    if (++nesting_ > row_expression::depth_max)
      return fail(offset, "the condition is nested too deeply");
    if (!advance() || !negation(out) || !needs_condition(out, "not") || !emit({op::logical_not}, 0))
      return false;
    --nesting_;
    out = {part_type::condition, offset, {}, false};
    return true;
  }

  bool comparison(part& out) {
    static constexpr std::array comparisons{operation{"==", op::equal}, operation{"!=", op::not_equal},
                                            operation{"<", op::less}, operation{"<=", op::less_equal},
                                            operation{">", op::greater}, operation{">=", op::greater_equal}};
    if (!sum(out))
      return false;
    if (is_word("is"))
      return null_test(out);
    if (is_word("in") || is_word("not"))
      return membership(out);
    const auto find = [&] {
      return std::find_if(comparisons.begin(), comparisons.end(), [&](const operation& c) { return is_symbol(c.symbol); });
    };
    const auto chosen = find();
    if (chosen == comparisons.end())
      return true;
    const std::size_t offset = now_.offset;
    part right;
    if (!advance() || !sum(right) || !comparable(out, right, offset, *chosen) || !emit({chosen->code}, -1))
      return false;
    if (find() != comparisons.end())
      return fail(now_.offset, "comparisons do not chain", "write 'a " + std::string{chosen->symbol} + " b and b " + now_.text + " c'");
    out = {part_type::condition, out.offset, {}, false};
    return true;
  }

  bool comparable(const part& a, const part& b, std::size_t offset, const operation& o) {
    const bool equality = o.code == op::equal || o.code == op::not_equal;
    const auto logical = [](const part& p) { return p.type == part_type::condition || p.type == part_type::boolean; };
    if ((logical(a) || logical(b)) && !equality)
      return fail(offset, "'" + std::string{o.symbol} + "' cannot order conditions", "use == or != between them");
    if (logical(a) != logical(b) && a.type != part_type::cell && b.type != part_type::cell)
      return fail(offset, "this compares " + std::string{noun(a.type)} + " with " + std::string{noun(b.type)});
    const auto mixed = [](const part& x, const part& y) {
      return x.type == part_type::number && y.type == part_type::text && !y.is_number_text;
    };
    if (mixed(a, b) || mixed(b, a))
      return fail(offset, "this compares a number with a text that is no number");
    if (equality && a.type == part_type::cell && b.type == part_type::text && !a.name.empty())
      out_.literals_.push_back({a.name, b.name, b.offset});
    if (equality && b.type == part_type::cell && a.type == part_type::text && !b.name.empty())
      out_.literals_.push_back({b.name, a.name, a.offset});
    return true;
  }

  bool null_test(part& out) {
    if (!advance())
      return false;
    const bool negative = is_word("not");
    if (negative && !advance())
      return false;
    if (!is_word("null"))
      return fail(now_.offset, "'is' is followed by 'null' or 'not null' only", "compare values by ==");
    if (!advance() || !emit({negative ? op::is_not_null : op::is_null}, 0))
      return false;
    out = {part_type::condition, out.offset, {}, false};
    return true;
  }

  bool membership(part& out) {
    const bool negative = is_word("not");
    if (negative && !advance())
      return false;
    if (!is_word("in"))
      return fail(now_.offset, "'not' here must be followed by 'in'", "write: x not in [...], or: not (...)");
    if (!advance())
      return false;
    if (!is_symbol("["))
      return fail(now_.offset, "'in' is followed by a list", "write: in [\"a\", \"b\"]");
    const auto first = static_cast<std::uint32_t>(out_.constants_.size());
    do {
      if (!advance() || !list_item(out))
        return false;
    } while (is_symbol(","));
    if (!is_symbol("]"))
      return fail(now_.offset, "the list is not closed", "add ']'");
    const auto count = static_cast<std::uint32_t>(out_.constants_.size()) - first;
    if (!advance() || !emit({negative ? op::not_in : op::in, first, count}, 0))
      return false;
    out = {part_type::condition, out.offset, {}, false};
    return true;
  }

  bool list_item(const part& left) {
    row_expression::literal item;
    bool minus = false;
    if (is_symbol("-")) {
      minus = true;
      if (!advance())
        return false;
    }
    if (now_.type == token::kind::number) {
      item.number = minus ? -now_.number : now_.number;
    } else if (!minus && now_.type == token::kind::text) {
      item.is_text = true;
      item.text = now_.text;
      if (left.type == part_type::cell && !left.name.empty())
        out_.literals_.push_back({left.name, now_.text, now_.offset});
    } else if (!minus && (is_word("true") || is_word("false"))) {
      item.is_boolean = true;
      item.number = is_word("true") ? 1 : 0;
    } else if (is_word("null")) {
      return fail(now_.offset, "null is never equal to anything, so it cannot be in a list", "write: x is null or x in [...]");
    } else {
      return fail(now_.offset, "a list holds numbers and quoted texts only",
                  now_.type == token::kind::column ? "put it in quotes: \"" + printable(now_.text, 40) + "\"" : "");
    }
    out_.constants_.push_back(std::move(item));
    return advance();
  }

  bool sum(part& out) {
    static constexpr std::array operations{operation{"+", op::add}, operation{"-", op::subtract}};
    return arithmetic(out, operations, [this](part& p) {
      static constexpr std::array products{operation{"*", op::multiply}, operation{"/", op::divide},
                                           operation{"%", op::modulo}};
      return arithmetic(p, products, [this](part& q) { return unary(q); });
    });
  }

  template <class Operations, class F> bool arithmetic(part& out, const Operations& operations, F&& operand) {
    if (!operand(out))
      return false;
    for (;;) {
      const auto o = std::find_if(operations.begin(), operations.end(), [&](const operation& x) { return is_symbol(x.symbol); });
      if (o == operations.end())
        return true;
      part right;
      if (!needs_number(out, o->symbol) || !advance() || !operand(right) || !needs_number(right, o->symbol) ||
          !emit({o->code}, -1))
        return false;
      out = {part_type::number, out.offset, {}, false};
    }
  }

  bool needs_number(const part& p, std::string_view who) {
    return p.type == part_type::cell || p.type == part_type::number ||
           fail(p.offset, "'" + std::string{who} + "' needs numbers, and this is " + std::string{noun(p.type)});
  }

  bool unary(part& out) {
    if (!is_symbol("-"))
      return primary(out);
    const std::size_t offset = now_.offset;
    if (++nesting_ > row_expression::depth_max)
      return fail(offset, "the condition is nested too deeply");
    if (!advance() || !unary(out) || !needs_number(out, "-") || !emit({op::negate}, 0))
      return false;
    --nesting_;
    out = {part_type::number, offset, {}, false};
    return true;
  }

  bool primary(part& out) {
    out = {part_type::cell, now_.offset, {}, false};
    switch (now_.type) {
      case token::kind::number:
        out.type = part_type::number;
        return emit({op::number, 0, 0, now_.number}, 1) && advance();
      case token::kind::text: {
        out.type = part_type::text;
        out.name = now_.text;
        double x = 0;
        const auto [end, code] = std::from_chars(now_.text.data(), now_.text.data() + now_.text.size(), x);
        out.is_number_text = code == std::errc{} && end == now_.text.data() + now_.text.size();
        const auto index = static_cast<std::uint32_t>(out_.constants_.size());
        out_.constants_.push_back({true, false, 0, now_.text});
        return emit({op::text, index}, 1) && advance();
      }
      case token::kind::column: return column_or_function(out);
      case token::kind::word: return word(out);
      case token::kind::symbol:
        if (is_symbol("(")) {
          if (!advance() || !either(out))
            return false;
          return is_symbol(")") ? advance() : fail(now_.offset, "a ')' is missing here", "add ')'");
        }
        return fail(now_.offset, "a column, a number or a quoted text is missing before '" + now_.text + "'");
      case token::kind::end: break;
    }
    return fail(now_.offset, out_.text_.find_first_not_of(" \t\r\n") == std::string::npos
                                 ? "the condition is empty"
                                 : "the condition ends here, but a column, a number or a quoted text is missing");
  }

  bool word(part& out) {
    if (is_word("true") || is_word("false")) {
      out.type = part_type::boolean;
      return emit({op::boolean, 0, 0, is_word("true") ? 1.0 : 0.0}, 1) && advance();
    }
    if (is_word("null"))
      return fail(now_.offset, "nothing equals null", "write: x is null, or: x is not null");
    return fail(now_.offset, "'" + now_.text + "' is not expected here",
                "a column with that name goes in back quotes: `" + now_.text + "`");
  }

  bool column_or_function(part& out) {
    const token name = now_;
    if (!advance())
      return false;
    if (is_symbol("("))
      return function(name, out);
    auto& columns = out_.columns_;
    auto at = std::find_if(columns.begin(), columns.end(), [&](const auto& c) { return c.name == name.text; });
    if (at == columns.end()) {
      if (columns.size() == row_expression::columns_max)
        return fail(name.offset, "too many columns in one condition", "split it into several rules");
      columns.push_back({name.text, name.offset});
      at = columns.end() - 1;
    }
    out = {part_type::cell, name.offset, name.text, false};
    return emit({op::column, static_cast<std::uint32_t>(at - columns.begin())}, 1);
  }

  bool function(const token& name, part& out) {
    static constexpr std::array functions{operation{"abs", op::absolute}, operation{"round", op::round},
                                          operation{"floor", op::floor}, operation{"ceil", op::ceil},
                                          operation{"length", op::length}, operation{"min", op::least},
                                          operation{"max", op::greatest}};
    const auto f = std::find_if(functions.begin(), functions.end(), [&](const operation& o) { return o.symbol == name.text; });
    if (f == functions.end()) {
      std::vector<std::string> known;
      for (const operation& o : functions)
        known.emplace_back(o.symbol);
      const std::string_view near = nearest(name.text, known);
      return fail(name.offset, "there is no function '" + printable(name.text, 40) + "'",
                  near.empty() ? "known are " + join(known, ", ") : "did you mean '" + std::string{near} + "'?");
    }
    const bool many = f->code == op::least || f->code == op::greatest;
    std::size_t count = 0;
    do {
      part argument;
      if (!advance() || !either(argument))
        return false;
      if (f->code != op::length ? !needs_number(argument, f->symbol)
                                : argument.type != part_type::cell && argument.type != part_type::text)
        return f->code != op::length ? false : fail(argument.offset, "'length' needs a text");
      if (++count > 1 && (!many || !emit({f->code}, -1)))
        return many ? false : fail(argument.offset, "'" + name.text + "' takes one value");
    } while (is_symbol(","));
    if (!is_symbol(")"))
      return fail(now_.offset, "a ')' is missing here", "add ')'");
    if (many && count < 2)
      return fail(name.offset, "'" + name.text + "' takes two values or more");
    if (!many && !emit({f->code}, 0))
      return false;
    out = {part_type::number, name.offset, {}, false};
    return advance();
  }

  lexer lexer_;
  token now_;
  problem problem_;
  row_expression out_;
  int depth_ = 0;
  std::size_t nesting_ = 0;
};

result<row_expression> row_expression::parse(std::string_view text, std::size_t* error_offset) {
  if (text.size() > text_bytes_max) {
    if (error_offset != nullptr)
      *error_offset = text_bytes_max;
    return error{errc::invalid_argument,
                 "the condition has " + std::to_string(text.size()) + " bytes, " + std::to_string(text_bytes_max) + " are allowed",
                 "column " + std::to_string(text_bytes_max + 1), "split it into several rules"};
  }
  row_expression_parser parser{text};
  if (parser.run())
    return std::move(parser).take();
  if (error_offset != nullptr)
    *error_offset = parser.what().offset;
  return error{errc::invalid_argument, parser.what().message, "column " + std::to_string(parser.what().offset + 1),
               parser.what().hint};
}

} // namespace flywheel
