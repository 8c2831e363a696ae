#include "cluster/goal/goal_document.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/limits.hpp"
#include "cluster/base/text.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <array>
#include <sstream>
#include <unordered_map>

namespace flywheel {
namespace {

/// Thrown by the builder to leave yaml-cpp early; caught in read_document.
struct stop_reading {};

goal_place place_of(std::uint32_t source, const YAML::Mark& m) {
  if (m.is_null())
    return {source, 1, 1};
  return {source, static_cast<std::uint32_t>(m.line + 1), static_cast<std::uint32_t>(m.column + 1)};
}

std::string_view rest_of_line(std::string_view text, std::size_t at) {
  const std::string_view rest = at < text.size() ? text.substr(at) : std::string_view{};
  return rest.substr(0, rest.find('\n'));
}

goal_place place_at(std::uint32_t source, std::string_view text, std::size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const auto line_start = before.rfind('\n');
  return {source, static_cast<std::uint32_t>(std::count(before.begin(), before.end(), '\n') + 1),
          static_cast<std::uint32_t>(line_start == std::string_view::npos ? offset + 1 : offset - line_start)};
}

/// True if the bracket at `at` is closed, or there is none. Quotes and comments are skipped.
bool closes(std::string_view text, std::size_t at) {
  if (text[at] != '[' && text[at] != '{')
    return true;
  std::ptrdiff_t open = 0;
  for (std::size_t i = at; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '[' || c == '{')
      ++open;
    else if ((c == ']' || c == '}') && --open == 0)
      return true;
    else if (c == '"' || c == '\'')
      for (++i; i < text.size() && text[i] != c; ++i)
        i += c == '"' && text[i] == '\\' ? 1 : 0;
    else if (c == '#' && (text[i - 1] == ' ' || text[i - 1] == '\n'))
      i = std::min(text.find('\n', i), text.size());
  }
  return false;
}

/// Hears only where JSON breaks. JSON's own parser says it better than YAML's.
struct json_listener : nlohmann::json_sax<nlohmann::json> {
  std::size_t bad = 0;
  bool broken = false;
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return true; }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool key(string_t&) override { return true; }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    broken = true;
    bad = position;
    return false;
  }
};

/// True, and a problem, if the text means to be JSON and is not. Only asked after YAML has failed.
[[nodiscard]] bool explain_json(std::uint32_t source, std::string_view text, goal_problems& problems) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || text[first] != '{')
    return false;
  json_listener listener;
  nlohmann::json::sax_parse(text.begin(), text.end(), &listener);
  if (!listener.broken)
    return false;
  const std::size_t at = std::min(listener.bad > 0 ? listener.bad - 1 : 0, text.size());
  if (at + 1 >= text.size() && trim(text.substr(at)).size() <= 1 && std::count(text.begin(), text.end(), '{') > std::count(text.begin(), text.end(), '}'))
    problems.error(place_at(source, text, text.find_last_not_of(" \t\r\n")), "", "syntax", "the JSON ends too early; a '}' is missing");
  else
    problems.error(place_at(source, text, at), "", "syntax",
                   "this is not JSON: '" + printable(text.substr(at, 1)) + "' is not possible here; check commas and quotes before it");
  return true;
}

/// Builds the tree from yaml-cpp's events.
class tree_builder final : public YAML::EventHandler {
public:
  tree_builder(std::uint32_t source, std::string_view text, goal_problems& problems)
      : source_(source), text_(text), problems_(problems) {}

  goal_node root;
  bool has_document = false;

  /// For the parser's "end of ... flow not found": the bracket that is still open. False if there is none.
  bool explain_open_bracket() {
    if (open_.empty() || !open_.back().flow)
      return false;
    never_closed(open_.back().node.place, open_.back().node.type == goal_node::kind::list ? '[' : '{');
    return true;
  }

