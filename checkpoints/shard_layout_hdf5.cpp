#include "checkpoints/hdf5_checks.hpp"
#include "checkpoints/shard_layout.hpp"
#include "cluster/content/file.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

namespace flywheel {

namespace {

namespace fs = std::filesystem;
using hdf5::handle;

constexpr std::size_t page = 4096;
constexpr const char *tensors_group = "tensors", *table_name = "blocks";
constexpr const char *begin_name = "begin", *block_name = "first_block", *shape_name = "shape";

/// The dataset's extents: whole rows keep the tensor's shape, anything else is flat.
std::vector<hsize_t> extents_of(const tensor_part& p) {
  const auto all = elements_of(p.shape).value_or(0);
  if (p.range.size() == all)
    return {p.shape.begin(), p.shape.end()};
  const auto row = p.shape.empty() || p.shape[0] == 0 ? 0 : all / p.shape[0];
  if (row == 0 || p.range.begin % row != 0 || p.range.end % row != 0)
    return {p.range.size()};
  std::vector<hsize_t> extents{p.shape.begin(), p.shape.end()};
  extents[0] = p.range.size() / row;
  return extents;
}

status check_parts(const std::vector<tensor_part>& parts) {
  std::vector<std::string_view> names;
  std::uint64_t total = 0;
  for (const auto& p : parts) {
    if (!is_tensor_name(p.name))
      return error{errc::invalid_argument, "a tensor's name must be 1 to 200 letters, digits, '.', '_' or '-'", p.name};
    const auto elements = elements_of(p.shape);
    const auto bytes = bytes_needed(p.shape, p.type);
    if (p.shape.size() > tensor_rank_max || !elements || !bytes || p.range.begin > p.range.end || p.range.end > *elements)
      return error{errc::invalid_argument, "the part lies outside of its tensor's shape", "tensor " + p.name};
    if (p.bytes() > (std::uint64_t{1} << 62) || (total += p.bytes()) > (std::uint64_t{1} << 62))
      return error{errc::too_large, "a shard has at most 2^62 bytes", "tensor " + p.name};
    names.push_back(p.name);
  }
  if (parts.size() > tensors_max)
    return error{errc::too_large, "a shard has at most " + std::to_string(tensors_max) + " tensors"};
  std::sort(names.begin(), names.end());
  if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
    return error{errc::invalid_argument, "two parts of one shard have one name", "tensor " + std::string{*twice}};
  return success();
}

class drawer {
public:
  drawer(const fs::path& path, shard_layout& layout) : path_(path), layout_(layout) {}

  /// Creates the file with room for `metadata_bytes` of metadata in front, and notes where things came to lie.
  status draw(std::uint64_t metadata_bytes) {
    FLYWHEEL_CHECK(create_file(metadata_bytes));
    FLYWHEEL_CHECK(create_group());
    std::uint64_t block = 0;
    layout_.placed.clear();
    for (const auto& p : layout_.parts) {
      layout_.placed.push_back({0, p.bytes(), block});
      block += hash_blocks_in(p.bytes());
    }
    layout_.table_blocks = block;
    // The table first: it belongs to the head. A table of no entries still is a dataset.
    FLYWHEEL_TRY(const auto table, create_dataset(file_, table_name, tensor_type::u64, {block}));
    FLYWHEEL_TRY(layout_.table_offset, offset_of(table, block * 8));
    for (std::size_t i = 0; i < layout_.parts.size(); ++i) {
      const auto& p = layout_.parts[i];
      if (p.bytes() == 0) // the manifest knows of it
        continue;
      FLYWHEEL_TRY(const auto set, create_dataset(group_, p.name.c_str(), p.type, extents_of(p)));
      FLYWHEEL_TRY(layout_.placed[i].offset, offset_of(set, p.bytes()));
      FLYWHEEL_CHECK(write_attribute(set, begin_name, {&p.range.begin, 1}, true));
      FLYWHEEL_CHECK(write_attribute(set, block_name, {&layout_.placed[i].first_block, 1}, true));
      FLYWHEEL_CHECK(write_attribute(set, shape_name, p.shape, false));
    }
    group_ = handle{};
    if (H5Fflush(file_.get(), H5F_SCOPE_GLOBAL) < 0 || !file_.close())
      return hdf5::failure("closing the shard's outline", path_);
    return success();
  }

private:
  status create_file(std::uint64_t metadata_bytes) {
    const handle creation{H5Pcreate(H5P_FILE_CREATE)}, access{H5Pcreate(H5P_FILE_ACCESS)};
    // The root group, too, would carry the time.
    if (H5Pset_userblock(creation.get(), shard_seal_bytes) < 0 || H5Pset_obj_track_times(creation.get(), 0) < 0 ||
        H5Pset_libver_bounds(access.get(), H5F_LIBVER_LATEST, H5F_LIBVER_LATEST) < 0 ||
        H5Pset_meta_block_size(access.get(), metadata_bytes) < 0 || H5Pset_small_data_block_size(access.get(), 0) < 0 ||
        H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG) < 0)
      return hdf5::failure("preparing the shard's outline", path_);
    file_ = handle{H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, creation.get(), access.get())};
    ::unlink(path_.c_str());
    return file_.valid() ? success() : hdf5::failure("creating the shard's outline", path_);
  }

