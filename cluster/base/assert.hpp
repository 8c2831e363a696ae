#pragma once
/// A programmer's mistake stops the process, in every build, saying where. What the world does is an error, not this.

namespace flywheel {
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line, const char* why) noexcept;
} // namespace flywheel

#define FLYWHEEL_ASSERT(expression, why)                                                                \
  (static_cast<bool>(expression) ? static_cast<void>(0)                                                 \
                                 : ::flywheel::assertion_failed(#expression, __FILE__, __LINE__, why))