  void OnDocumentStart(const YAML::Mark& m) override {
    if (has_document) {
      problems_.error(place_of(source_, m), "", "documents", "there is a second document in this file; one file is one goal, "
                                                             "so put it in its own file");
      throw stop_reading{};
    }
    has_document = true;
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& m, YAML::anchor_t anchor) override {
    refuse_anchor(m, anchor);
    goal_node n;
    n.place = place_of(source_, m);
    // yaml-cpp does not say how the null was written; in a list of texts that matters.
    const std::string_view written = rest_of_line(text_, m.is_null() ? text_.size() : static_cast<std::size_t>(m.pos));
    for (const std::string_view word : {"null", "Null", "NULL", "~"})
      if (written.starts_with(word))
        n.text = word;
    add(std::move(n), m);
  }
  void OnAlias(const YAML::Mark& m, YAML::anchor_t) override { refuse_alias(m); }

  void OnScalar(const YAML::Mark& m, const std::string& tag, YAML::anchor_t anchor, const std::string& value) override {
    refuse_anchor(m, anchor);
    refuse_tag(m, tag);
    check_closed(m);
    goal_node n;
    n.type = goal_node::kind::scalar;
    n.place = place_of(source_, m);
    n.quoted = tag == "!";
    n.text = value;
    add(std::move(n), m);
  }
  void OnSequenceStart(const YAML::Mark& m, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value s) override {
    start(goal_node::kind::list, m, tag, anchor, s == YAML::EmitterStyle::Flow);
  }
  void OnSequenceEnd() override { end(); }
  void OnMapStart(const YAML::Mark& m, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value s) override {
    start(goal_node::kind::map, m, tag, anchor, s == YAML::EmitterStyle::Flow);
  }
  void OnMapEnd() override { end(); }

private:
  struct frame {
    goal_node node;
    bool flow = false;
    bool has_key = false, drop_value = false;
    std::string key;
    goal_place key_place;
    std::unordered_map<std::string, std::uint32_t> seen; ///< key -> line
  };

  void start(goal_node::kind type, const YAML::Mark& m, const std::string& tag, YAML::anchor_t anchor, bool flow) {
    refuse_anchor(m, anchor);
    refuse_tag(m, tag);
    if (!open_.empty() && open_.back().node.type == goal_node::kind::map && !open_.back().has_key) {
      const auto at = static_cast<std::size_t>(m.pos);
      if (explain_json(source_, text_, problems_))
        throw stop_reading{};
      if (!m.is_null() && at < text_.size() && !closes(text_, at))
        never_closed(place_of(source_, m), text_[at]);
      else
        problems_.error(place_of(source_, m), "", "syntax", "a key must be plain text, not a list or mapping");
      throw stop_reading{};
    }
    if (open_.size() >= limits::yaml_depth_max) {
      problems_.error(place_of(source_, m), "", "limit",
                      "nested deeper than " + std::to_string(limits::yaml_depth_max) + " levels; a goal needs 6");
      throw stop_reading{};
    }
    count(m);
    frame f;
    f.node.type = type;
    f.node.place = place_of(source_, m);
    f.flow = flow || (!open_.empty() && open_.back().flow);
    open_.push_back(std::move(f));
  }

  void end() {
    goal_node n = std::move(open_.back().node);
    open_.pop_back();
    attach(std::move(n));
  }

  void add(goal_node n, const YAML::Mark& m) {
    count(m);
    if (open_.empty() || open_.back().node.type != goal_node::kind::map || open_.back().has_key) {
      if (!open_.empty() && !open_.back().flow)
        check_tabs(n.place);
      attach(std::move(n));
      return;
    }
    frame& f = open_.back();
    if (!f.flow)
      check_tabs(n.place);
    if (n.text == "<<" && !n.quoted) {
      problems_.error(n.place, "", "alias", "merge keys are not used in a goal; write the values out");
      throw stop_reading{};
    }
    f.has_key = true;
    f.key = n.text;
    f.key_place = n.place;
    f.drop_value = false;
    const auto [first, fresh] = f.seen.emplace(n.text, n.place.line);
    if (!fresh) {
      f.drop_value = true;
      problems_.error(n.place, "", "duplicate-key",
                      "the key '" + printable(n.text, 60) + "' is already set on line " + std::to_string(first->second) +
                          "; keep one of them");
      if (problems_.full())
        throw stop_reading{};
    }
  }

