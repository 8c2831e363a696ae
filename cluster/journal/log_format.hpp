#pragma once
// SQLite ends its write-ahead log at the first frame that does not fit, for that is what a crash leaves. A flipped bit
// in the middle looks the same to it, and would drop every later transaction without a word. This looks behind it.

#include <filesystem>
#include <string>

namespace flywheel {

/// Reads a write-ahead log (https://www.sqlite.org/fileformat2.html, section 4). Empty if it ends as a crash may end it:
/// nothing after the last whole transaction but at most one that was being written. Else a sentence: a transaction that
/// was complete on the disk before the next one was begun (synchronous=FULL) is not whole any more.
/// Only while nobody writes the log. An absent or unreadable log has no problem that can be told here.
std::string log_problem(const std::filesystem::path& log);

} // namespace flywheel
