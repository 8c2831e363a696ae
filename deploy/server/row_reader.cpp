#include "deploy/server/row_reader.hpp"

#include "cluster/base/text.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

namespace flywheel {
namespace {

constexpr float missing = std::numeric_limits<float>::quiet_NaN();
constexpr int skip_depth_max = 16;

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

/// Position in the bytes and the steps of the grammar. Each step returns false after noting what went wrong.
class scanner {
public:
  scanner(std::string_view body, std::string& scratch) noexcept
      : begin_(body.data()), at_(body.data()), end_(body.data() + body.size()), scratch_(scratch) {}

  const error& problem() const noexcept { return problem_; }
  bool fail(errc code, std::string what, std::string hint = {}) {
    problem_ = error{code, std::move(what), "byte " + std::to_string(at_ - begin_ + 1), std::move(hint)};
    return false;
  }
  bool fail(error e) {
    problem_ = std::move(e);
    problem_.where = "byte " + std::to_string(at_ - begin_ + 1);
    return false;
  }
  bool bad(std::string_view expected) {
    std::string what = "expected " + std::string{expected};
    what += at_ == end_ ? ", but the body ends here" : ", found '" + printable({at_, 1}) + "'";
    return fail(errc::invalid_format, std::move(what));
  }

  char peek() noexcept {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r'))
      ++at_;
    return at_ == end_ ? '\0' : *at_;
  }
  /// Consumes `c` if it is next.
  bool take(char c) noexcept {
    if (peek() != c || at_ == end_)
      return false;
    ++at_;
    return true;
  }
  bool at_end() noexcept { return peek() == '\0' && at_ == end_; }
  const char* mark() const noexcept { return at_; }
  void rewind(const char* to) noexcept { at_ = to; }

  /// Consumes `"name"` and the colon after it if exactly that comes next: the common case of keys in the usual order.
  bool take_key(const std::string& name) noexcept {
    if (peek() != '"')
      return false;
    const auto need = name.size() + 3;
    if (static_cast<std::size_t>(end_ - at_) < need || at_[name.size() + 1] != '"' || at_[name.size() + 2] != ':' ||
        std::memcmp(at_ + 1, name.data(), name.size()) != 0)
      return false;
    at_ += need;
    return true;
  }
  bool key(std::string_view& out) {
    if (peek() != '"')
      return bad("a name in double quotes");
    if (!string(out))
      return false;
    return take(':') || bad("':'");
  }

  /// At '"'. The view points into the body, or into scratch where there were escapes; valid until the next string.
  bool string(std::string_view& out) {
    const char* const first = ++at_;
    while (at_ != end_ && *at_ != '"' && *at_ != '\\' && static_cast<unsigned char>(*at_) >= 0x20)
      ++at_;
    if (at_ != end_ && *at_ == '"') {
      out = {first, static_cast<std::size_t>(at_ - first)};
      ++at_;
      return true;
    }
    scratch_.assign(first, at_);
    while (at_ != end_ && *at_ != '"') {
      if (static_cast<unsigned char>(*at_) < 0x20)
        return fail(errc::invalid_format, "a control character inside a string", "write it as an escape, such as \\n");
      if (*at_ == '\\') {
        if (!escape())
          return false;
      } else {
        scratch_ += *at_++;
      }
    }
    if (at_ == end_)
      return bad("the end of a string");
    ++at_;
    out = scratch_;
    return true;
  }

