#include "nccl/gang_record.hpp"

#include "cluster/base/ids.hpp"
#include "cluster/base/text.hpp"

#include <charconv>

namespace flywheel::nccl {
namespace {

constexpr std::string_view first_line = "flywheel-gang 1";

bool is_host(std::string_view host) {
  if (host.empty() || host.size() > 253)
    return false;
  for (const char c : host)
    if (c <= ' ' || c == 0x7f)
      return false;
  return true;
}

bool is_folder(std::string_view folder) {
  if (folder.empty() || folder.front() != '/' || folder.size() > 4000)
    return false;
  for (const char c : folder)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f)
      return false;
  return true;
}

/// Takes the record apart line by line; each function names the line it did not like.
class line_reader {
public:
  explicit line_reader(std::string_view text) : rest_(text) {}

  error broken(std::string what) const {
    return {errc::invalid_format, "gang record, line " + std::to_string(line_) + ": " + std::move(what)};
  }
  /// The next line without its end; every line has one.
  result<std::string_view> line() {
    ++line_;
    const auto end = rest_.find('\n');
    if (end == std::string_view::npos)
      return broken("it ends in the middle");
    const auto found = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return found;
  }
  result<std::string_view> field(std::string_view key) {
    FLYWHEEL_TRY(const std::string_view found, line());
    if (!found.starts_with(key) || found.size() <= key.size() || found[key.size()] != ' ')
      return broken("'" + std::string{key} + " ...' was expected, not '" + printable(found, 60) + "'");
    return found.substr(key.size() + 1);
  }
  result<std::uint64_t> number(std::string_view key) {
    FLYWHEEL_TRY(const std::string_view text, field(key));
    return to_number(text);
  }
  result<std::uint64_t> to_number(std::string_view text) const {
    std::uint64_t x = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), x);
    if (failure != std::errc{} || end != text.data() + text.size() || (text.size() > 1 && text.front() == '0'))
      return broken("'" + printable(text, 40) + "' is not a number");
    return x;
  }
  bool next_starts_with(std::string_view prefix) const { return rest_.starts_with(prefix); }
  bool at_end() const { return rest_.empty(); }

private:
  std::string_view rest_;
  int line_ = 0;
};

result<rank_place> to_place(const line_reader& in, std::string_view text) {
  const auto space = text.find(' ');
  if (space == std::string_view::npos)
    return in.broken("a member is 'HOST cpu' or 'HOST gpu:N'");
  rank_place place{std::string{text.substr(0, space)}, -1};
  auto device = text.substr(space + 1);
  if (device == "cpu")
    return place;
  if (!device.starts_with("gpu:"))
    return in.broken("a member's device is cpu or gpu:N, not '" + printable(device, 40) + "'");
  device.remove_prefix(4);
  FLYWHEEL_TRY(const std::uint64_t number, in.to_number(device));
  if (number > 1023)
    return in.broken("there is no GPU number " + std::to_string(number));
  place.gpu = static_cast<int>(number);
  return place;
}

} // namespace

status check(const gang_record& r) {
  const auto bad = [](std::string what) { return error{errc::invalid_argument, "gang record: " + std::move(what)}; };
  if (!is_valid_name(r.gang))
    return bad("'" + printable(r.gang, 70) + "' is not a name for a gang");
  if (r.generation == 0)
    return bad("generations count from 1");
  if (r.members.empty() || r.size() > ranks_max)
    return bad("a gang has 1 to " + std::to_string(ranks_max) + " ranks, not " + std::to_string(r.members.size()));
  if (r.rank < 0 || r.rank >= r.size())
    return bad("rank " + std::to_string(r.rank) + " is not one of " + std::to_string(r.size()));
  if (!is_folder(r.folder))
    return bad("the folder must be an absolute path without control characters");
  if (r.arena_bytes > arena_bytes_max)
    return bad("an arena of " + format_bytes(r.arena_bytes) + " is larger than " + format_bytes(arena_bytes_max));
  for (const auto& m : r.members)
    if (!is_host(m.host) || m.gpu < -1 || m.gpu > 1023)
      return bad("'" + printable(m.host, 70) + "' with GPU " + std::to_string(m.gpu) + " is not a place for a rank");
  return success();
}

result<std::string> encode(const gang_record& r) {
  FLYWHEEL_CHECK(check(r));
  std::string text{first_line};
  text += "\ngang " + r.gang + "\ngeneration " + std::to_string(r.generation) + "\nrank " + std::to_string(r.rank);
  text += "\nbackend " + std::string{name_of(r.use)} + "\nfolder " + r.folder;
  text += "\narena_bytes " + std::to_string(r.arena_bytes) + "\n";
  for (const auto& m : r.members)
    text += "member " + m.host + (m.gpu < 0 ? " cpu" : " gpu:" + std::to_string(m.gpu)) + "\n";
  text += "end\n";
  if (text.size() > gang_record_bytes_max)
    return error{errc::too_large, "a gang record of " + format_bytes(text.size())};
  return text;
}

result<gang_record> decode_gang_record(std::string_view text) {
  if (text.size() > gang_record_bytes_max)
    return error{errc::too_large, "a gang record of " + format_bytes(text.size())};
  line_reader in{text};
  FLYWHEEL_TRY(const std::string_view version, in.line());
  if (version != first_line)
    return error{version.starts_with("flywheel-gang ") ? errc::incompatible_version : errc::invalid_format,
                 "a gang record starts with '" + std::string{first_line} + "', not '" + printable(version, 40) + "'"};
  gang_record r;
  FLYWHEEL_TRY(const std::string_view gang, in.field("gang"));
  r.gang = gang;
  FLYWHEEL_TRY(r.generation, in.number("generation"));
  FLYWHEEL_TRY(const std::uint64_t rank, in.number("rank"));
  if (rank >= static_cast<std::uint64_t>(ranks_max))
    return in.broken("rank " + std::to_string(rank) + " is too large");
  r.rank = static_cast<int>(rank);
  FLYWHEEL_TRY(const std::string_view name, in.field("backend"));
  const auto use = backend_from_name(name);
  if (!use)
    return in.broken("there is no backend '" + printable(name, 40) + "'");
  r.use = *use;
  FLYWHEEL_TRY(const std::string_view folder, in.field("folder"));
  r.folder = folder;
  FLYWHEEL_TRY(r.arena_bytes, in.number("arena_bytes"));
  while (in.next_starts_with("member ")) {
    FLYWHEEL_TRY(const std::string_view member, in.field("member"));
    FLYWHEEL_TRY(rank_place place, to_place(in, member));
    if (r.members.size() == static_cast<std::size_t>(ranks_max))
      return in.broken("more than " + std::to_string(ranks_max) + " members");
    r.members.push_back(std::move(place));
  }
  FLYWHEEL_TRY(const std::string_view end, in.line());
  if (end != "end" || !in.at_end())
    return in.broken("'end' was expected as the last line");
  if (auto sound = check(r); !sound)
    return error{errc::invalid_format, sound.error().what};
  return r;
}

status admit_generation(std::string_view gang, std::uint64_t newest, std::uint64_t mine) {
  if (mine >= newest)
    return success();
  return error{errc::stale_epoch,
               "generation " + std::to_string(mine) + " of gang " + std::string{gang} + "; generation " +
                   std::to_string(newest) + " has started",
               {},
               "end this process; its gang lives on without it"};
}

} // namespace flywheel::nccl
