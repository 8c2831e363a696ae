#pragma once
// The one gate to HDF5's C library: owned identifiers and translated errors. Included by *_hdf5.cpp files only.

#include "cluster/base/error.hpp"

#include <filesystem>
#include <hdf5.h>
#include <string>
#include <utility>

namespace flywheel::hdf5 {

/// Owns one identifier of any kind. Close a file explicitly with close() to see its error.
class handle {
public:
  handle() = default;
  explicit handle(hid_t id) noexcept : id_(id) {}
  handle(handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)) {}
  handle& operator=(handle&& other) noexcept {
    std::swap(id_, other.id_);
    return *this;
  }
  ~handle();
  hid_t get() const noexcept { return id_; }
  bool valid() const noexcept { return id_ >= 0; }
  /// False if HDF5 says that closing failed.
  bool close() noexcept;

private:
  hid_t id_ = H5I_INVALID_HID;
};

/// HDF5 prints its errors on its own unless told otherwise, per thread: call it at the start of each entry point.
void be_quiet() noexcept;
/// The error that HDF5 has on this thread's stack: `what` failed on `path`. `code` is used unless errno is on the stack.
error failure(const std::string& what, const std::filesystem::path& path, errc code = errc::io_failed);

} // namespace flywheel::hdf5
