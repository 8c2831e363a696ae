#pragma once
// How much memory a piece of work took at most. The same bound holds in every preset: under AddressSanitizer, whose padding
// and quarantine fill the resident memory, the bytes that are allocated and not freed are counted instead.

#include <sys/resource.h>

#if defined(__SANITIZE_ADDRESS__)
#include <atomic>
#include <cstddef>

// Of the sanitizers' allocator interface, whose header Debian's GCC does not bring.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void*, std::size_t),
                                                         void (*)(const volatile void*));
extern "C" std::size_t __sanitizer_get_allocated_size(const volatile void*);
#endif

namespace flywheel::test {

#if defined(__SANITIZE_ADDRESS__)

class peak_memory {
public:
  peak_memory() {
    [[maybe_unused]] static const int installed = __sanitizer_install_malloc_and_free_hooks(allocated, freed);
    before_ = live.load();
    peak.store(before_);
  }
  /// KiB at the highest moment since construction, above what there was then. One at a time.
  long kib() const { return (peak.load() - before_) / 1024; }

private:
  static void allocated(const volatile void*, std::size_t n) {
    const long now = live.fetch_add(static_cast<long>(n)) + static_cast<long>(n);
    for (long old = peak.load(); old < now && !peak.compare_exchange_weak(old, now);)
      ;
  }
  static void freed(const volatile void* p) {
    if (p != nullptr)
      live.fetch_sub(static_cast<long>(__sanitizer_get_allocated_size(p)));
  }
  inline static std::atomic<long> live{0}, peak{0};
  long before_ = 0;
};

#else

class peak_memory {
public:
  peak_memory() : before_(resident_max()) {}
  /// KiB by which the process's highest resident memory has grown since construction.
  long kib() const { return resident_max() - before_; }

private:
  static long resident_max() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
  }
  long before_;
};

#endif

} // namespace flywheel::test
