#pragma once
// Held-out rows as customers: each is sent to a model server as a request, its label later as feedback.

#include "cluster/dataset/table.hpp"
#include "models/task.hpp"

#include <cstdint>
#include <functional>
#include <string>

namespace flywheel {

struct replay_counts {
  std::uint64_t sent = 0;     ///< answered with 200
  std::uint64_t failed = 0;   ///< answered with anything else
};

/// Sends `count` rows of `held_out` starting at row `offset` (modulo its rows; a later pass gets other request ids) to
/// `url`, POST /predict, then their labels, POST /feedback. Errors: unreachable or timed_out if nobody answers.
result<replay_counts> replay_rows(const table& held_out, const learning_task& task, const std::string& url,
                                  std::uint64_t offset, std::uint64_t count);

using traffic_sender = std::function<result<replay_counts>(const table& held_out, const learning_task& task, const std::string& url,
                                                           std::uint64_t offset, std::uint64_t count)>;

} // namespace flywheel
