#include "checkpoints/safetensors_file.hpp"

#include "cluster/base/text.hpp"
#include "cluster/content/publish.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace flywheel {

namespace {

namespace fs = std::filesystem;
using u64 = std::uint64_t;

struct open_file_and_header {
  file_handle file;
  safetensors_header header;
  u64 data_begin = 0;
};

status read_exactly(const file_handle& file, std::span<std::byte> into, const fs::path& path) {
  for (std::size_t have = 0; have < into.size();) {
    FLYWHEEL_TRY(const auto n, read_some(file.get(), reinterpret_cast<char*>(into.data()) + have, into.size() - have, path));
    if (n == 0)
      return error{errc::invalid_format, "the file ends early", path.string()};
    have += n;
  }
  return success();
}

result<open_file_and_header> open_safetensors(const fs::path& path) {
  open_file_and_header o;
  FLYWHEEL_TRY(o.file, open_regular_file(path));
  struct stat about {};
  if (::fstat(o.file.get(), &about) != 0)
    return error_from_errno(errno, "size of", path.string());
  const auto file_bytes = static_cast<u64>(about.st_size);
  u64 length = 0;
  if (file_bytes < 8)
    return error{errc::invalid_format, "a safetensors file has at least 8 bytes, this has " + std::to_string(file_bytes), path.string()};
  FLYWHEEL_CHECK(read_exactly(o.file, std::as_writable_bytes(std::span{&length, 1}), path));
  if (length > safetensors_header_max || length > file_bytes - 8)
    return error{errc::invalid_format, "the header claims " + std::to_string(length) + " bytes; there are " + std::to_string(file_bytes - 8) +
                     ", and " + std::to_string(safetensors_header_max) + " are allowed", path.string()};
  std::string text(length, '\0');
  FLYWHEEL_CHECK(read_exactly(o.file, std::as_writable_bytes(std::span{text}), path));
  o.data_begin = 8 + length;
  auto header = parse_safetensors_header(text, file_bytes - o.data_begin);
  if (!header) {
    header.error().where = path.string();
    return std::move(header).error();
  }
  o.header = std::move(header).value();
  return o;
}

status write_bytes(const file_handle& file, std::span<const std::byte> bytes, const fs::path& path) {
  return write_all(file.get(), {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
}

/// Writes the file; `write_tensor` writes the bytes of one, in the header's order.
status write_file(const fs::path& path, safetensors_header header,
                  const std::function<status(const file_handle& file, const safetensors_entry& entry)>& write_tensor) {
  std::vector<std::string_view> names;
  for (const auto& t : header.tensors) {
    if (!is_tensor_name(t.name) || t.shape.size() > tensor_rank_max || !bytes_needed(t.shape, t.type))
      return error{errc::invalid_argument, "a tensor has no acceptable name or shape", printable(t.name, 80)};
    names.push_back(t.name);
  }
  std::sort(names.begin(), names.end());
  if (std::adjacent_find(names.begin(), names.end()) != names.end())
    return error{errc::invalid_argument, "two tensors have one name", path.string()};
  for (const auto& [key, value] : header.metadata)
    if (!is_valid_utf8(key) || !is_valid_utf8(value))
      return error{errc::invalid_argument, "metadata must be UTF-8", path.string()};
  const auto text = make_safetensors_header(header);
  const u64 length = text.size();
  if (length > safetensors_header_max)
    return error{errc::too_large, "the header would have " + std::to_string(length) + " bytes", path.string(), "split the model"};
  return publish_with(path, [&](const fs::path& temporary) -> status {
    FLYWHEEL_TRY(auto file, open_file(temporary, O_WRONLY | O_CREAT | O_EXCL));
    FLYWHEEL_CHECK(write_bytes(file, std::as_bytes(std::span{&length, 1}), path));
    FLYWHEEL_CHECK(write_bytes(file, std::as_bytes(std::span{text}), path));
    for (const auto& t : header.tensors)
      FLYWHEEL_CHECK(write_tensor(file, t));
    return file.close(path);
  });
}

} // namespace

result<safetensors_header> inspect_safetensors(const fs::path& path) {
  FLYWHEEL_TRY(auto o, open_safetensors(path));
  return std::move(o.header);
}

result<safetensors_content> read_safetensors(const fs::path& path) {
  FLYWHEEL_TRY(const auto o, open_safetensors(path));
  safetensors_content c;
  c.metadata = o.header.metadata;
  for (const auto& entry : o.header.tensors) { // they follow one another to the end of the file: together no more than it has
    auto& t = c.tensors.emplace_back(tensor{entry.name, entry.type, entry.shape, {}});
    t.bytes.resize(entry.end - entry.begin);
    FLYWHEEL_CHECK(read_exactly(o.file, t.bytes, path));
  }
  return c;
}

status write_safetensors(const fs::path& path, const safetensors_content& content) {
  safetensors_header header{content.metadata, {}};
  std::map<std::string_view, const tensor*> by_name;
  for (const auto& t : content.tensors) {
    if (bytes_needed(t.shape, t.type) != t.bytes.size())
      return error{errc::invalid_argument, "the shape needs another number of bytes than there are", "tensor " + printable(t.name, 80)};
    header.tensors.push_back({t.name, t.type, t.shape, 0, 0});
    by_name[t.name] = &t;
  }
  return write_file(path, std::move(header), [&](const file_handle& file, const safetensors_entry& entry) {
    return write_bytes(file, by_name.at(entry.name)->bytes, path);
  });
}

status export_safetensors(const fs::path& path, const sharded_checkpoint& c, const std::map<std::string, std::string>& metadata,
                          const std::function<bool(const std::string&)>& wanted) {
  safetensors_header header{metadata, {}};
  for (const auto& t : c.contents().tensors)
    if (wanted(t.name))
      header.tensors.push_back({t.name, t.type, t.shape, 0, 0});
  std::vector<std::byte> window(4 * read_run_bytes);
  return write_file(path, std::move(header), [&](const file_handle& file, const safetensors_entry& entry) -> status {
    const u64 size = size_of(entry.type), elements = (entry.end - entry.begin) / size;
    for (u64 at = 0; at < elements; at += window.size() / size) {
      const element_range range{at, std::min<u64>(elements, at + window.size() / size)};
      const read_request request{entry.name, range, std::span{window}.first(range.size() * size)};
      FLYWHEEL_CHECK(c.read({&request, 1}));
      FLYWHEEL_CHECK(write_bytes(file, request.into, path));
    }
    return success();
  });
}

} // namespace flywheel
