#include "checkpoints/training_state.hpp"

#include <array>
#include <cstring>

namespace flywheel {

namespace {

constexpr std::string_view position_name = "state.position", weight_prefix = "weight.";
constexpr std::size_t position_words = 6;

std::string joined(std::initializer_list<std::string_view> words) {
  std::string name;
  for (const auto w : words) {
    if (!name.empty())
      name += '.';
    name += w;
  }
  return name;
}

} // namespace

std::string weight_name(std::string_view parameter) { return joined({"weight", parameter}); }
std::string master_name(std::string_view parameter) { return joined({"master", parameter}); }
std::string slot_name(std::string_view optimiser, std::string_view slot, std::string_view parameter) { return joined({optimiser, slot, parameter}); }
std::string random_name(std::string_view stream) { return joined({"state.random", stream}); }

tensor_part position_part() { return tensor_part::whole(std::string{position_name}, tensor_type::u64, {position_words}); }

std::vector<std::byte> position_bytes(const training_position& p) {
  const std::array words{p.step, p.schedule_step, p.epoch, p.sample, p.data_seed, p.skipped};
  static_assert(words.size() == position_words);
  const auto bytes = std::as_bytes(std::span{words});
  return {bytes.begin(), bytes.end()};
}

result<training_position> read_position(const sharded_checkpoint& c) {
  const auto* stored = c.contents().find(position_name);
  if (stored == nullptr || stored->type != tensor_type::u64 || stored->shape != std::vector<std::uint64_t>{position_words})
    return error{errc::invalid_format, "the checkpoint does not say where its training stood (state.position)", c.contents().id.folder_name()};
  std::array<std::uint64_t, position_words> w{};
  const read_request request{std::string{position_name}, {0, w.size()}, std::as_writable_bytes(std::span{w})};
  FLYWHEEL_CHECK(c.read({&request, 1}));
  return training_position{w[0], w[1], w[2], w[3], w[4], w[5]};
}

status check_resumable(const checkpoint_manifest& m, std::string_view optimiser, std::span<const std::string_view> slots) {
  const auto lacks = [&](const std::string& what) {
    return error{errc::invalid_format, "no training can go on from here: " + what, m.id.folder_name(), "start from its weights instead"};
  };
  if (m.find(position_name) == nullptr)
    return lacks(std::string{position_name} + " is missing");
  for (const auto& t : m.tensors) {
    if (!t.name.starts_with(weight_prefix))
      continue;
    const auto parameter = std::string_view{t.name}.substr(weight_prefix.size());
    for (const auto slot : slots) {
      const auto name = slot_name(optimiser, slot, parameter);
      const auto* found = m.find(name);
      if (found == nullptr || found->shape != t.shape)
        return lacks(name + (found == nullptr ? " is missing" : " has another shape than " + t.name));
    }
  }
  return success();
}

} // namespace flywheel