  /// At '-' or a digit. The double nearest to the text.
  bool number(double& out, std::string_view& text) {
    const char* const first = at_;
    const bool negative = *at_ == '-';
    at_ += negative ? 1 : 0;
    if (at_ == end_ || !is_digit(*at_))
      return bad("a digit");
    std::uint64_t mantissa = 0;
    std::ptrdiff_t digits = 0, fraction = 0;
    if (*at_ == '0') {
      ++at_;
      if (at_ != end_ && is_digit(*at_))
        return fail(errc::invalid_format, "a number may not start with 0 and another digit");
    } else {
      const char* const from = at_;
      for (; at_ != end_ && is_digit(*at_); ++at_)
        mantissa = mantissa * 10 + static_cast<std::uint64_t>(*at_ - '0');
      digits = at_ - from;
    }
    if (at_ != end_ && *at_ == '.') {
      const char* const from = ++at_;
      for (; at_ != end_ && is_digit(*at_); ++at_)
        mantissa = mantissa * 10 + static_cast<std::uint64_t>(*at_ - '0');
      fraction = at_ - from;
      if (fraction == 0)
        return bad("a digit after the decimal point");
    }
    const bool exponent = at_ != end_ && (*at_ == 'e' || *at_ == 'E');
    if (exponent) {
      ++at_;
      if (at_ != end_ && (*at_ == '+' || *at_ == '-'))
        ++at_;
      if (at_ == end_ || !is_digit(*at_))
        return bad("a digit of the exponent");
      while (at_ != end_ && is_digit(*at_))
        ++at_;
    }
    text = {first, static_cast<std::size_t>(at_ - first)};
    // Fifteen digits and powers of ten up to 22 are exact in a double, so one division rounds once (Clinger 1990).
    if (!exponent && digits + fraction <= 15) {
      static constexpr std::array power{1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                        1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
      const double x = static_cast<double>(mantissa) / power[static_cast<std::size_t>(fraction)];
      out = negative ? -x : x;
      return true;
    }
    if (std::from_chars(first, at_, out).ec != std::errc{})
      return fail(errc::invalid_argument, "the number " + printable(text, 40) + " is out of range");
    return true;
  }

  bool word(std::string_view w) noexcept {
    if (static_cast<std::size_t>(end_ - at_) < w.size() || std::memcmp(at_, w.data(), w.size()) != 0)
      return false;
    at_ += w.size();
    return true;
  }

  /// Any value, thrown away.
  bool skip(int depth = 0) {
    std::string_view text;
    double x = 0;
    if (depth > skip_depth_max)
      return fail(errc::too_large, "values are nested deeper than " + std::to_string(skip_depth_max));
    switch (peek()) {
    case '"': return string(text);
    case '{':
      ++at_;
      if (take('}'))
        return true;
      do {
        if (!key(text) || !skip(depth + 1))
          return false;
      } while (take(','));
      return take('}') || bad("',' or '}'");
    case '[':
      ++at_;
      if (take(']'))
        return true;
      do {
        if (!skip(depth + 1))
          return false;
      } while (take(','));
      return take(']') || bad("',' or ']'");
    case 't': return word("true") || bad("a value");
    case 'f': return word("false") || bad("a value");
    case 'n': return word("null") || bad("a value");
    default: return is_digit(peek()) || peek() == '-' ? number(x, text) : bad("a value");
    }
  }

private:
  bool hex4(std::uint32_t& out) {
    out = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      if (at_ == end_)
        return bad("four hexadecimal digits");
      const char c = *at_;
      std::uint32_t digit = 0;
      if (is_digit(c))
        digit = static_cast<std::uint32_t>(c - '0');
      else if (c >= 'a' && c <= 'f')
        digit = static_cast<std::uint32_t>(c - 'a' + 10);
      else if (c >= 'A' && c <= 'F')
        digit = static_cast<std::uint32_t>(c - 'A' + 10);
      else
        return bad("a hexadecimal digit");
      out = out << 4 | digit;
    }
    return true;
  }
  void append_utf8(std::uint32_t c) {
    const auto byte = [this](std::uint32_t b) { scratch_ += static_cast<char>(b); };
    if (c < 0x80) {
      byte(c);
    } else if (c < 0x800) {
      byte(0xc0 | c >> 6);
      byte(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
      byte(0xe0 | c >> 12);
      byte(0x80 | (c >> 6 & 0x3f));
      byte(0x80 | (c & 0x3f));
    } else {
      byte(0xf0 | c >> 18);
      byte(0x80 | (c >> 12 & 0x3f));
      byte(0x80 | (c >> 6 & 0x3f));
      byte(0x80 | (c & 0x3f));
    }
  }
  /// At '\'.
  bool escape() {
    ++at_;
    if (at_ == end_)
      return bad("an escape");
    switch (*at_++) {
    case '"': scratch_ += '"'; return true;
    case '\\': scratch_ += '\\'; return true;
    case '/': scratch_ += '/'; return true;
    case 'b': scratch_ += '\b'; return true;
    case 'f': scratch_ += '\f'; return true;
    case 'n': scratch_ += '\n'; return true;
    case 'r': scratch_ += '\r'; return true;
    case 't': scratch_ += '\t'; return true;
    case 'u': break;
    default: return fail(errc::invalid_format, "an unknown escape inside a string");
    }
    std::uint32_t c = 0, low = 0;
    if (!hex4(c))
      return false;
    if (c >= 0xd800 && c < 0xdc00) {
      if (!word("\\u") || !hex4(low) || low < 0xdc00 || low > 0xdfff)
        return fail(errc::invalid_format, "half a surrogate pair inside a string");
      c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    } else if (c >= 0xdc00 && c < 0xe000) {
      return fail(errc::invalid_format, "half a surrogate pair inside a string");
    }
    append_utf8(c);
    return true;
  }

  const char* begin_;
  const char* at_;
  const char* end_;
  std::string& scratch_;
  error problem_;
};

/// Strings and integers; the text becomes part of answers and logs.
bool read_id(scanner& s, std::string& out) {
  std::string_view text;
  double x = 0;
  const char c = s.peek();
  if (c == '"') {
    if (!s.string(text))
      return false;
  } else if (is_digit(c) || c == '-') {
    if (!s.number(x, text))
      return false;
  } else {
    return s.fail(errc::invalid_argument, "'id' must be a string or a number");
  }
  if (text.empty() || text.size() > request_id_bytes_max)
    return s.fail(errc::invalid_argument, "'id' must have 1 to " + std::to_string(request_id_bytes_max) + " bytes");
  if (!is_valid_utf8(text))
    return s.fail(errc::invalid_argument, "'id' is not valid UTF-8");
  out.assign(text);
  return true;
}

class row_scanner {
public:
  row_scanner(const row_layout& layout, std::string_view body, row_batch& out)
      : layout_(layout), out_(out), s_(body, out.scratch_), id_input_(static_cast<std::size_t>(layout.find("id"))) {
    out_.clear();
    out_.seen_.assign(layout.size(), 0);
  }