  void attach(goal_node n) {
    if (open_.empty()) {
      root = std::move(n);
      return;
    }
    frame& f = open_.back();
    if (f.node.type == goal_node::kind::list) {
      f.node.items.push_back(std::move(n));
      return;
    }
    if (!f.drop_value)
      f.node.entries.push_back({std::move(f.key), f.key_place, std::move(n)});
    f.has_key = false;
  }

  void count(const YAML::Mark& m) {
    if (++nodes_ > limits::yaml_nodes_max) {
      problems_.error(place_of(source_, m), "", "limit",
                      "more than " + std::to_string(limits::yaml_nodes_max) + " values; a goal is written by a person");
      throw stop_reading{};
    }
  }

  /// YAML forbids tabs in indentation; yaml-cpp lets some pass and then nests them in surprising ways.
  void check_tabs(const goal_place& p) {
    if (p.line == tab_line_)
      return;
    while (line_ < p.line) {
      const auto next = text_.find('\n', line_start_);
      if (next == std::string_view::npos)
        return;
      line_start_ = next + 1;
      ++line_;
    }
    const std::string_view before = rest_of_line(text_, line_start_).substr(0, p.column - 1);
    const auto tab = before.find('\t');
    if (tab == std::string_view::npos || before.find_first_not_of(" \t-") != std::string_view::npos)
      return;
    tab_line_ = p.line;
    problems_.error({source_, p.line, static_cast<std::uint32_t>(tab + 1)}, "", "tab", "a tab in the indentation; use spaces");
  }

  void never_closed(goal_place at, char bracket) {
    problems_.error(at, "", "syntax", std::string{"the '"} + bracket + "' is never closed; add '" + (bracket == '[' ? ']' : '}') + "'");
  }

  /// yaml-cpp takes the end of the file for the closing quote.
  void check_closed(const YAML::Mark& m) {
    const auto start = static_cast<std::size_t>(m.pos);
    if (m.is_null() || start >= text_.size() || (text_[start] != '"' && text_[start] != '\''))
      return;
    const char quote = text_[start];
    for (std::size_t i = start + 1; i < text_.size(); ++i) {
      if (text_[i] == '\\' && quote == '"') {
        ++i;
      } else if (text_[i] == quote) {
        if (quote == '"' || i + 1 >= text_.size() || text_[i + 1] != quote)
          return;
        ++i;
      }
    }
    problems_.error(place_of(source_, m), "", "syntax", std::string{"the quote "} + quote + " is opened here but never closed");
    throw stop_reading{};
  }

  void refuse_anchor(const YAML::Mark& m, YAML::anchor_t anchor) {
    if (anchor != 0)
      refuse_alias(m);
  }
  void refuse_alias(const YAML::Mark& m) {
    problems_.error(place_of(source_, m), "", "alias", "anchors (&) and aliases (*) are not used in a goal; write the value out, "
                                                       "or put it in quotes if it is text");
    throw stop_reading{};
  }
  void refuse_tag(const YAML::Mark& m, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!")
      return;
    problems_.error(place_of(source_, m), "", "tag", "the tag '" + printable(tag, 40) +
                                                         "' is not used in a goal; remove it, or put the value in quotes if it is text");
    throw stop_reading{};
  }

  std::uint32_t source_;
  std::string_view text_;
  goal_problems& problems_;
  std::vector<frame> open_;
  std::size_t nodes_ = 0;
  std::uint32_t line_ = 1, tab_line_ = 0;
  std::size_t line_start_ = 0;
};

/// Offset of the first byte that is not part of a UTF-8 character; the text has one.
std::size_t first_bad_byte(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    const auto c = static_cast<unsigned char>(text[i]);
    const std::size_t length = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (i + length > text.size() || !is_valid_utf8(text.substr(i, length)))
      return i;
    i += length;
  }
  return text.size() - 1;
}

