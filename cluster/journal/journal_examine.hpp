#pragma once
// verify_journal for those who know whether a writer lives.

#include "cluster/journal/journal.hpp"

namespace flywheel {

/// `log_is_still`: nobody writes the log, so that its end may be judged too.
result<journal_verdict> examine_journal(const std::filesystem::path& folder, const std::function<bool()>& log_is_still);

} // namespace flywheel
