#include "checkpoints/checkpoint_file.hpp"

#include "checkpoints/hdf5_handle.hpp"
#include "checkpoints/seal_format.hpp"
#include "cluster/content/publish.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace flywheel {

namespace {

namespace fs = std::filesystem;
using hdf5::handle;

constexpr const char* tensors_group = "tensors";
constexpr const char* attributes_name = "attributes";
constexpr const char* hash_name = "xxh3_64";
constexpr std::size_t name_max = 200, rank_max = 8, tensors_max = 1'000'000;

/// In the file everything is little-endian, on every machine.
hid_t file_type(tensor_type type) {
  switch (type) {
  case tensor_type::f32: return H5T_IEEE_F32LE;
  case tensor_type::f64: return H5T_IEEE_F64LE;
  case tensor_type::i32: return H5T_STD_I32LE;
  case tensor_type::i64: return H5T_STD_I64LE;
  case tensor_type::u8: return H5T_STD_U8LE;
  case tensor_type::u16: return H5T_STD_U16LE;
  case tensor_type::u32: return H5T_STD_U32LE;
  default: return H5T_STD_U64LE;
  }
}

bool is_tensor_name(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= name_max && name != "." && std::all_of(name.begin(), name.end(), allowed);
}

/// Bytes that the shape needs; nothing if that overflows.
std::optional<std::uint64_t> bytes_needed(std::span<const std::uint64_t> shape, tensor_type type) {
  std::uint64_t bytes = size_of(type);
  for (const auto extent : shape) {
    if (extent != 0 && bytes > std::numeric_limits<std::uint64_t>::max() / extent)
      return std::nullopt;
    bytes *= extent;
  }
  return bytes;
}

// --- writing ---------------------------------------------------------------------------------------------------------

status check_tensors(const checkpoint& c) {
  std::vector<std::string_view> names;
  for (const auto& t : c.tensors) {
    if (!is_tensor_name(t.name))
      return error{errc::invalid_argument, "a tensor's name must be 1 to 200 letters, digits, '.', '_' or '-'", t.name};
    if (t.shape.size() > rank_max || bytes_needed(t.shape, t.type) != t.bytes.size())
      return error{errc::invalid_argument, "the shape needs another number of bytes than there are", "tensor " + t.name};
    names.push_back(t.name);
  }
  std::sort(names.begin(), names.end());
  if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
    return error{errc::invalid_argument, "two tensors have one name", "tensor " + std::string{*twice}};
  return success();
}

class writer {
public:
  explicit writer(const fs::path& path) : path_(path) {}

  status write(const checkpoint& c) {
    FLYWHEEL_CHECK(create_file());
    FLYWHEEL_CHECK(write_array(file_, attributes_name, tensor_type::u8, std::array{std::uint64_t{c.attributes.size()}},
                               std::as_bytes(std::span{c.attributes})));
    FLYWHEEL_CHECK(create_group());
    for (const auto& t : c.tensors)
      FLYWHEEL_CHECK(write_array(group_, t.name.c_str(), t.type, t.shape, t.bytes));
    group_ = handle{};
    if (H5Fflush(file_.get(), H5F_SCOPE_GLOBAL) < 0 || !file_.close())
      return hdf5::failure("closing the checkpoint", path_);
    return success();
  }

private:
  status create_file() {
    const handle creation{H5Pcreate(H5P_FILE_CREATE)}, access{H5Pcreate(H5P_FILE_ACCESS)};
    // The latest format checksums its metadata; closing must wait for nothing that is still open.
    if (H5Pset_userblock(creation.get(), seal_bytes) < 0 ||
        H5Pset_libver_bounds(access.get(), H5F_LIBVER_LATEST, H5F_LIBVER_LATEST) < 0 ||
        H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG) < 0)
      return hdf5::failure("preparing the file", path_);
    file_ = handle{H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, creation.get(), access.get())};
    return file_.valid() ? success() : hdf5::failure("creating the checkpoint", path_);
  }

  status create_group() {
    const handle creation{H5Pcreate(H5P_GROUP_CREATE)};
    if (H5Pset_link_creation_order(creation.get(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED) < 0 ||
        H5Pset_obj_track_times(creation.get(), 0) < 0)
      return hdf5::failure("preparing the group", path_);
    group_ = handle{H5Gcreate2(file_.get(), tensors_group, H5P_DEFAULT, creation.get(), H5P_DEFAULT)};
    return group_.valid() ? success() : hdf5::failure("creating the group", path_);
  }

  status write_array(const handle& parent, const char* name, tensor_type type, std::span<const std::uint64_t> shape,
                     std::span<const std::byte> bytes) {
    const std::string what = std::string{"writing "} + name;
    std::vector<hsize_t> extents(shape.begin(), shape.end());
    const handle space{extents.empty() ? H5Screate(H5S_SCALAR)
                                       : H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr)};
    const handle creation{H5Pcreate(H5P_DATASET_CREATE)};
    // No times in the file: the same content is the same bytes, and has the same digest.
    if (H5Pset_layout(creation.get(), H5D_CONTIGUOUS) < 0 || H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER) < 0 ||
        H5Pset_obj_track_times(creation.get(), 0) < 0)
      return hdf5::failure(what, path_);
    const handle set{
        H5Dcreate2(parent.get(), name, file_type(type), space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT)};
    if (!set.valid())
      return hdf5::failure(what, path_);
    // On a full disk only this call tells: flush and close report success afterwards.
    if (!bytes.empty() && H5Dwrite(set.get(), file_type(type), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) < 0)
      return hdf5::failure(what, path_);
    return write_hash(set, fast_hash(bytes), what);
  }

  status write_hash(const handle& set, std::uint64_t value, const std::string& what) {
    const handle scalar{H5Screate(H5S_SCALAR)};
    const handle attribute{
        H5Acreate2(set.get(), hash_name, H5T_STD_U64LE, scalar.get(), H5P_DEFAULT, H5P_DEFAULT)};
    if (!attribute.valid() || H5Awrite(attribute.get(), H5T_NATIVE_UINT64, &value) < 0)
      return hdf5::failure(what, path_);
    return success();
  }

  const fs::path& path_;
  handle file_, group_;
};