/// What yaml-cpp must never see: bytes that are no UTF-8 (it would guess UTF-16), control characters, lone CR.
bool check_bytes(std::uint32_t source, std::string_view text, goal_problems& problems) {
  if (text.size() > limits::goal_file_bytes_max) {
    problems.error({source, 1, 1}, "", "limit",
                   "the file has more than " + format_bytes(limits::goal_file_bytes_max) +
                       "; a goal is written by a person: is this the data file?");
    return false;
  }
  // yaml-cpp's scanner reads a line of brackets to its end before we hear of the first: 1 MiB of '[' took it 230 MB.
  constexpr std::ptrdiff_t brackets_max = 1000;
  std::ptrdiff_t open = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    open += text[i] == '[' || text[i] == '{' ? 1 : text[i] == ']' || text[i] == '}' ? -1 : 0;
    if (open > brackets_max) {
      problems.error(place_at(source, text, i), "", "limit", "more than " + std::to_string(brackets_max) + " brackets are open here");
      return false;
    }
  }
  if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff")) {
    problems.error({source, 1, 1}, "", "encoding", "the file is in UTF-16; save it as UTF-8");
    return false;
  }
  if (!is_valid_utf8(text)) {
    const std::size_t good = first_bad_byte(text);
    std::array<char, 8> hex{};
    std::snprintf(hex.data(), hex.size(), "%02x", static_cast<unsigned char>(text[good]));
    problems.error(place_at(source, text, good), "", "encoding", std::string{"the byte 0x"} + hex.data() + " is not UTF-8; save the file as UTF-8");
    return false;
  }
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if ((c >= 0x20 && c != 0x7f) || c == '\n' || c == '\t' || (c == '\r' && i + 1 < text.size() && text[i + 1] == '\n'))
      continue;
    problems.error(place_at(source, text, i), "", "encoding",
                   c == '\r' ? "a carriage return without a line feed; save the file with Unix line ends"
                             : "the control character " + printable(text.substr(i, 1)) + "; remove it");
    return false;
  }
  return true;
}

/// yaml-cpp's words, in ours where that helps.
std::string explained(const std::string& message) {
  struct meaning { std::string_view theirs, ours; };
  static constexpr std::array meanings{
      meaning{"illegal map value", "a ':' is not possible here; check the indentation, and put texts that contain ': ' in quotes"},
      meaning{"end of map not found", "this mapping does not go on as it began; check the indentation"},
      meaning{"end of map flow not found", "a '{' is never closed; add '}'"},
      meaning{"end of sequence not found", "this list does not go on as it began; check the indentation of its '-'"},
      meaning{"end of sequence flow not found", "a '[' is never closed; add ']'"},
      meaning{"illegal block entry", "a '-' is not possible here; check the indentation"},
      meaning{"illegal map key", "a key is not possible here; check the indentation"},
      meaning{"map key not found", "a ':' is missing after this key"},
      meaning{"illegal EOF in scalar", "a quote is opened but never closed"},
      meaning{"illegal document indicator in scalar", "a quote is opened but never closed"},
      meaning{"illegal flow end", "a ']' or '}' closes nothing"},
      meaning{"illegal tab when looking for indentation", "a tab in the indentation; use spaces"},
  };
  for (const meaning& m : meanings)
    if (message.starts_with(m.theirs))
      return std::string{m.ours};
  return printable(message, 120);
}

/// A tab at the start of line `last` or before explains most syntax errors.
std::optional<goal_place> tab_before(std::uint32_t source, std::string_view text, std::uint32_t last) {
  std::uint32_t line = 1;
  for (std::size_t at = 0; at < text.size() && line <= last; ++line) {
    const std::string_view l = rest_of_line(text, at);
    const auto first = l.find_first_not_of(" \t");
    const auto tab = l.substr(0, first).find('\t');
    if (first != std::string_view::npos && l[first] != '#' && tab != std::string_view::npos)
      return goal_place{source, line, static_cast<std::uint32_t>(tab + 1)};
    at += l.size() + 1;
  }
  return std::nullopt;
}

} // namespace

goal_entry* goal_node::find(std::string_view key) {
  const auto i = std::find_if(entries.begin(), entries.end(), [&](const goal_entry& e) { return e.key == key; });
  return i == entries.end() ? nullptr : &*i;
}

