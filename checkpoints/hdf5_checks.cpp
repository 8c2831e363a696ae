#include "checkpoints/hdf5_checks.hpp"

#include <array>

namespace flywheel::hdf5 {

namespace {

/// A float of 16 bits: HDF5 1.10 has none of its own, but describes any.
hid_t small_float(std::size_t exponent_bits, std::size_t mantissa_bits) {
  const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
  H5Tset_fields(type, 15, mantissa_bits, exponent_bits, 0, mantissa_bits);
  H5Tset_ebias(type, (std::size_t{1} << (exponent_bits - 1)) - 1);
  H5Tset_size(type, 2);
  H5Tlock(type);
  return type;
}

} // namespace

hid_t file_type(tensor_type type) {
  static const hid_t f16 = small_float(5, 10), bf16 = small_float(8, 7);
  switch (type) {
  case tensor_type::f32: return H5T_IEEE_F32LE;
  case tensor_type::f64: return H5T_IEEE_F64LE;
  case tensor_type::i8: return H5T_STD_I8LE;
  case tensor_type::i16: return H5T_STD_I16LE;
  case tensor_type::i32: return H5T_STD_I32LE;
  case tensor_type::i64: return H5T_STD_I64LE;
  case tensor_type::u8: return H5T_STD_U8LE;
  case tensor_type::u16: return H5T_STD_U16LE;
  case tensor_type::u32: return H5T_STD_U32LE;
  case tensor_type::u64: return H5T_STD_U64LE;
  case tensor_type::f16: return f16;
  case tensor_type::bf16: return bf16;
  }
  return H5I_INVALID_HID;
}

error checker::refuse(const std::string& what) const {
  H5Eclear2(H5E_DEFAULT);
  return error{errc::invalid_format, what, path_.string(), "it was not written by Flywheel; do not load it"};
}

result<handle> checker::open_file(std::uint64_t user_block) const {
  const handle access{H5Pcreate(H5P_FILE_ACCESS)};
  if (H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG) < 0)
    return failure("preparing to read", path_);
  handle file{H5Fopen(path_.c_str(), H5F_ACC_RDONLY, access.get())};
  if (!file.valid())
    return failure("opening the checkpoint", path_, errc::invalid_format);
  const handle creation{H5Fget_create_plist(file.get())};
  hsize_t block = 0;
  if (H5Pget_userblock(creation.get(), &block) < 0 || block != user_block)
    return refuse("the HDF5 part does not start behind the seal");
  return file;
}

status checker::require_hard_link(const handle& parent, const char* name) const {
  H5L_info_t link{};
  if (H5Lget_info(parent.get(), name, &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD)
    return refuse(std::string{"there is no object of its own named "} + name);
  return success();
}

result<handle> checker::open_group(const handle& parent, const char* name) const {
  FLYWHEEL_CHECK(require_hard_link(parent, name));
  handle group{H5Gopen2(parent.get(), name, H5P_DEFAULT)};
  if (!group.valid())
    return refuse(std::string{"there is no group "} + name);
  return group;
}

result<std::vector<std::string>> checker::names_in(const handle& group) const {
  H5G_info_t info{};
  if (H5Gget_info(group.get(), &info) < 0 || info.nlinks > tensors_max)
    return refuse("there is no group of tensors");
  std::vector<std::string> names;
  for (hsize_t i = 0; i < info.nlinks; ++i) {
    std::array<char, tensor_name_max + 2> name{};
    const auto size =
        H5Lget_name_by_idx(group.get(), ".", H5_INDEX_CRT_ORDER, H5_ITER_INC, i, name.data(), name.size(), H5P_DEFAULT);
    if (size <= 0 || static_cast<std::size_t>(size) > tensor_name_max || !is_tensor_name(name.data()))
      return refuse("tensor " + std::to_string(i) + " has no acceptable name");
    names.emplace_back(name.data());
  }
  return names;
}

result<handle> checker::open_dataset(const handle& parent, const char* name) const {
  const std::string where = std::string{"tensor "} + name;
  FLYWHEEL_CHECK(require_hard_link(parent, name));
  handle set{H5Dopen2(parent.get(), name, H5P_DEFAULT)};
  if (!set.valid())
    return refuse(where + " is not a dataset");
  const handle creation{H5Dget_create_plist(set.get())};
  if (H5Pget_layout(creation.get()) != H5D_CONTIGUOUS || H5Pget_external_count(creation.get()) != 0 ||
      H5Pget_nfilters(creation.get()) != 0)
    return refuse(where + " is stored in chunks, with filters or in another file");
  return set;
}

result<tensor_type> checker::type_of(const handle& set, const std::string& where) const {
  const handle type{H5Dget_type(set.get())};
  for (int i = 0; i < tensor_type_count; ++i) {
    if (H5Tequal(type.get(), file_type(static_cast<tensor_type>(i))) > 0)
      return static_cast<tensor_type>(i);
  }
  return refuse(where + " has an unknown element type");
}

result<std::vector<std::uint64_t>> checker::shape_of(const handle& set, const std::string& where) const {
  const handle space{H5Dget_space(set.get())};
  const auto kind = H5Sget_simple_extent_type(space.get());
  const int rank = H5Sget_simple_extent_ndims(space.get());
  std::array<hsize_t, tensor_rank_max> extents{};
  if ((kind != H5S_SIMPLE && kind != H5S_SCALAR) || rank < 0 || rank > static_cast<int>(tensor_rank_max) ||
      H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr) < 0)
    return refuse(where + " has an unusable shape");
  return std::vector<std::uint64_t>(extents.begin(), extents.begin() + rank);
}

result<std::uint64_t> checker::bytes_of(const handle& set, const std::string& where, std::uint64_t left) const {
  FLYWHEEL_TRY(const auto type, type_of(set, where));
  FLYWHEEL_TRY(const auto shape, shape_of(set, where));
  const auto needed = bytes_needed(shape, type);
  if (!needed || *needed > left)
    return refuse(where + " claims more bytes than the file has");
  if (*needed > 0 && (H5Dget_storage_size(set.get()) != *needed || H5Dget_offset(set.get()) == HADDR_UNDEF))
    return refuse(where + " has no storage of its size");
  return *needed;
}

result<std::uint64_t> checker::number(const handle& set, const char* name, const std::string& where) const {
  const handle attribute{H5Aopen(set.get(), name, H5P_DEFAULT)};
  const handle type{attribute.valid() ? H5Aget_type(attribute.get()) : H5I_INVALID_HID};
  const handle space{attribute.valid() ? H5Aget_space(attribute.get()) : H5I_INVALID_HID};
  std::uint64_t value = 0;
  if (!attribute.valid() || H5Tequal(type.get(), H5T_STD_U64LE) <= 0 ||
      H5Sget_simple_extent_type(space.get()) != H5S_SCALAR || H5Aread(attribute.get(), H5T_NATIVE_UINT64, &value) < 0)
    return refuse(where + " carries no number " + name);
  return value;
}

} // namespace flywheel::hdf5
