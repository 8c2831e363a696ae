#pragma once
// What a stranger's HDF5 file must not do to us, asked before anything is reserved or read. Included by *_hdf5.cpp only.
// We write hard links to contiguous, allocated datasets of plain types; everything else is refused: soft and external
// links (they lead out of the file), chunks and filters (decompression bombs), virtual datasets and external storage (other
// files' bytes), strings of variable length (pointers into a heap), huge or overflowing extents.

#include "checkpoints/hdf5_handle.hpp"
#include "checkpoints/tensor_slice.hpp"

namespace flywheel::hdf5 {

/// The type in the file: little-endian on every machine. Belongs to the library, never closed.
hid_t file_type(tensor_type type);

class checker {
public:
  explicit checker(const std::filesystem::path& path) : path_(path) {}

  error refuse(const std::string& what) const;
  /// Opens the file for reading; its HDF5 part must start behind `user_block` bytes.
  result<handle> open_file(std::uint64_t user_block) const;
  status require_hard_link(const handle& parent, const char* name) const;
  result<handle> open_group(const handle& parent, const char* name) const;
  /// Names in the order of creation, each acceptable as a tensor's.
  result<std::vector<std::string>> names_in(const handle& group) const;
  /// Hard link, dataset, contiguous, no filter, no external storage.
  result<handle> open_dataset(const handle& parent, const char* name) const;
  result<tensor_type> type_of(const handle& set, const std::string& where) const;
  result<std::vector<std::uint64_t>> shape_of(const handle& set, const std::string& where) const;
  /// Bytes of the dataset, if they are allocated and not more than `left`.
  result<std::uint64_t> bytes_of(const handle& set, const std::string& where, std::uint64_t left) const;
  /// A scalar attribute of type u64.
  result<std::uint64_t> number(const handle& set, const char* name, const std::string& where) const;

private:
  const std::filesystem::path& path_;
};

} // namespace flywheel::hdf5
