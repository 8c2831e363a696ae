#pragma once
// A state that several ranks hold in slices, with bytes that follow from the step: whoever reads can tell what is right.

#include "checkpoints/checkpoint_saver.hpp"
#include "cluster/base/random.hpp"

namespace flywheel::test {

struct sample_tensor {
  std::string name;
  tensor_type type;
  std::vector<std::uint64_t> shape;
};

/// Odd sizes, every 16-bit type, a scalar, nothing at all, and one of several blocks.
inline std::vector<sample_tensor> sample_tensors(std::uint64_t large = 700'001) {
  return {{"weight.embedding", tensor_type::f32, {large}}, {"weight.head", tensor_type::bf16, {37, 11}},
          {"adamw.m.head", tensor_type::f32, {37, 11}},    {"half", tensor_type::f16, {5}},
          {"scalar", tensor_type::f64, {}},                {"empty", tensor_type::f32, {0, 4}},
          {"random", tensor_type::u64, {4}},               {"flags", tensor_type::i8, {3, 3, 3}}};
}

/// The whole tensor's bytes at a step. Floats of 16 bits are any bits: nobody computes with them here.
inline std::vector<std::byte> bytes_at(const sample_tensor& t, std::uint64_t step) {
  std::vector<std::byte> bytes(bytes_needed(t.shape, t.type).value());
  auto random = random_source::derive(step, t.name);
  for (std::size_t i = 0; i < bytes.size(); i += 8) {
    const auto word = random.next();
    std::memcpy(bytes.data() + i, &word, std::min<std::size_t>(8, bytes.size() - i));
  }
  return bytes;
}

/// Even shares of every tensor; what has fewer elements than ranks goes to the first ranks.
inline std::vector<tensor_part> parts_of_rank(const std::vector<sample_tensor>& tensors, std::uint32_t rank, std::uint32_t ranks) {
  std::vector<tensor_part> parts;
  for (const auto& t : tensors)
    parts.push_back({t.name, t.type, t.shape, even_share(elements_of(t.shape).value(), rank, ranks)});
  return parts;
}

/// The bytes of a rank's parts at a step.
inline std::vector<std::vector<std::byte>> state_of_rank(const std::vector<sample_tensor>& tensors, std::uint32_t rank, std::uint32_t ranks,
                                                         std::uint64_t step) {
  std::vector<std::vector<std::byte>> state;
  for (const auto& p : parts_of_rank(tensors, rank, ranks)) {
    const auto& t = *std::find_if(tensors.begin(), tensors.end(), [&](const auto& x) { return x.name == p.name; });
    const auto all = bytes_at(t, step);
    const auto size = size_of(p.type);
    state.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(p.range.begin * size), all.begin() + static_cast<std::ptrdiff_t>(p.range.end * size));
  }
  return state;
}

inline std::vector<std::span<const std::byte>> spans_of(const std::vector<std::vector<std::byte>>& state) {
  return {state.begin(), state.end()};
}

/// All ranks one after the other in this process: each saves its shard and waits.
inline status save_sharded(const sharded_store& store, const std::vector<sample_tensor>& tensors, std::uint64_t step, std::uint32_t ranks,
                           const std::string& attributes = "{}") {
  for (std::uint32_t rank = 0; rank < ranks; ++rank) {
    saver_options o;
    o.rank = rank;
    o.ranks = ranks;
    FLYWHEEL_TRY(const auto saver, checkpoint_saver::start(store, parts_of_rank(tensors, rank, ranks), o));
    FLYWHEEL_CHECK(saver->save(step, attributes, spans_of(state_of_rank(tensors, rank, ranks, step))));
    FLYWHEEL_CHECK(saver->wait());
  }
  return success();
}

/// Empty if everything reads back as it was at the checkpoint's step; else what differs.
inline std::string differences(const sharded_checkpoint& c, const std::vector<sample_tensor>& tensors) {
  const auto all = c.read_all();
  if (!all)
    return all.error().to_string();
  for (const auto& t : tensors) {
    const auto* found = all->find(t.name, t.type);
    if (found == nullptr || found->shape != t.shape || found->bytes != bytes_at(t, c.contents().id.step))
      return t.name + " came back changed";
  }
  return all->tensors.size() == tensors.size() ? "" : "there are other tensors, too";
}

} // namespace flywheel::test
