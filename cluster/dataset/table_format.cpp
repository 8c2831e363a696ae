#include "cluster/dataset/table_format.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/limits.hpp"
#include "cluster/content/publish.hpp"

#include <bit>
#include <cmath>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace flywheel {
namespace {

static_assert(std::endian::native == std::endian::little, "FWT1 is written in the machine's order, which is its own");

constexpr std::string_view magic = "FWT1";
constexpr std::uint32_t version = 1;
constexpr std::size_t header_bytes = 40, alignment = 64;
constexpr std::size_t file_bytes_max = std::size_t{1} << 40;

std::uint64_t checksum(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

template <class T> void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <class T> std::string_view bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

/// One value has one form, so that equal tables are equal bytes.
std::vector<double> canonical(const std::vector<double>& numbers) {
  std::vector<double> out = numbers;
  for (double& x : out)
    if (std::isnan(x))
      x = std::bit_cast<double>(std::uint64_t{0x7ff8000000000000});
  return out;
}

std::size_t aligned(std::size_t n) { return (n + alignment - 1) / alignment * alignment; }

struct extent {
  std::uint64_t offset = 0, bytes = 0, sum = 0;
};

/// Reads forward over the directory; every step is checked against its end.
class directory_reader {
public:
  explicit directory_reader(std::string_view bytes) : rest_(bytes) {}
  template <class T> bool take(T& value) {
    if (rest_.size() < sizeof value)
      return false;
    std::memcpy(&value, rest_.data(), sizeof value);
    rest_.remove_prefix(sizeof value);
    return true;
  }
  bool take(std::string& text) {
    std::uint32_t size = 0;
    if (!take(size) || rest_.size() < size)
      return false;
    text.assign(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return true;
  }
  bool take(extent& e) { return take(e.offset) && take(e.bytes) && take(e.sum); }
  std::size_t left() const { return rest_.size(); }

private:
  std::string_view rest_;
};

error malformed(std::string what, std::size_t offset) {
  return {errc::invalid_format, std::move(what), "byte " + std::to_string(offset)};
}

/// The values at `e`, whose size must be `rows` of T and which must begin right after `end`, up to alignment.
template <class T>
status take_values(std::string_view bytes, const extent& e, std::uint64_t rows, const std::string& name,
                   std::size_t& end, std::vector<T>& out) {
  if (e.bytes / sizeof(T) != rows || e.bytes % sizeof(T) != 0)
    return malformed(name + " has " + std::to_string(e.bytes) + " bytes for " + std::to_string(rows) + " rows",
                     e.offset);
  if (e.offset != aligned(end) || e.offset > bytes.size() || bytes.size() - e.offset < e.bytes)
    return malformed(name + " lies outside of the file or overlaps another", e.offset);
  for (std::size_t i = end; i < e.offset; ++i)
    if (bytes[i] != 0)
      return error{errc::checksum_mismatch, "the padding before " + name + " is not zero", "byte " + std::to_string(i)};
  const auto data = bytes.substr(e.offset, e.bytes);
  if (checksum(data) != e.sum)
    return error{errc::checksum_mismatch, name, "byte " + std::to_string(e.offset)};
  out.resize(rows);
  if (!data.empty())
    std::memcpy(out.data(), data.data(), data.size());
  end = e.offset + e.bytes;
  return success();
}

} // namespace

std::string encode_table(const table& t) {
  FLYWHEEL_ASSERT(t.check().ok(), "only a consistent table is written");
  // The directory's size does not depend on the offsets in it, so it is laid out twice.
  std::vector<extent> extents(t.columns.size() + 1);
  std::vector<std::string> data;
  data.emplace_back(bytes_of(t.row_ids));
  for (const column& c : t.columns)
    data.emplace_back(c.type == column_type::numeric ? bytes_of(canonical(c.numbers)) : bytes_of(c.codes));
  const auto directory = [&] {
    std::string d;
    const auto put_extent = [&](const extent& e) { put(d, e.offset), put(d, e.bytes), put(d, e.sum); };
    put_extent(extents[0]);
    for (std::size_t i = 0; i < t.columns.size(); ++i) {
      const column& c = t.columns[i];
      put(d, static_cast<std::uint32_t>(c.name.size()));
      d += c.name;
      put(d, static_cast<std::uint32_t>(c.type));
      put(d, static_cast<std::uint32_t>(c.categories.size()));
      for (const auto& text : c.categories) {
        put(d, static_cast<std::uint32_t>(text.size()));
        d += text;
      }
      put_extent(extents[i + 1]);
    }
    return d;
  };
  std::size_t end = header_bytes + directory().size();
  for (std::size_t i = 0; i < data.size(); ++i) {
    extents[i] = {aligned(end), data[i].size(), checksum(data[i])};
    end = extents[i].offset + extents[i].bytes;
  }
  const std::string d = directory();
  std::string out;
  out.reserve(end);
  out += magic;
  put(out, version);
  put(out, static_cast<std::uint64_t>(t.rows()));
  put(out, static_cast<std::uint64_t>(t.columns.size()));
  put(out, static_cast<std::uint64_t>(d.size()));
  const std::string head = out + d;
  put(out, checksum(head));
  out += d;
  for (std::size_t i = 0; i < data.size(); ++i) {
    out.resize(extents[i].offset, '\0');
    out += data[i];
  }
  return out;
}

result<table> decode_table(std::string_view bytes) {
  if (bytes.size() < header_bytes || bytes.substr(0, magic.size()) != magic)
    return malformed("this is not a table (FWT1)", 0);
  directory_reader header(bytes.substr(magic.size(), header_bytes - magic.size()));
  std::uint32_t found_version = 0;
  std::uint64_t rows = 0, columns = 0, directory_bytes = 0, sum = 0;
  header.take(found_version);
  header.take(rows), header.take(columns), header.take(directory_bytes), header.take(sum);
  if (found_version != version)
    return error{errc::incompatible_version,
                 "table of version " + std::to_string(found_version) + ", this program reads 1", "byte 4"};
  if (directory_bytes > bytes.size() - header_bytes)
    return malformed("the directory is cut off", header_bytes);
  const std::string_view directory_text = bytes.substr(header_bytes, directory_bytes);
  std::string head{bytes.substr(0, header_bytes - sizeof sum)};
  head += directory_text;
  if (checksum(head) != sum)
    return error{errc::checksum_mismatch, "the table's header and directory", "byte 0"};
  if (columns > limits::data_columns_max || rows > bytes.size() / sizeof(std::uint64_t))
    return malformed(std::to_string(columns) + " columns of " + std::to_string(rows) + " rows do not fit in here", 8);

  directory_reader directory(directory_text);
  table t;
  std::size_t end = header_bytes + directory_bytes;
  extent e;
  if (!directory.take(e))
    return malformed("the directory is cut off", header_bytes);
  FLYWHEEL_CHECK(take_values(bytes, e, rows, "the row numbers", end, t.row_ids));
  for (std::uint64_t i = 0; i < columns; ++i) {
    const auto at = header_bytes + directory_bytes - directory.left();
    column c;
    std::uint32_t type = 0, categories = 0;
    if (!directory.take(c.name) || !directory.take(type) || !directory.take(categories) || type > 1 ||
        categories > directory.left() / sizeof(std::uint32_t))
      return malformed("the directory's entry of column " + std::to_string(i + 1), at);
    c.type = static_cast<column_type>(type);
    for (std::uint32_t k = 0; k < categories; ++k)
      if (!directory.take(c.categories.emplace_back()))
        return malformed("the categories of column '" + c.name + "'", at);
    if (!directory.take(e))
      return malformed("the directory's entry of column '" + c.name + "'", at);
    const std::string name = "column '" + c.name + "'";
    FLYWHEEL_CHECK(c.type == column_type::numeric ? take_values(bytes, e, rows, name, end, c.numbers)
                                                  : take_values(bytes, e, rows, name, end, c.codes));
    t.columns.push_back(std::move(c));
  }
  if (directory.left() != 0 || end != bytes.size())
    return malformed("there are bytes after the last column", end);
  FLYWHEEL_CHECK(t.check());
  return t;
}

status write_table(const std::filesystem::path& path, const table& t) { return publish_file(path, encode_table(t)); }

result<table> read_table(const std::filesystem::path& path) {
  FLYWHEEL_TRY(const std::string bytes, read_file(path, file_bytes_max));
  auto t = decode_table(bytes);
  if (!t) {
    error e = std::move(t).error();
    e.where = path.string() + (e.where.empty() ? "" : ", " + e.where);
    return e;
  }
  return t;
}

} // namespace flywheel