// --- reading ---------------------------------------------------------------------------------------------------------

class reader {
public:
  explicit reader(const fs::path& path) : path_(path) {}

  result<checkpoint> read() {
    checkpoint c;
    FLYWHEEL_TRY(c.step, check_seal(path_));
    std::error_code ignored;
    left_ = fs::file_size(path_, ignored);
    FLYWHEEL_CHECK(open());
    tensor attributes;
    FLYWHEEL_CHECK(read_array(file_, attributes_name, attributes));
    if (attributes.type != tensor_type::u8 || attributes.shape.size() != 1)
      return refuse("the attributes are not a text");
    c.attributes.assign(reinterpret_cast<const char*>(attributes.bytes.data()), attributes.bytes.size());
    FLYWHEEL_CHECK(require_hard_link(file_, tensors_group));
    const handle group{H5Gopen2(file_.get(), tensors_group, H5P_DEFAULT)};
    H5G_info_t info{};
    if (!group.valid() || H5Gget_info(group.get(), &info) < 0 || info.nlinks > tensors_max)
      return refuse("there is no group of tensors");
    for (hsize_t i = 0; i < info.nlinks; ++i) {
      FLYWHEEL_TRY(const auto name, name_at(group, i));
      FLYWHEEL_CHECK(read_array(group, name.c_str(), c.tensors.emplace_back()));
      c.tensors.back().name = name;
    }
    return c;
  }

private:
  error refuse(const std::string& what) const {
    H5Eclear2(H5E_DEFAULT);
    return error{errc::invalid_format, what, path_.string(), "it was not written by Flywheel; do not load it"};
  }

