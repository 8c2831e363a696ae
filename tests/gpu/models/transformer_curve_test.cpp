// 200 steps of training beside PyTorch's, from the same weights, on the same data (make_loss_curve.py says how both are
// made). The committed curve is always compared; PyTorch itself is asked where a python3 has it.

#include "gpu/kernels/adamw.hpp"
#include "gpu/models/transformer.hpp"
#include "gpu/schedule.hpp"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <string>
#include <vector>

using namespace flywheel::gpu;

namespace {

constexpr std::size_t steps = 200, sequences = 6, time_steps = 21;
constexpr std::uint32_t vocabulary = 53;
constexpr double bound = 1e-3;

std::uint64_t hashed(std::uint64_t n) {
  std::uint64_t z = n + 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

std::vector<double> curve(const transformer_shape& shape) {
  transformer<float> network{shape, 0};
  for (const auto& b : network.blocks())
    for (std::size_t i = b.offset; i < b.offset + b.size(); ++i)
      network.parameters()[i] = static_cast<float>((static_cast<double>(hashed(i)) / 0x1p64 - 0.5) * 0.16 +
                                                   (b.name.ends_with("gain") ? 1.0 : 0.0));
  const std::size_t size = network.parameters().size();
  host_array<float> gradient{size}, moment1{size}, moment2{size};
  transformer_workspace<float> work;
  const cosine_schedule rate{0.003, 0.1, 20, steps};
  std::vector<double> losses;
  for (std::size_t step = 0; step < steps; ++step) {
    std::vector<std::uint32_t> token, next;
    for (std::size_t b = 0; b < sequences; ++b) {
      auto now = static_cast<std::uint32_t>(hashed(1000003 * step + b) % vocabulary);
      for (std::size_t t = 0; t < time_steps; ++t) {
        token.push_back(now);
        now = static_cast<std::uint32_t>((3 * now + 7 * (hashed((step * sequences + b) * 101 + t) % 4) + 1) % vocabulary);
        next.push_back(now);
      }
    }
    losses.push_back(network.backward({token, next, sequences, time_steps}, work, gradient.span()));
    clip_gradient(gradient.span(), 1.0);
    for (const auto& b : network.blocks()) {
      const auto part = [&](std::span<float> of) { return of.subspan(b.offset, b.size()); };
      adamw<float>(part(network.parameters()), part(gradient.span()), part(moment1.span()), part(moment2.span()), rate.at(step),
                   b.decays ? 0.1 : 0.0, step + 1, {0.9, 0.95, 1e-8});
    }
  }
  return losses;
}

void expect_curves(std::istream& from) {
  transformer_shape llama;
  llama.vocabulary = vocabulary, llama.context = 24, llama.layers = 2, llama.width = 48, llama.heads = 6, llama.kv_heads = 2;
  llama.hidden = 80, llama.tied = false;
  const auto of_llama = curve(llama), of_gpt2 = curve(transformer_shape::gpt2(vocabulary, 24, 2, 48, 4));
  std::size_t step = 0;
  for (std::string line; std::getline(from, line);) {
    if (line.starts_with("#"))
      continue;
    std::istringstream values{line};
    double a = 0, b = 0;
    ASSERT_TRUE(values >> a >> b) << line;
    ASSERT_LT(step, steps);
    EXPECT_NEAR(of_llama[step], a, bound) << "llama, step " << step;
    EXPECT_NEAR(of_gpt2[step], b, bound) << "gpt2, step " << step;
    ++step;
  }
  EXPECT_EQ(step, steps);
  EXPECT_LT(of_llama.back(), of_llama.front() - 1.5); // it learns
}

const std::string folder = std::string{FLYWHEEL_SOURCE_DIR} + "/tests/gpu/models/";

} // namespace

TEST(transformer_curve, of_200_steps_is_pytorchs_as_committed) {
  std::ifstream file{folder + "torch_loss_curve.txt"};
  ASSERT_TRUE(file.is_open());
  expect_curves(file);
}

TEST(transformer_curve, of_200_steps_is_pytorchs_as_it_runs_here) {
  const char* chosen = std::getenv("FLYWHEEL_TORCH_PYTHON");
  const std::string python = chosen != nullptr ? chosen : "python3";
  if (std::system((python + " -c 'import torch' >/dev/null 2>&1").c_str()) != 0)
    GTEST_SKIP() << "PyTorch is missing (Debian: python3-torch, or set FLYWHEEL_TORCH_PYTHON): only the committed curve was compared";
  std::istringstream answer;
  std::string text;
  FILE* pipe = ::popen((python + " '" + folder + "make_loss_curve.py'").c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  for (char buffer[4096]; std::fgets(buffer, sizeof buffer, pipe) != nullptr;)
    text += buffer;
  ASSERT_EQ(::pclose(pipe), 0);
  answer.str(text);
  expect_curves(answer);
}