  status read() {
    if (!body())
      return s_.problem();
    return success();
  }

private:
  bool body() {
    if (s_.peek() == '[') {
      s_.take('[');
      out_.array = true;
      if (!s_.take(']')) {
        do {
          if (!row())
            return false;
        } while (s_.take(','));
        if (!s_.take(']'))
          return s_.bad("',' or ']'");
      }
    } else if (!row()) {
      return false;
    }
    return s_.at_end() || s_.bad("the end of the body");
  }

  bool row() {
    if (out_.rows == rows_per_request_max)
      return s_.fail(errc::too_large, "more than " + std::to_string(rows_per_request_max) + " rows in one request",
                     "send several requests");
    if (s_.peek() != '{')
      return s_.bad("a row: an object such as {\"" + (layout_.size() > 0 ? layout_.name(0) : "input") + "\": ...}");
    s_.take('{');
    if (out_.ids.size() <= out_.rows)
      out_.ids.emplace_back();
    out_.ids[out_.rows].clear();
    row_ = static_cast<std::uint32_t>(out_.rows + 1);
    out_.features.resize(out_.features.size() + layout_.size(), missing);
    values_ = out_.features.data() + out_.rows * layout_.size();
    count_ = 0;
    wrapped_ = false;
    unknown_before_ = out_.unknown_inputs.size();
    if (!s_.take('}') && (!members(true) || !s_.take('}')))
      return s_.problem().what.empty() ? s_.bad("',' or '}'") : false;
    if (count_ != layout_.size())
      return absent();
    ++out_.rows;
    return true;
  }

