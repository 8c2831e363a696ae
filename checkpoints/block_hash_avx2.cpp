#include "checkpoints/block_hash_avx2.hpp"

// Compiled with -mavx2 (checkpoints/CMakeLists.txt). Nothing inline from elsewhere may be used here: the linker keeps one copy
// of such a function for the whole program, and it could be this one.
#ifdef __AVX2__
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace flywheel {

std::uint64_t block_hash_avx2(const void* bytes, std::size_t size) noexcept { return XXH3_64bits(bytes, size); }

} // namespace flywheel
#endif
