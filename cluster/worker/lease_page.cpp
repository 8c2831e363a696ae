#include "cluster/worker/lease_page.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <poll.h>
#include <string_view>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

namespace flywheel {

namespace {

constexpr std::size_t page_bytes = sizeof(std::atomic<std::int64_t>);
static_assert(std::atomic<std::int64_t>::is_always_lock_free, "processes share it");
constexpr int exit_lease_over = 71;
constexpr std::int64_t look_every_ms = 50;

std::atomic<std::int64_t>* map(int fd, int protection) {
  void* at = ::mmap(nullptr, page_bytes, protection, MAP_SHARED, fd, 0);
  return at == MAP_FAILED ? nullptr : static_cast<std::atomic<std::int64_t>*>(at);
}

} // namespace

result<std::shared_ptr<lease_page>> lease_page::make() {
  std::shared_ptr<lease_page> p{new lease_page};
  p->fd_ = ::memfd_create("flywheel-lease", MFD_CLOEXEC);
  if (p->fd_ < 0 || ::ftruncate(p->fd_, static_cast<off_t>(page_bytes)) != 0)
    return error_from_errno(errno, "making the page that tells workers of the lease");
  p->word_ = map(p->fd_, PROT_READ | PROT_WRITE);
  if (p->word_ == nullptr)
    return error_from_errno(errno, "mapping the page that tells workers of the lease");
  return p; // a new file is zero: without an end
}

lease_page::~lease_page() {
  if (word_ != nullptr)
    ::munmap(static_cast<void*>(word_), page_bytes);
  if (fd_ >= 0)
    ::close(fd_);
}

result<std::optional<lease_view>> lease_view::from_environment() {
  const char* text = std::getenv(lease_page_variable);
  if (text == nullptr)
    return std::optional<lease_view>{};
  int fd = -1;
  const std::string_view number{text};
  const auto* word = std::from_chars(number.data(), number.data() + number.size(), fd).ec == std::errc{} ? map(fd, PROT_READ) : nullptr;
  if (word == nullptr)
    return error{errc::io_failed, "the page of the node's lease cannot be mapped", std::string{number}};
  return std::optional{lease_view{word}};
}

void end_with_lease() {
  const char* text = std::getenv(lease_page_variable);
  if (text == nullptr)
    return;
  int fd = -1;
  const std::string_view number{text};
  if (std::from_chars(number.data(), number.data() + number.size(), fd).ec != std::errc{})
    return;
  const auto* end = map(fd, PROT_READ);
  if (end == nullptr) { // told to keep to a lease and unable to: better not to work at all
    std::fprintf(stderr, "the page of the node's lease cannot be mapped\n");
    ::_exit(exit_lease_over);
  }
  std::thread{[end] {
    for (;;) {
      const std::int64_t until = end->load(std::memory_order_acquire), now = system_clock().mono().ns;
      if (until != 0 && now >= until)
        ::_exit(exit_lease_over);
      const auto left_ms = until == 0 ? look_every_ms : (until - now) / 1'000'000 + 1;
      ::poll(nullptr, 0, static_cast<int>(std::min(left_ms, look_every_ms)));
    }
  }}.detach();
}

} // namespace flywheel
