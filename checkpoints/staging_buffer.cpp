#include "checkpoints/staging_buffer.hpp"

#include "cluster/base/text.hpp"

#include <cerrno>
#include <sys/mman.h>

namespace flywheel {

result<staging_buffer> staging_buffer::create(std::uint64_t bytes) {
  staging_buffer b;
  b.size_ = static_cast<std::size_t>(round_up_to_io(bytes == 0 ? 1 : bytes));
  void* const at = ::mmap(nullptr, b.size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) {
    b.size_ = 0;
    return error{errc::out_of_memory, "staging memory of " + format_bytes(bytes), {}, "save smaller shards: use more ranks"};
  }
  b.data_ = static_cast<std::byte*>(at);
  constexpr std::size_t huge_page = std::size_t{2} << 20;
  if (b.size_ >= 2 * huge_page)
    ::madvise(at, b.size_, MADV_HUGEPAGE);
  for (std::size_t i = 0; i < b.size_; i += io_alignment)
    static_cast<volatile std::byte*>(b.data_)[i] = std::byte{0};
  return b;
}

staging_buffer::~staging_buffer() {
  if (data_ != nullptr)
    ::munmap(data_, size_);
}

} // namespace flywheel
