#pragma once
// The folder in which a gang meets: a fence against older generations, and small values that ranks leave for each other.
// Files appear whole (temporary file, then link), so a reader never sees half of one. Nothing here is durable: a gang does
// not outlive its hosts. Any thread.

#include "cluster/base/clock.hpp"
#include "cluster/base/error.hpp"
#include "nccl/descriptor.hpp"
#include "nccl/gang_record.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace flywheel::nccl {

/// Raises the folder's fence to this record's generation. stale_epoch if it is higher already.
status enter_generation(const gang_record& record);

/// A value under `name` (is_valid_name); the first writer wins. Returns what is there afterwards, whoever wrote it.
result<std::string> put_first(const std::filesystem::path& folder, std::string_view name, std::string_view value);
/// Nothing if it is not there. Values above 64 KiB are refused.
result<std::optional<std::string>> look_up(const std::filesystem::path& folder, std::string_view name);
/// Waits until it is there; timed_out naming it.
result<std::string> await_value(const std::filesystem::path& folder, std::string_view name, mono_time deadline);

/// Waits until something is created in or renamed into `folder`, or 50 ms are over, whichever comes first (file systems of other
/// hosts send no events), but not beyond the deadline.
class folder_watch {
public:
  static result<folder_watch> on(const std::filesystem::path& folder);
  void wait(mono_time deadline) const;

private:
  explicit folder_watch(descriptor events) : events_(std::move(events)) {}
  descriptor events_;
};

} // namespace flywheel::nccl
