#include "checkpoints/hdf5_handle.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace flywheel::hdf5 {

namespace {

struct innermost {
  std::string text;
};

herr_t remember_first(unsigned n, const H5E_error2_t* e, void* data) {
  if (n == 0 && e->desc != nullptr)
    static_cast<innermost*>(data)->text = e->desc;
  return 0;
}

/// HDF5 hides the system's error number in its text: "... errno = 28, error message = ...".
int errno_in(const std::string& text) {
  constexpr std::string_view mark = "errno = ";
  const auto at = text.find(mark);
  return at == std::string::npos ? 0 : std::atoi(text.c_str() + at + mark.size());
}

} // namespace

handle::~handle() { close(); }

bool handle::close() noexcept {
  const hid_t id = std::exchange(id_, H5I_INVALID_HID);
  if (id < 0)
    return true;
  switch (H5Iget_type(id)) {
  case H5I_FILE: return H5Fclose(id) >= 0;
  case H5I_GROUP: return H5Gclose(id) >= 0;
  case H5I_DATASET: return H5Dclose(id) >= 0;
  case H5I_DATASPACE: return H5Sclose(id) >= 0;
  case H5I_DATATYPE: return H5Tclose(id) >= 0;
  case H5I_ATTR: return H5Aclose(id) >= 0;
  case H5I_GENPROP_LST: return H5Pclose(id) >= 0;
  default: return H5Idec_ref(id) >= 0;
  }
}

void be_quiet() noexcept { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

error failure(const std::string& what, const std::filesystem::path& path, errc code) {
  innermost first;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, remember_first, &first);
  H5Eclear2(H5E_DEFAULT);
  if (const int number = errno_in(first.text); number != 0)
    return error_from_errno(number == EFBIG ? ENOSPC : number, what, path.string());
  return error{code, what + (first.text.empty() ? "" : ": " + first.text), path.string()};
}

} // namespace flywheel::hdf5
