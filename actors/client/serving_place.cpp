#include "actors/client/serving_place.hpp"

#include "actors/protocol/serving_record.hpp"
#include "cluster/journal/state_directory.hpp"

namespace flywheel {

std::string serving_url(const std::filesystem::path& state, const std::string& model) {
  if (owner_pid(state) == 0)
    return {};
  const auto record = read_serving(state_layout{state}, model);
  return record ? *record : std::string{};
}

} // namespace flywheel