  /// The members of a row, up to its closing brace. `outer`: "id" and "features" may appear.
  bool members(bool outer) {
    std::size_t next = 0;
    do {
      if (next < layout_.size() && (!outer || (next != id_input_ && !wrapped_)) && s_.take_key(layout_.name(next))) {
        if (!value(next))
          return false;
        ++next;
        continue;
      }
      std::string_view name;
      if (!s_.key(name))
        return false;
      const auto i = layout_.find(name);
      if (outer && name == "features" && s_.peek() == '{') {
        if (!features())
          return false;
      } else if (outer && name == "id") {
        const char* const here = s_.mark();
        if (!out_.ids[out_.rows].empty())
          return s_.fail(errc::invalid_argument, "'id' is given twice");
        if (i >= 0 && s_.peek() == 'n')
          ; // an input called "id" that is missing names no request
        else if (!read_id(s_, out_.ids[out_.rows]))
          return false;
        if (i >= 0) { // the model has an input called "id": it is both, until "features" says otherwise
          s_.rewind(here);
          if (!value(static_cast<std::size_t>(i)))
            return false;
        }
      } else if (i >= 0) {
        if (wrapped_ && outer)
          return s_.fail(errc::invalid_argument, "'" + printable(name, 64) + "' stands beside 'features'",
                         "put every input inside 'features'");
        if (!value(static_cast<std::size_t>(i)))
          return false;
        next = static_cast<std::size_t>(i) + 1;
      } else if (i == row_layout::ignored) {
        if (!s_.skip())
          return false;
      } else {
        return s_.fail(layout_.unknown_name(name));
      }
    } while (s_.take(','));
    return true;
  }

  bool features() {
    const bool id_input = id_input_ < layout_.size() && out_.seen_[id_input_] == row_;
    if (wrapped_ || count_ > (id_input ? 1U : 0U))
      return s_.fail(errc::invalid_argument, wrapped_ ? "'features' is given twice" : "inputs stand beside 'features'",
                     "put every input inside 'features', once");
    wrapped_ = true;
    count_ = 0;
    std::fill(out_.seen_.begin(), out_.seen_.end(), 0);
    std::fill(values_, values_ + layout_.size(), missing);
    out_.unknown_inputs.resize(unknown_before_);
    s_.take('{');
    if (s_.take('}'))
      return true;
    return members(false) && (s_.take('}') || s_.bad("',' or '}'"));
  }

  bool value(std::size_t i) {
    if (out_.seen_[i] == row_)
      return s_.fail(errc::invalid_argument, "'" + layout_.name(i) + "' is given twice");
    out_.seen_[i] = row_;
    ++count_;
    return layout_.type(i) == column_type::numeric ? numeric(i) : categorical(i);
  }

  bool numeric(std::size_t i) {
    const char c = s_.peek();
    if (is_digit(c) || c == '-') {
      double x = 0;
      std::string_view text;
      if (!s_.number(x, text))
        return false;
      if (std::abs(x) > static_cast<double>(std::numeric_limits<float>::max()))
        return s_.fail(errc::invalid_argument, "'" + layout_.name(i) + "': " + printable(text, 40) + " is out of range");
      values_[i] = static_cast<float>(x);
      return true;
    }
    if (c == 'n' && s_.word("null"))
      return true;
    return wrong_type(i, "a number", c);
  }

  bool categorical(std::size_t i) {
    const char c = s_.peek();
    std::string_view text;
    if (c == '"') {
      if (!s_.string(text))
        return false;
    } else if (c == 'n' && s_.word("null")) {
      return true;
    } else if (is_digit(c) || c == '-') {
      double x = 0;
      if (!s_.number(x, text))
        return false;
      if (!layout_.numbers_as_categories(i))
        return wrong_type(i, "a string", c);
    } else if (c == 't' && s_.word("true")) {
      text = "true";
    } else if (c == 'f' && s_.word("false")) {
      text = "false";
    } else {
      return wrong_type(i, "a string", c);
    }
    const auto code = layout_.category(i, text);
    if (code >= 0) {
      values_[i] = static_cast<float>(code);
    } else if (c == 't' || c == 'f') {
      return wrong_type(i, "a string", c);
    } else {
      values_[i] = unseen_category;
      out_.unknown_inputs.push_back(static_cast<std::uint32_t>(i));
    }
    return true;
  }

