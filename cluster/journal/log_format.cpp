#include "cluster/journal/log_format.hpp"

#include "cluster/content/file.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

namespace flywheel {
namespace {

constexpr std::size_t header_size = 32;
constexpr std::size_t frame_header_size = 24;
constexpr std::uint32_t magic = 0x377f0682; // its last bit says in which byte order the checksums count

std::uint32_t big_endian(const char* p) {
  const auto* u = reinterpret_cast<const unsigned char*>(p);
  return std::uint32_t{u[0]} << 24 | std::uint32_t{u[1]} << 16 | std::uint32_t{u[2]} << 8 | u[3];
}
std::uint32_t little_endian(const char* p) {
  const auto* u = reinterpret_cast<const unsigned char*>(p);
  return std::uint32_t{u[3]} << 24 | std::uint32_t{u[2]} << 16 | std::uint32_t{u[1]} << 8 | u[0];
}

/// The log's running checksum.
struct checksum {
  std::uint32_t a = 0;
  std::uint32_t b = 0;
  bool big = false;

  void add(const char* bytes, std::size_t size) {
    for (std::size_t i = 0; i + 8 <= size; i += 8) {
      a += (big ? big_endian(bytes + i) : little_endian(bytes + i)) + b;
      b += (big ? big_endian(bytes + i + 4) : little_endian(bytes + i + 4)) + a;
    }
  }
  bool is(const char* stored) const { return a == big_endian(stored) && b == big_endian(stored + 4); }
};

/// Exactly `size` bytes, or false at the end of the file.
bool read_exactly(int descriptor, char* to, std::size_t size, const std::filesystem::path& name) {
  for (std::size_t filled = 0; filled < size;) {
    const auto got = read_some(descriptor, to + filled, size - filled, name);
    if (!got || *got == 0)
      return false;
    filled += *got;
  }
  return true;
}

} // namespace

std::string log_problem(const std::filesystem::path& log) {
  const auto file = open_regular_file(log);
  std::array<char, header_size> header{};
  if (!file || !read_exactly(file->get(), header.data(), header.size(), log))
    return {};

  // The header is on the disk before the first frame is written: a frame behind a broken header was once good.
  checksum sum;
  sum.big = (big_endian(header.data()) & 1) != 0;
  sum.add(header.data(), 24);
  const std::uint32_t page_size = big_endian(header.data() + 8);
  const bool header_good = (big_endian(header.data()) & ~1u) == magic && sum.is(header.data() + 24) &&
                           page_size >= 512 && page_size <= 65536;
  if (!header_good) {
    std::array<char, frame_header_size> any{};
    const bool written = read_exactly(file->get(), any.data(), any.size(), log) &&
                         std::any_of(any.begin(), any.end(), [](char c) { return c != 0; });
    return written ? "the header of the log is damaged, and with it every entry in the log" : std::string{};
  }

  std::vector<char> frame(frame_header_size + page_size);
  bool fits = true;       // all frames so far fit
  bool complete = false;  // from the first that does not: a transaction's last frame was met
  for (std::uint64_t n = 1; read_exactly(file->get(), frame.data(), frame.size(), log); ++n) {
    // Frames of an earlier round of the log have other salts and do not count.
    // Both halves of the salt change with each round, so one that agrees is enough: the other was damaged.
    const bool current = std::equal(frame.begin() + 8, frame.begin() + 12, header.begin() + 16) ||
                         std::equal(frame.begin() + 12, frame.begin() + 16, header.begin() + 20);
    if (fits) {
      sum.add(frame.data(), 8);
      sum.add(frame.data() + frame_header_size, page_size);
      fits = std::equal(frame.begin() + 8, frame.begin() + 16, header.begin() + 16) && sum.is(frame.data() + 16);
    }
    if (fits || !current)
      continue;
    if (complete)
      return "the log is damaged in front of its frame " + std::to_string(n) +
             ", and what was written after that cannot be read";
    complete = big_endian(frame.data() + 4) != 0;
  }
  return {};
}

} // namespace flywheel
