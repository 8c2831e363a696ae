#pragma once
// The header of a safetensors file: where each tensor lies. Pure; the format is Hugging Face's (8 bytes of length, a JSON
// object, then the tensors' bytes). What a stranger wrote is checked whole before anything is reserved by its numbers.

#include "checkpoints/tensor_slice.hpp"
#include "cluster/base/error.hpp"

#include <map>

namespace flywheel {

/// The reference reader's own limit on the JSON.
inline constexpr std::uint64_t safetensors_header_max = 100'000'000;

struct safetensors_entry {
  std::string name;
  tensor_type type = tensor_type::f32;
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0, end = 0; ///< of its bytes, from the end of the header on
  bool operator==(const safetensors_entry&) const = default;
};

struct safetensors_header {
  std::map<std::string, std::string> metadata;
  std::vector<safetensors_entry> tensors; ///< by place: each begins where the one before ended
  bool operator==(const safetensors_header&) const = default;
};

/// `text`: the JSON; `data_bytes`: what follows it in the file. Refused as invalid_format, with the reason: no JSON object, a
/// key twice, unknown keys, other types of values, shapes that overflow or do not fit their range, ranges that overlap, leave
/// holes or end elsewhere than the file. unsupported: element types we have not (F8, complex), names we could not store.
/// BOOL becomes u8.
result<safetensors_header> parse_safetensors_header(std::string_view text, std::uint64_t data_bytes);

/// The JSON for these tensors, padded with spaces so that the data begin at a multiple of 8. Sets their begin and end; puts
/// large elements first (as the reference writer does), so that every tensor is aligned to its elements.
std::string make_safetensors_header(safetensors_header& h);

} // namespace flywheel
