#pragma once
// Which backend a gang uses, from where its ranks are. Pure; the answer carries its reason.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace flywheel::nccl {

enum class backend : std::uint8_t {
  shared_memory, ///< ranks of one host through shared memory
  gloo,          ///< TCP between hosts
  nccl,          ///< GPUs
};
std::string_view name_of(backend b) noexcept;
std::optional<backend> backend_from_name(std::string_view name) noexcept;

/// Where one rank computes. `gpu` is the device's number on its host; -1: the CPU.
struct rank_place {
  std::string host;
  int gpu = -1;
  bool operator==(const rank_place&) const = default;
};

struct backend_choice {
  backend use = backend::shared_memory;
  std::string reason;
};

/// One GPU for each rank: NCCL. Otherwise through host memory: shared memory on one host, Gloo between hosts. Ranks without
/// a GPU, or two ranks on one GPU (which NCCL refuses), are named in the reason.
backend_choice choose_backend(std::span<const rank_place> ranks);

} // namespace flywheel::nccl