  status create_group() {
    const handle creation{H5Pcreate(H5P_GROUP_CREATE)};
    if (H5Pset_link_creation_order(creation.get(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED) < 0 ||
        H5Pset_obj_track_times(creation.get(), 0) < 0)
      return hdf5::failure("preparing the group", path_);
    group_ = handle{H5Gcreate2(file_.get(), tensors_group, H5P_DEFAULT, creation.get(), H5P_DEFAULT)};
    return group_.valid() ? success() : hdf5::failure("creating the group", path_);
  }

  result<handle> create_dataset(const handle& parent, const char* name, tensor_type type, std::vector<hsize_t> extents) {
    const handle space{extents.empty() ? H5Screate(H5S_SCALAR)
                                       : H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr)};
    const handle creation{H5Pcreate(H5P_DATASET_CREATE)};
    // Early: the place is known before there is a value. No fill, no times: equal content is equal bytes.
    if (H5Pset_layout(creation.get(), H5D_CONTIGUOUS) < 0 || H5Pset_alloc_time(creation.get(), H5D_ALLOC_TIME_EARLY) < 0 ||
        H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER) < 0 || H5Pset_obj_track_times(creation.get(), 0) < 0)
      return hdf5::failure(std::string{"preparing "} + name, path_);
    handle set{
        H5Dcreate2(parent.get(), name, hdf5::file_type(type), space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT)};
    if (!set.valid())
      return hdf5::failure(std::string{"laying out "} + name, path_);
    return set;
  }

  result<std::uint64_t> offset_of(const handle& set, std::uint64_t bytes) {
    if (bytes == 0)
      return std::uint64_t{0};
    const auto offset = H5Dget_offset(set.get());
    if (offset == HADDR_UNDEF)
      return hdf5::failure("asking where a tensor lies", path_);
    return static_cast<std::uint64_t>(offset);
  }

  status write_attribute(const handle& set, const char* name, std::span<const std::uint64_t> values, bool scalar) {
    const hsize_t extent = values.size();
    const handle space{scalar ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &extent, nullptr)};
    const handle attribute{H5Acreate2(set.get(), name, H5T_STD_U64LE, space.get(), H5P_DEFAULT, H5P_DEFAULT)};
    if (!attribute.valid() || (!values.empty() && H5Awrite(attribute.get(), H5T_NATIVE_UINT64, values.data()) < 0))
      return hdf5::failure(std::string{"writing "} + name, path_);
    return success();
  }

  const fs::path& path_;
  shard_layout& layout_;
  handle file_, group_;
};

/// The head ends where the first tensor begins. True if the tensors follow one another to the
/// end of the file: then everything else lies before them.
result<bool> take_head(const file_handle& file, const fs::path& path, shard_layout& layout) {
  struct stat about {};
  if (::fstat(file.get(), &about) != 0)
    return error_from_errno(errno, "size of the shard's outline", path.string());
  layout.file_bytes = static_cast<std::uint64_t>(about.st_size);
  std::uint64_t head_bytes = layout.file_bytes, end = 0;
  for (const auto& p : layout.placed) {
    if (p.bytes == 0)
      continue;
    if (end == 0)
      head_bytes = p.offset;
    else if (p.offset != end)
      return false;
    end = p.offset + p.bytes;
  }
  if ((end != 0 && end != layout.file_bytes) || head_bytes < layout.table_offset + layout.table_blocks * 8)
    return false;
  layout.head.resize(head_bytes);
  for (std::size_t have = 0; have < head_bytes;) {
    const auto n = ::pread(file.get(), layout.head.data() + have, head_bytes - have, static_cast<off_t>(have));
    if (n <= 0)
      return error_from_errno(n < 0 ? errno : EIO, "reading the shard's outline", path.string());
    have += static_cast<std::size_t>(n);
  }
  if (layout.table_blocks == 0)
    layout.table_offset = head_bytes;
  return true;
}

} // namespace

