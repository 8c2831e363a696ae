#pragma once
// A checkpoint with something of everything, and a folder that cleans up after itself.

#include "checkpoints/checkpoint.hpp"
#include "cluster/base/random.hpp"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdlib.h>

namespace flywheel::test {

class scratch_folder {
public:
  scratch_folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "flywheel-checkpoints-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~scratch_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  scratch_folder(const scratch_folder&) = delete;
  scratch_folder& operator=(const scratch_folder&) = delete;
  std::filesystem::path path() const { return path_; }

private:
  std::filesystem::path path_;
};

inline checkpoint sample_checkpoint(std::uint64_t step, std::uint64_t seed, std::size_t floats = 300) {
  random_source random{seed};
  checkpoint c;
  c.step = step;
  c.attributes = R"({"seed": )" + std::to_string(seed) + "}";
  std::vector<float> weights(floats);
  for (auto& w : weights)
    w = static_cast<float>(random.normal());
  c.tensors.push_back(tensor::of<float>("weights", weights, {floats / 3, 3}));
  c.tensors.push_back(tensor::of("doubles", std::vector<double>{0.1, -1e300, random.uniform()}));
  c.tensors.push_back(tensor::of("i32", std::vector<std::int32_t>{-1, 2}));
  c.tensors.push_back(tensor::of("i64", std::vector<std::int64_t>{-1, 1ll << 60}));
  c.tensors.push_back(tensor::of("a.u8-bytes", std::vector<std::uint8_t>{0, 255, 7}));
  c.tensors.push_back(tensor::of("u16", std::vector<std::uint16_t>{65535}));
  c.tensors.push_back(tensor::of("u32", std::vector<std::uint32_t>{4'000'000'000u}));
  c.tensors.push_back(tensor::of("u64", std::vector<std::uint64_t>{~0ull}));
  c.tensors.push_back(tensor::of("i8", std::vector<std::int8_t>{-128, 127}));
  c.tensors.push_back(tensor::of("i16", std::vector<std::int16_t>{-32768, 5}));
  c.tensors.push_back(tensor::of("f16", std::vector<f16_bits>{f16_bits{0x3c00}, f16_bits{0x7e01}})); // 1 and a NaN
  c.tensors.push_back(tensor::of("bf16", std::vector<bf16_bits>{bf16_bits{0x3f80}, bf16_bits{0x7fc1}}));
  c.tensors.push_back(tensor::of("empty", std::vector<float>{}));
  c.tensors.push_back({"scalar", tensor_type::f32, {}, std::vector<std::byte>(4)});
  c.tensors.push_back(tensor::of<float>("cube", std::span<const float>{weights}.first(24), {2, 3, 4}));
  return c;
}

inline std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}
inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

} // namespace flywheel::test
