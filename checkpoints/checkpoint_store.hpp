#pragma once
// The checkpoints of one training in one folder: step-<12 digits>.h5, newest complete one wins.

#include "checkpoints/checkpoint.hpp"
#include "checkpoints/retention_policy.hpp"
#include "cluster/base/error.hpp"

#include <filesystem>
#include <optional>
#include <vector>

namespace flywheel {

/// What latest() found. `set_aside` names every damaged file; each now ends in ".damaged" and is never read again.
struct found_checkpoint {
  std::optional<checkpoint> newest;
  std::vector<error> set_aside;
};

/// One writer per folder (I6); readers may come and go.
class checkpoint_store {
public:
  /// Makes the folder and sweeps temporary files that a killed writer left. Call as the folder's only writer.
  static result<checkpoint_store> open(std::filesystem::path folder, retention_rule rule = {});
  /// Durable when it returns. Then old ones are removed by the rule; failing to remove is no error.
  status save(const checkpoint& c);
  /// The newest that is whole; damaged ones on the way are set aside and told. Errors only if the folder cannot be read.
  result<found_checkpoint> latest() const;
  /// Steps present, ascending.
  result<std::vector<std::uint64_t>> steps() const;
  std::filesystem::path path_of(std::uint64_t step) const;

private:
  std::filesystem::path folder_;
  retention_rule rule_;
};

} // namespace flywheel