std::string noun_of(const goal_node& node) {
  switch (node.type) {
    case goal_node::kind::null: return "nothing";
    case goal_node::kind::list: return "a list";
    case goal_node::kind::map: return "a mapping";
    case goal_node::kind::scalar: break;
  }
  return "'" + printable(node.text, 40) + "'";
}

std::uint32_t goal_problems::add_source(std::string name, std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf"))
    text.remove_prefix(3);
  sources_.push_back({std::move(name), std::string{text}});
  return static_cast<std::uint32_t>(sources_.size() - 1);
}

void goal_problems::error(goal_place at, std::string path, std::string rule, std::string message, std::string suggestion) {
  ++errors_;
  add(at, {0, 0, false, std::move(path), std::move(message), std::move(suggestion), std::move(rule), {}, {}});
}
void goal_problems::warning(goal_place at, std::string path, std::string rule, std::string message, std::string suggestion) {
  add(at, {0, 0, true, std::move(path), std::move(message), std::move(suggestion), std::move(rule), {}, {}});
}
void goal_problems::add(goal_place at, goal_problem p) {
  if (full())
    ++left_out_;
  else
    problems_.emplace_back(at, std::move(p));
}

std::vector<goal_problem> goal_problems::take() {
  std::stable_sort(problems_.begin(), problems_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<goal_problem> out;
  std::uint32_t source = 0, line = 0;
  std::size_t start = 0;
  for (auto& [at, p] : problems_) {
    const goal_source& s = sources_[at.source];
    if (at.source != source || line == 0) {
      source = at.source;
      line = 1;
      start = 0;
    }
    while (line < at.line) {
      const auto next = s.text.find('\n', start);
      if (next == std::string::npos)
        break;
      start = next + 1;
      ++line;
    }
    const std::string_view text = rest_of_line(s.text, start);
    const std::string_view before = text.substr(0, at.column - 1);
    p.line = at.line;
    // Bytes to characters, so that the column is the one an editor shows.
    p.column = 1 + static_cast<std::uint32_t>(std::count_if(before.begin(), before.end(),
                                                            [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
    p.file = s.name;
    if (!out.empty() && out.back().line == p.line && out.back().column == p.column && out.back().file == p.file &&
        out.back().message == p.message)
      continue;
    if (at.source != 0 && text.size() <= 1000)
      p.source_line = text;
    out.push_back(std::move(p));
  }
  if (left_out_ > 0) {
    goal_problem more;
    more.line = more.column = 1;
    if (!out.empty()) {
      more.line = out.back().line;
      more.column = out.back().column;
      more.file = out.back().file;
    }
    more.message = std::to_string(left_out_) + " more problems are not shown";
    more.rule = "limit";
    out.push_back(std::move(more));
  }
  problems_.clear();
  errors_ = left_out_ = 0;
  return out;
}

goal_node read_document(std::uint32_t source, goal_problems& problems, std::size_t blank) {
  std::string copy;
  std::string_view text = problems.source(source).text;
  if (!check_bytes(source, text, problems))
    return {};
  if (blank > 0) {
    copy = std::string(blank, ' ') + std::string{text.substr(blank)};
    text = copy;
  }
  tree_builder builder{source, text, problems};
  try {
    std::istringstream in{std::string{text}};
    YAML::Parser parser{in};
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const stop_reading&) {
    return {};
  } catch (const YAML::Exception& e) {
    goal_place at = place_of(source, e.mark);
    if (explain_json(source, text, problems))
      return {};
    if (const auto tab = tab_before(source, text, at.line))
      problems.error(*tab, "", "tab", "a tab in the indentation; use spaces");
    else if (e.msg.find("flow not found") == std::string::npos || !builder.explain_open_bracket())
      problems.error(at, "", "syntax", explained(e.msg));
    return {};
  } catch (const std::exception& e) { // yaml-cpp lets a few of the standard library's escape
    problems.error({source, 1, 1}, "", "syntax", "the file cannot be read: " + printable(e.what(), 100));
    return {};
  }
  return std::move(builder.root);
}

} // namespace flywheel