  bool wrong_type(std::size_t i, std::string_view wanted, char c) {
    std::string_view found = "something else";
    switch (c) {
    case '"': found = "a string"; break;
    case '{': found = "an object"; break;
    case '[': found = "an array"; break;
    case 't': case 'f': found = "true or false"; break;
    default:
      if (is_digit(c) || c == '-')
        found = "a number";
      else
        return s_.bad("a value of '" + layout_.name(i) + "'");
    }
    return s_.fail(errc::invalid_argument,
                   "'" + layout_.name(i) + "' must be " + std::string{wanted} + " or null, not " + std::string{found});
  }

  bool absent() {
    std::vector<std::string> names;
    std::size_t more = 0;
    for (std::size_t i = 0; i < layout_.size(); ++i)
      if (out_.seen_[i] != row_) {
        if (names.size() < 5)
          names.push_back("'" + layout_.name(i) + "'");
        else
          ++more;
      }
    std::string what = join(names, ", ");
    if (more > 0)
      what += " and " + std::to_string(more) + " more";
    what += names.size() + more == 1 ? " is absent" : " are absent";
    return s_.fail(errc::invalid_argument,
                   out_.array ? "row " + std::to_string(out_.rows + 1) + ": " + what : what,
                   "send null for a value that is not known");
  }

  const row_layout& layout_;
  row_batch& out_;
  scanner s_;
  std::size_t id_input_; ///< of the input called "id", or a number no input has
  float* values_ = nullptr;
  std::size_t count_ = 0;
  std::size_t unknown_before_ = 0;
  std::uint32_t row_ = 0;
  bool wrapped_ = false;
};

bool read_label(scanner& s, label_entry& out) {
  if (!s.take('{'))
    return s.bad("an object {\"id\": ..., \"label\": ...}");
  bool id = false, label = false;
  if (!s.take('}')) {
    do {
      std::string_view name, text;
      double x = 0;
      if (!s.key(name))
        return false;
      if (name == "id" && !id) {
        id = true;
        if (!read_id(s, out.id))
          return false;
      } else if (name == "label" && !label) {
        label = true;
        const char c = s.peek();
        if (c == '"' ? !s.string(text) : is_digit(c) || c == '-' ? !s.number(x, text) : false)
          return false;
        if (c == 't' && s.word("true"))
          text = "true";
        else if (c == 'f' && s.word("false"))
          text = "false";
        if (text.empty() || text.size() > 1024 || !is_valid_utf8(text))
          return s.fail(errc::invalid_argument, "'label' must be a string of 1 to 1024 bytes, a number, true or false");
        out.label.assign(text);
      } else {
        return s.fail(errc::invalid_argument,
                      name == "id" || name == "label" ? "'" + std::string{name} + "' is given twice"
                                                      : "'" + printable(name, 64) + "' is not known here",
                      "send {\"id\": ..., \"label\": ...}");
      }
    } while (s.take(','));
    if (!s.take('}'))
      return s.bad("',' or '}'");
  }
  if (!id || !label)
    return s.fail(errc::invalid_argument, id ? "'label' is absent" : "'id' is absent",
                  "send {\"id\": ..., \"label\": ...}");
  return true;
}

bool read_label_body(scanner& s, std::vector<label_entry>& out) {
  if (s.take('[')) {
    if (!s.take(']')) {
      do {
        if (out.size() == rows_per_request_max)
          return s.fail(errc::too_large, "more than " + std::to_string(rows_per_request_max) + " labels in one request");
        if (!read_label(s, out.emplace_back()))
          return false;
      } while (s.take(','));
      if (!s.take(']'))
        return s.bad("',' or ']'");
    }
  } else if (!read_label(s, out.emplace_back())) {
    return false;
  }
  return s.at_end() || s.bad("the end of the body");
}

} // namespace

status read_rows(const row_layout& layout, std::string_view body, row_batch& out) {
  return row_scanner{layout, body, out}.read();
}

status read_labels(std::string_view body, std::vector<label_entry>& out) {
  std::string scratch;
  scanner s{body, scratch};
  out.clear();
  if (!read_label_body(s, out))
    return s.problem();
  return success();
}

std::size_t json_depth(std::string_view body, std::size_t limit) noexcept {
  std::size_t depth = 0, deepest = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < body.size() && deepest <= limit; ++i) {
    const char c = body[i];
    if (quoted) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return deepest;
}

} // namespace flywheel