result<shard_layout> make_shard_layout(std::vector<tensor_part> parts) {
  hdf5::be_quiet();
  FLYWHEEL_CHECK(check_parts(parts));
  shard_layout layout;
  layout.parts = std::move(parts);
  // 512 bytes of metadata a tensor are enough for short names; if not, once more with twice as much.
  // Then again with what brings the first tensor to a whole page: copies between aligned places are faster.
  bool padded = false;
  for (std::uint64_t room = 2048 + 512 * layout.parts.size(); room < (std::uint64_t{1} << 32);) {
    // Sparse: HDF5 writes its metadata only. The name is gone before anything is written, the descriptor reads it back.
    auto name = (fs::temp_directory_path() / "flywheel-outline-XXXXXX").string();
    const file_handle file{::mkostemp(name.data(), O_CLOEXEC)};
    if (file.get() < 0)
      return error_from_errno(errno, "creating the shard's outline", name);
    const fs::path path{name};
    FLYWHEEL_CHECK((drawer{path, layout}.draw(room)));
    FLYWHEEL_TRY(const bool fits, take_head(file, path, layout));
    const auto beyond = layout.head.size() % page;
    if (fits && (beyond == 0 || padded || layout.head.size() == layout.file_bytes))
      return layout;
    padded = fits;
    room = fits ? room + page - beyond : 2 * room;
  }
  return error{errc::internal, "HDF5 puts metadata among the tensors however much room it has"};
}

status check_shard_structure(const fs::path& path, std::span<const tensor_part> parts, std::span<const placed_part> placed,
                             std::uint64_t table_offset, std::uint64_t table_blocks) {
  hdf5::be_quiet();
  const hdf5::checker check{path};
  FLYWHEEL_TRY(const auto file, check.open_file(shard_seal_bytes));
  std::error_code code;
  std::uint64_t left = fs::file_size(path, code);
  if (code)
    return error_from_errno(code.value(), "size of " + path.string());
  FLYWHEEL_TRY(const auto group, check.open_group(file, tensors_group));
  FLYWHEEL_TRY(const auto names, check.names_in(group));
  const auto expected = std::count_if(parts.begin(), parts.end(), [](const tensor_part& p) { return p.bytes() > 0; });
  if (names.size() != static_cast<std::size_t>(expected))
    return check.refuse("the file has " + std::to_string(names.size()) + " tensors, the manifest " + std::to_string(expected));
  const auto agrees = [&](const handle& parent, const char* name, tensor_type type, const std::vector<hsize_t>& extents,
                          std::uint64_t offset) -> status {
    const std::string where = std::string{"tensor "} + name;
    FLYWHEEL_TRY(const auto set, check.open_dataset(parent, name));
    FLYWHEEL_TRY(const auto bytes, check.bytes_of(set, where, left));
    left -= bytes;
    FLYWHEEL_TRY(const auto shape, check.shape_of(set, where));
    FLYWHEEL_TRY(const auto its_type, check.type_of(set, where));
    if (its_type != type || !std::equal(shape.begin(), shape.end(), extents.begin(), extents.end()) ||
        (bytes > 0 && static_cast<std::uint64_t>(H5Dget_offset(set.get())) != offset))
      return check.refuse(where + " has another type, shape or place than the manifest says");
    return success();
  };
  FLYWHEEL_CHECK(agrees(file, table_name, tensor_type::u64, {table_blocks}, table_offset));
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto& p = parts[i];
    if (p.bytes() == 0)
      continue;
    FLYWHEEL_CHECK(agrees(group, p.name.c_str(), p.type, extents_of(p), placed[i].offset));
    FLYWHEEL_TRY(const auto set, check.open_dataset(group, p.name.c_str()));
    FLYWHEEL_TRY(const auto begin, check.number(set, begin_name, "tensor " + p.name));
    FLYWHEEL_TRY(const auto block, check.number(set, block_name, "tensor " + p.name));
    if (begin != p.range.begin || block != placed[i].first_block)
      return check.refuse("tensor " + p.name + " is another slice than the manifest says");
  }
  return success();
}

} // namespace flywheel