  status open() {
    const handle access{H5Pcreate(H5P_FILE_ACCESS)};
    if (H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG) < 0)
      return hdf5::failure("preparing to read", path_);
    file_ = handle{H5Fopen(path_.c_str(), H5F_ACC_RDONLY, access.get())};
    if (!file_.valid())
      return hdf5::failure("opening the checkpoint", path_, errc::invalid_format);
    const handle creation{H5Fget_create_plist(file_.get())};
    hsize_t block = 0;
    if (H5Pget_userblock(creation.get(), &block) < 0 || block != seal_bytes)
      return refuse("the HDF5 part does not start behind the seal");
    return success();
  }

  /// A soft or external link would lead out of what the seal covers.
  status require_hard_link(const handle& parent, const char* name) {
    H5L_info_t link{};
    if (H5Lget_info(parent.get(), name, &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD)
      return refuse(std::string{"there is no object of its own named "} + name);
    return success();
  }

  result<std::string> name_at(const handle& group, hsize_t i) {
    std::array<char, name_max + 2> name{};
    const auto size = H5Lget_name_by_idx(group.get(), ".", H5_INDEX_CRT_ORDER, H5_ITER_INC, i, name.data(), name.size(),
                                         H5P_DEFAULT);
    if (size <= 0 || static_cast<std::size_t>(size) > name_max || !is_tensor_name(name.data()))
      return refuse("tensor " + std::to_string(i) + " has no acceptable name");
    return std::string{name.data()};
  }

  status read_array(const handle& parent, const char* name, tensor& into) {
    const std::string where = std::string{"tensor "} + name;
    FLYWHEEL_CHECK(require_hard_link(parent, name));
    const handle set{H5Dopen2(parent.get(), name, H5P_DEFAULT)};
    if (!set.valid())
      return refuse(where + " is not a dataset");
    FLYWHEEL_CHECK(check_layout(set, where));
    FLYWHEEL_CHECK(read_type(set, where, into));
    FLYWHEEL_CHECK(read_shape(set, where, into));
    FLYWHEEL_CHECK(reserve(set, where, into));
    if (!into.bytes.empty() &&
        H5Dread(set.get(), file_type(into.type), H5S_ALL, H5S_ALL, H5P_DEFAULT, into.bytes.data()) < 0)
      return hdf5::failure("reading " + where, path_, errc::checksum_mismatch);
    return check_hash(set, where, into);
  }

  status check_layout(const handle& set, const std::string& where) {
    const handle creation{H5Dget_create_plist(set.get())};
    if (H5Pget_layout(creation.get()) != H5D_CONTIGUOUS || H5Pget_external_count(creation.get()) != 0 ||
        H5Pget_nfilters(creation.get()) != 0)
      return refuse(where + " is stored in chunks, with filters or in another file");
    return success();
  }

  status read_type(const handle& set, const std::string& where, tensor& into) {
    const handle type{H5Dget_type(set.get())};
    for (int i = 0; i <= static_cast<int>(tensor_type::u64); ++i) {
      into.type = static_cast<tensor_type>(i);
      if (H5Tequal(type.get(), file_type(into.type)) > 0)
        return success();
    }
    return refuse(where + " has an unknown element type");
  }

  status read_shape(const handle& set, const std::string& where, tensor& into) {
    const handle space{H5Dget_space(set.get())};
    const auto kind = H5Sget_simple_extent_type(space.get());
    const int rank = H5Sget_simple_extent_ndims(space.get());
    if ((kind != H5S_SIMPLE && kind != H5S_SCALAR) || rank < 0 || rank > static_cast<int>(rank_max))
      return refuse(where + " has an unusable shape");
    std::array<hsize_t, rank_max> extents{};
    if (H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr) < 0)
      return refuse(where + " has an unusable shape");
    into.shape.assign(extents.begin(), extents.begin() + rank);
    return success();
  }

  /// Sizes are believed only as far as the file has bytes for them, all tensors together.
  status reserve(const handle& set, const std::string& where, tensor& into) {
    const auto needed = bytes_needed(into.shape, into.type);
    if (!needed || *needed > left_)
      return refuse(where + " claims more bytes than the file has");
    if (*needed > 0 && (H5Dget_storage_size(set.get()) != *needed || H5Dget_offset(set.get()) == HADDR_UNDEF))
      return refuse(where + " has no storage of its size");
    left_ -= *needed;
    into.bytes.resize(static_cast<std::size_t>(*needed));
    return success();
  }

  status check_hash(const handle& set, const std::string& where, const tensor& t) {
    const handle attribute{H5Aopen(set.get(), hash_name, H5P_DEFAULT)};
    const handle type{attribute.valid() ? H5Aget_type(attribute.get()) : H5I_INVALID_HID};
    const handle space{attribute.valid() ? H5Aget_space(attribute.get()) : H5I_INVALID_HID};
    std::uint64_t stored = 0;
    if (!attribute.valid() || H5Tequal(type.get(), H5T_STD_U64LE) <= 0 ||
        H5Sget_simple_extent_type(space.get()) != H5S_SCALAR || H5Aread(attribute.get(), H5T_NATIVE_UINT64, &stored) < 0)
      return refuse(where + " carries no checksum");
    if (stored != fast_hash(t.bytes))
      return error{errc::checksum_mismatch, where + " does not match its checksum", path_.string()};
    return success();
  }

  const fs::path& path_;
  handle file_;
  std::uint64_t left_ = 0;
};

} // namespace

status write_checkpoint(const fs::path& path, const checkpoint& c) {
  hdf5::be_quiet();
  FLYWHEEL_CHECK(check_tensors(c));
  return publish_with(path, [&](const fs::path& temporary) -> status {
    FLYWHEEL_CHECK(writer{temporary}.write(c));
    return write_seal(temporary, c.step);
  });
}

result<checkpoint> read_checkpoint(const fs::path& path) {
  hdf5::be_quiet();
  return reader{path}.read();
}

} // namespace flywheel
