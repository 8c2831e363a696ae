#include "cluster/base/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace flywheel {

void assertion_failed(const char* expression, const char* file, int line, const char* why) noexcept {
  std::fprintf(stderr, "flywheel: bug: %s:%d: %s (%s)\n", file, line, why, expression);
  std::abort();
}

} // namespace flywheel
