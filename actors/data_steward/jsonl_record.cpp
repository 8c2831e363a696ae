#include "actors/data_steward/jsonl_record.hpp"

#include "cluster/base/text.hpp"

#include <cstdint>

namespace flywheel {
namespace {

/// Reads forward over one line (RFC 8259); each step says whether it succeeded.
class line_reader {
public:
  explicit line_reader(std::string_view text) : rest_(text) {}

  void skip_blanks() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\t' || rest_.front() == '\r'))
      rest_.remove_prefix(1);
  }
  bool take(char c) {
    skip_blanks();
    if (rest_.empty() || rest_.front() != c)
      return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool take_word(std::string_view word) {
    if (!rest_.starts_with(word))
      return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  char peek() {
    skip_blanks();
    return rest_.empty() ? '\0' : rest_.front();
  }
  bool at_end() {
    skip_blanks();
    return rest_.empty();
  }

  bool take_string(std::string& out) {
    out.clear();
    if (!take('"'))
      return false;
    for (;;) {
      const auto plain = rest_.find_first_of("\"\\");
      if (plain == std::string_view::npos)
        return false;
      for (const char c : rest_.substr(0, plain))
        if (static_cast<unsigned char>(c) < 0x20)
          return false;
      out.append(rest_.substr(0, plain));
      const char mark = rest_[plain];
      rest_.remove_prefix(plain + 1);
      if (mark == '"')
        return true;
      if (!take_escape(out))
        return false;
    }
  }

  /// The grammar of RFC 8259: no leading zeros, no bare point, no plus in front.
  bool take_number(std::string& out) {
    const std::string_view start = rest_;
    take_word("-");
    if (!take_word("0") && !take_digits())
      return false;
    if (take_word(".") && !take_digits())
      return false;
    if (take_word("e") || take_word("E")) {
      if (!take_word("+"))
        take_word("-");
      if (!take_digits())
        return false;
    }
    out.assign(start.substr(0, start.size() - rest_.size()));
    return true;
  }

private:
  bool take_digits() {
    const auto before = rest_.size();
    while (!rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9')
      rest_.remove_prefix(1);
    return rest_.size() != before;
  }
  bool take_hex(std::uint32_t& value) {
    if (rest_.size() < 4)
      return false;
    value = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      const char c = rest_[i];
      const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
      if (digit < 0)
        return false;
      value = value * 16 + static_cast<std::uint32_t>(digit);
    }
    rest_.remove_prefix(4);
    return true;
  }
  bool take_escape(std::string& out) {
    if (rest_.empty())
      return false;
    const char c = rest_.front();
    rest_.remove_prefix(1);
    switch (c) {
    case '"': case '\\': case '/': out += c; return true;
    case 'b': out += '\b'; return true;
    case 'f': out += '\f'; return true;
    case 'n': out += '\n'; return true;
    case 'r': out += '\r'; return true;
    case 't': out += '\t'; return true;
    case 'u': break;
    default: return false;
    }
    std::uint32_t code = 0, low = 0;
    if (!take_hex(code))
      return false;
    if (code >= 0xd800 && code < 0xdc00) { // the first half of a pair
      if (!take_word("\\u") || !take_hex(low) || low < 0xdc00 || low > 0xdfff)
        return false;
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code < 0xe000) {
      return false;
    }
    const auto put = [&](std::uint32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
    if (code < 0x80) {
      put(code);
    } else if (code < 0x800) {
      put(0xc0 | code >> 6), put(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
      put(0xe0 | code >> 12), put(0x80 | (code >> 6 & 0x3f)), put(0x80 | (code & 0x3f));
    } else {
      put(0xf0 | code >> 18), put(0x80 | (code >> 12 & 0x3f)), put(0x80 | (code >> 6 & 0x3f)), put(0x80 | (code & 0x3f));
    }
    return true;
  }

  std::string_view rest_;
};

/// Calls take(key, value or null pointer) for each pair; take answers with a problem or nothing.
template <class F>
std::optional<jsonl_record::problem> read_object(std::string_view line, std::string& key, std::string& value, F&& take) {
  using problem = jsonl_record::problem;
  if (!is_valid_utf8(line))
    return problem{"encoding", std::string{line.substr(0, 200)}};
  line_reader in(line);
  if (!in.take('{'))
    return problem{"json", "no object: " + std::string{line.substr(0, 200)}};
  const problem broken{"json", std::string{line.substr(0, 200)}};
  if (!in.take('}')) {
    do {
      if (!in.take_string(key) || !in.take(':'))
        return broken;
      std::optional<problem> verdict;
      switch (in.peek()) {
      case '"':
        if (!in.take_string(value))
          return broken;
        if (value.find('\0') != std::string::npos)
          return problem{"nul", key};
        verdict = take(key, &value);
        break;
      case '{': case '[': return problem{"nested", "'" + key + "' holds an object or a list"};
      case 't':
        value = "true";
        if (!in.take_word(value))
          return broken;
        verdict = take(key, &value);
        break;
      case 'f':
        value = "false";
        if (!in.take_word(value))
          return broken;
        verdict = take(key, &value);
        break;
      case 'n':
        if (!in.take_word("null"))
          return broken;
        verdict = take(key, nullptr);
        break;
      default:
        if (!in.take_number(value))
          return broken;
        verdict = take(key, &value);
      }
      if (verdict)
        return verdict;
    } while (in.take(','));
    if (!in.take('}'))
      return broken;
  }
  return in.at_end() ? std::nullopt : std::optional{broken};
}

} // namespace

jsonl_record::jsonl_record(const std::vector<std::string>& names) : names_(names), cells_(names.size()) {
  for (std::size_t i = 0; i < names.size(); ++i)
    index_.emplace(names[i], i);
}

std::optional<jsonl_record::problem> jsonl_record::parse(std::string_view line) {
  storage_.clear();
  cells_.assign(names_.size(), {});
  std::vector<bool> seen(names_.size());
  std::size_t guess = 0; // keys mostly come in the same order
  return read_object(line, key_, value_, [&](const std::string& key, const std::string* value) -> std::optional<problem> {
    if (guess >= names_.size() || names_[guess] != key) {
      const auto at = index_.find(key);
      if (at == index_.end())
        return problem{"columns", "'" + key + "' is no column of the contract"};
      guess = at->second;
    }
    if (seen[guess])
      return problem{"columns", "'" + key + "' is there twice"};
    seen[guess] = true;
    if (value != nullptr) {
      cells_[guess] = {false, storage_.size(), value->size()};
      storage_ += *value;
    }
    ++guess;
    return std::nullopt;
  });
}

std::optional<jsonl_record::problem>
jsonl_record::read_pairs(std::string_view line, std::vector<std::pair<std::string, std::optional<std::string>>>& out) {
  out.clear();
  std::string key, value;
  return read_object(line, key, value, [&](const std::string& k, const std::string* v) -> std::optional<problem> {
    out.emplace_back(k, v == nullptr ? std::nullopt : std::optional{*v});
    return std::nullopt;
  });
}

} // namespace flywheel
