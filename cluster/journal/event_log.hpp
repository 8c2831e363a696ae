#pragma once
// The journal as those see it who write to it and look things up in it: on the head the journal itself, on other nodes a line to it.

#include "cluster/base/error.hpp"
#include "cluster/journal/event.hpp"

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace flywheel {

struct journal_filter {
  std::string goal;                ///< empty: all
  std::string step;
  std::string subject;
  std::string key;
  std::vector<event_kind> kinds;   ///< empty: all
  std::uint64_t after_seq = 0;     ///< only events with a greater seq
  std::uint64_t limit = 0;         ///< 0: no limit
  bool newest_first = false;
};

/// Any thread; every call but append_async blocks until it is answered.
class event_log {
public:
  event_log() = default;
  event_log(const event_log&) = delete;
  event_log& operator=(const event_log&) = delete;
  virtual ~event_log() = default;

  /// Durable (fsynced) when it returns. All drafts land together, in order, or none. Returns the seq of the last one.
  virtual result<std::uint64_t> append(std::vector<event_draft> drafts) = 0;
  result<std::uint64_t> append(event_draft draft) {
    std::vector<event_draft> one;
    one.push_back(std::move(draft));
    return append(std::move(one));
  }
  /// As append; `done` is called once, from a thread of the log's, and must not block or call append.
  virtual void append_async(std::vector<event_draft> drafts, std::function<void(result<std::uint64_t>)> done) = 0;
  /// Everything that matches; reads beside the writers.
  virtual result<std::vector<event>> read(const journal_filter& filter) const = 0;
  /// The same, one by one, in seq order (or newest first) until it returns false. Holds all of them in memory where the log cannot do better.
  virtual status visit(const journal_filter& filter, const std::function<bool(const event&)>& one) const {
    FLYWHEEL_TRY(const auto all, read(filter));
    for (const auto& e : all)
      if (!one(e))
        break;
    return success();
  }
  /// 0 if the log is empty or cannot be asked.
  virtual std::uint64_t last_seq() const noexcept = 0;
};

} // namespace flywheel
