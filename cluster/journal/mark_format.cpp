#include "cluster/journal/mark_format.hpp"

#include "cluster/base/text.hpp"
#include "cluster/content/publish.hpp"

#include <charconv>

namespace flywheel {
namespace {

constexpr std::string_view mark_name = "journal.mark";
constexpr std::size_t mark_bytes_max = 256;

} // namespace

std::string to_text(const journal_mark& mark) {
  std::string text = "flywheel journal mark 1\nseq " + std::to_string(mark.seq) + "\nhash " + mark.hash.hex() + "\n";
  return text + "check " + digest_of(text).hex() + "\n";
}

std::optional<journal_mark> mark_from_text(std::string_view text) {
  const auto lines = split(text, '\n');
  if (lines.size() != 5 || !lines[1].starts_with("seq ") || !lines[2].starts_with("hash "))
    return std::nullopt;
  journal_mark mark;
  const auto seq = lines[1].substr(4);
  const auto [end, code] = std::from_chars(seq.data(), seq.data() + seq.size(), mark.seq);
  const auto hash = digest::from_hex(lines[2].substr(5));
  if (code != std::errc{} || end != seq.data() + seq.size() || !hash)
    return std::nullopt;
  mark.hash = *hash;
  return to_text(mark) == text ? std::optional{mark} : std::nullopt;
}

std::optional<journal_mark> read_mark(const std::filesystem::path& folder) {
  const auto text = read_file(folder / mark_name, mark_bytes_max);
  return text ? mark_from_text(*text) : std::nullopt;
}

status write_mark(const std::filesystem::path& folder, const journal_mark& mark) {
  return publish_file(folder / mark_name, to_text(mark));
}

} // namespace flywheel
