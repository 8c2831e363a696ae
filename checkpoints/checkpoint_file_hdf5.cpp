#include "checkpoints/checkpoint_file.hpp"

#include "checkpoints/hdf5_checks.hpp"
#include "checkpoints/seal_format.hpp"
#include "cluster/content/publish.hpp"

#include <algorithm>
#include <array>

namespace flywheel {

namespace {

namespace fs = std::filesystem;
using hdf5::file_type;
using hdf5::handle;

constexpr const char* tensors_group = "tensors";
constexpr const char* attributes_name = "attributes";
constexpr const char* hash_name = "xxh3_64";

// --- writing ---------------------------------------------------------------------------------------------------------

status check_tensors(const checkpoint& c) {
  std::vector<std::string_view> names;
  for (const auto& t : c.tensors) {
    if (!is_tensor_name(t.name))
      return error{errc::invalid_argument, "a tensor's name must be 1 to 200 letters, digits, '.', '_' or '-'", t.name};
    if (t.shape.size() > tensor_rank_max || bytes_needed(t.shape, t.type) != t.bytes.size())
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
    if (H5Pset_userblock(creation.get(), seal_bytes) < 0 || H5Pset_obj_track_times(creation.get(), 0) < 0 ||
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
  explicit reader(const fs::path& path) : path_(path), check_(path_) {}

  result<checkpoint> read() {
    checkpoint c;
    FLYWHEEL_TRY(c.step, check_seal(path_));
    std::error_code ignored;
    left_ = fs::file_size(path_, ignored);
    FLYWHEEL_TRY(const auto file, check_.open_file(seal_bytes));
    tensor attributes;
    FLYWHEEL_CHECK(read_array(file, attributes_name, attributes));
    if (attributes.type != tensor_type::u8 || attributes.shape.size() != 1)
      return check_.refuse("the attributes are not a text");
    c.attributes.assign(reinterpret_cast<const char*>(attributes.bytes.data()), attributes.bytes.size());
    FLYWHEEL_TRY(const auto group, check_.open_group(file, tensors_group));
    FLYWHEEL_TRY(const auto names, check_.names_in(group));
    for (const auto& name : names) {
      FLYWHEEL_CHECK(read_array(group, name.c_str(), c.tensors.emplace_back()));
      c.tensors.back().name = name;
    }
    return c;
  }

private:
  status read_array(const handle& parent, const char* name, tensor& into) {
    const std::string where = std::string{"tensor "} + name;
    FLYWHEEL_TRY(const auto set, check_.open_dataset(parent, name));
    FLYWHEEL_TRY(into.type, check_.type_of(set, where));
    FLYWHEEL_TRY(into.shape, check_.shape_of(set, where));
    // Sizes are believed only as far as the file has bytes for them, all tensors together.
    FLYWHEEL_TRY(const auto bytes, check_.bytes_of(set, where, left_));
    left_ -= bytes;
    into.bytes.resize(static_cast<std::size_t>(bytes));
    if (!into.bytes.empty() &&
        H5Dread(set.get(), file_type(into.type), H5S_ALL, H5S_ALL, H5P_DEFAULT, into.bytes.data()) < 0)
      return hdf5::failure("reading " + where, path_, errc::checksum_mismatch);
    FLYWHEEL_TRY(const auto stored, check_.number(set, hash_name, where));
    if (stored != fast_hash(into.bytes))
      return error{errc::checksum_mismatch, where + " does not match its checksum", path_.string()};
    return success();
  }

  const fs::path& path_;
  hdf5::checker check_;
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
