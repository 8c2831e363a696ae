// Every operation and its gradient beside PyTorch's in double, on random shapes, odd ones among them; skipped by name where
// no python3 has PyTorch. Bounds are relative to the largest value: float's rounding (6e-8) times what sums of this length add.

#include "gpu/kernels/activation.hpp"
#include "gpu/kernels/adamw.hpp"
#include "gpu/kernels/attention.hpp"
#include "gpu/kernels/bf16.hpp"
#include "gpu/kernels/embedding.hpp"
#include "gpu/kernels/layer_norm.hpp"
#include "gpu/kernels/linear.hpp"
#include "gpu/kernels/loss.hpp"
#include "gpu/kernels/piecewise_linear.hpp"
#include "gpu/kernels/rms_norm.hpp"
#include "gpu/kernels/rotary.hpp"
#include "gpu/kernels/sgd.hpp"
#include "gpu/kernels/swiglu.hpp"
#include "tests/gpu/finite_differences.hpp"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

using namespace flywheel::gpu;
using namespace flywheel::gpu::test;

namespace {

using values = std::vector<float>;
using view = matrix_view<float>;
using read = matrix_view<const float>;

/// What was computed here, and within which bound PyTorch must agree.
struct computed {
  std::string op;
  double bound = 0;
  std::vector<std::pair<std::string, values>> arrays; ///< "our_..." is an answer, the others are what it was made from
};

class all_cases {
public:
  all_cases() {
    for (int round = 0; round < 4; ++round)
      one_of_each();
  }
  const std::vector<computed>& cases() const { return cases_; }

private:
  std::size_t some(std::size_t least, std::size_t most) { return least + random_.below(most - least + 1); }
  values numbers(std::size_t n, double scale = 1) {
    const auto x = random_values(n, ++seed_, scale);
    return {x.begin(), x.end()};
  }
  static std::string key(const char* name, std::size_t value) { return std::string{" "} + name + "=" + std::to_string(value); }

  void one_of_each() {
    const std::size_t rows = some(1, 70), width = some(1, 131), out = some(1, 90);
    {
      const auto x = numbers(rows * width), w = numbers(width * out), b = numbers(out), dy = numbers(rows * out);
      values y(rows * out), dx(x.size()), dw(w.size()), db(out);
      linear_forward<float>({x.data(), rows, width}, {w.data(), width, out}, b, {y.data(), rows, out});
      linear_backward<float>({dy.data(), rows, out}, {x.data(), rows, width}, {w.data(), width, out}, {dx.data(), rows, width}, {dw.data(), width, out}, db);
      cases_.push_back({"linear" + key("rows", rows) + key("in", width) + key("out", out), 2e-6,
                        {{"x", x}, {"w", w}, {"b", b}, {"dy", dy}, {"our_y", y}, {"our_dx", dx}, {"our_dw", dw}, {"our_db", db}}});
    }
    {
      const auto x = numbers(rows * width, 3), gain = numbers(width), shift = numbers(width), dy = numbers(rows * width);
      values y(x.size()), dx(x.size()), dgain(width), dshift(width), mean(rows), inverse(rows);
      rms_norm_forward<float>({x.data(), rows, width}, gain, {y.data(), rows, width}, inverse);
      rms_norm_backward<float>({dy.data(), rows, width}, {x.data(), rows, width}, gain, inverse, {dx.data(), rows, width}, dgain);
      cases_.push_back({"rms_norm leaves=gain" + key("rows", rows), 4e-6, {{"x", x}, {"gain", gain}, {"dy", dy}, {"our_y", y}, {"our_dx", dx}, {"our_dgain", dgain}}});
      if (width > 1) { // a row of one number is its own mean
        std::ranges::fill(dgain, 0.0f);
        layer_norm_forward<float>({x.data(), rows, width}, gain, shift, {y.data(), rows, width}, mean, inverse);
        layer_norm_backward<float>({dy.data(), rows, width}, {x.data(), rows, width}, gain, mean, inverse, {dx.data(), rows, width}, dgain, dshift);
        cases_.push_back({"layer_norm leaves=gain,shift" + key("rows", rows), 1e-5,
                          {{"x", x}, {"gain", gain}, {"shift", shift}, {"dy", dy}, {"our_y", y}, {"our_dx", dx}, {"our_dgain", dgain}, {"our_dshift", dshift}}});
      }
    }
    for (const auto f : {activation::gelu, activation::relu}) {
      const auto x = numbers(rows * width, 3), dy = numbers(rows * width);
      values y(x.size()), dx(x.size());
      activation_forward<float>(f, {x.data(), rows, width}, {y.data(), rows, width});
      activation_backward<float>(f, {dy.data(), rows, width}, {x.data(), rows, width}, {dx.data(), rows, width});
      cases_.push_back({(f == activation::gelu ? "gelu" : "relu") + key("rows", rows), 2e-6, {{"x", x}, {"dy", dy}, {"our_y", y}, {"our_dx", dx}}});
    }
    {
      const auto x = numbers(rows * 2 * width, 3), dy = numbers(rows * width);
      values y(dy.size()), dx = x;
      swiglu_forward<float>({x.data(), rows, 2 * width}, {y.data(), rows, width});
      swiglu_backward<float>({dy.data(), rows, width}, {dx.data(), rows, 2 * width});
      cases_.push_back({"swiglu" + key("rows", rows), 2e-6, {{"x", x}, {"dy", dy}, {"our_y", y}, {"our_dx", dx}}});
    }
    sequence_cases();
    {
      const double smoothing = 0.1 * static_cast<double>(some(0, 2));
      const auto x = numbers(rows * (width + 1), 4);
      values dx = x, label;
      std::vector<std::uint32_t> wanted;
      for (std::size_t i = 0; i < rows; ++i)
        label.push_back(static_cast<float>(wanted.emplace_back(static_cast<std::uint32_t>(some(0, width)))));
      const auto loss = static_cast<float>(softmax_cross_entropy<float>({dx.data(), rows, width + 1}, wanted, smoothing));
      cases_.push_back({"cross_entropy smoothing=" + std::to_string(smoothing) + key("rows", rows), 4e-6, {{"x", x}, {"label", label}, {"our_loss", {loss}}, {"our_dx", dx}}});
    }
    {
      const std::size_t vocabulary = some(1, 40);
      const auto table = numbers(vocabulary * width), dy = numbers(rows * width);
      values y(dy.size()), dtable(table.size()), index;
      std::vector<std::uint32_t> which;
      for (std::size_t i = 0; i < rows; ++i)
        index.push_back(static_cast<float>(which.emplace_back(static_cast<std::uint32_t>(some(0, vocabulary - 1)))));
      embedding_forward<float>(which, {table.data(), vocabulary, width}, {y.data(), rows, width});
      embedding_backward<float>(which, {dy.data(), rows, width}, {dtable.data(), vocabulary, width});
      cases_.push_back({"embedding" + key("vocabulary", vocabulary), 2e-6, {{"table", table}, {"index", index}, {"dy", dy}, {"our_y", y}, {"our_dtable", dtable}}});
    }
    optimiser_cases();
    piecewise_case(rows, width);
    {
      const auto x = numbers(rows * width, 100);
      values y(x.size());
      for (std::size_t i = 0; i < x.size(); ++i)
        y[i] = to_float(to_bf16(x[i]));
      cases_.push_back({"bf16", 1e-30, {{"x", x}, {"our_y", y}}}); // exactly
    }
  }

  void sequence_cases() {
    const std::size_t kv_heads = some(1, 3), heads = kv_heads * some(1, 3), head_width = 2 * some(1, 33), sequences = some(1, 3), time = some(1, 70);
    const std::size_t rows = sequences * time, width = heads * head_width, kv = kv_heads * head_width;
    const auto x = numbers(rows * width), dy = numbers(rows * width);
    values y = x, dx = dy;
    const rotary_table<float> angles{time, head_width};
    rotary<float>({y.data(), rows, width}, time, angles, turn::forward);
    rotary<float>({dx.data(), rows, width}, time, angles, turn::back);
    cases_.push_back({"rotary" + key("rows", rows) + key("time", time) + key("head_width", head_width), 2e-6, {{"x", x}, {"dy", dy}, {"our_y", y}, {"our_dx", dx}}});

    const attention_shape shape{sequences, time, heads, kv_heads, head_width};
    const auto q = numbers(rows * width), k = numbers(rows * kv), v = numbers(rows * kv), dout = numbers(rows * width);
    values out(q.size()), sums(heads * rows), dq(q.size()), dk(k.size()), dv(v.size()), work(heads * rows);
    const read rq{q.data(), rows, width}, rk{k.data(), rows, kv}, rv{v.data(), rows, kv}, rdout{dout.data(), rows, width};
    attention_forward<float>(shape, rq, rk, rv, {out.data(), rows, width}, {sums.data(), heads, rows});
    attention_backward<float>(shape, rdout, rq, rk, rv, {out.data(), rows, width}, {sums.data(), heads, rows}, {dq.data(), rows, width},
                              {dk.data(), rows, kv}, {dv.data(), rows, kv}, {work.data(), heads, rows});
    cases_.push_back({"attention" + key("sequences", sequences) + key("time", time) + key("heads", heads) + key("kv_heads", kv_heads) + key("head_width", head_width), 1e-5,
                      {{"q", q}, {"k", k}, {"v", v}, {"dout", dout}, {"our_out", out}, {"our_dq", dq}, {"our_dk", dk}, {"our_dv", dv}}});
  }

  void optimiser_cases() {
    const std::size_t size = some(1, 3000);
    const auto w = numbers(size);
    const std::vector<values> g{numbers(size), numbers(size), numbers(size)};
    {
      const double norm_max = 3;
      values after = w, m(size), v(size);
      for (std::uint64_t step = 1; step <= 3; ++step) {
        values clipped = g[step - 1];
        clip_gradient<float>(clipped, norm_max);
        adamw<float>(after, clipped, m, v, 0.03, 0.1, step);
      }
      cases_.push_back({"adamw rate=0.03 decay=0.1 norm_max=3", 2e-6, {{"w", w}, {"g1", g[0]}, {"g2", g[1]}, {"g3", g[2]}, {"our_after", after}}});
    }
    for (const bool nesterov : {false, true}) {
      values after = w, velocity(size);
      for (const auto& gradient : g)
        sgd<float>(after, gradient, velocity, 0.03, 0, {0.9, nesterov});
      cases_.push_back({"sgd rate=0.03" + key("nesterov", nesterov), 2e-6, {{"w", w}, {"g1", g[0]}, {"g2", g[1]}, {"g3", g[2]}, {"our_after", after}}});
    }
  }

  void piecewise_case(std::size_t rows, std::size_t width) {
    const std::size_t segments = some(1, 12);
    values edges{-2};
    for (std::size_t i = 0; i < segments; ++i)
      edges.push_back(edges.back() + 0.1f + static_cast<float>(random_.below(1000)) / 1000);
    auto x = numbers(rows, 2);
    for (std::size_t i = 0; i < rows; i += 7)
      x[i] = std::nanf("");
    const auto slope = numbers(segments * width), bias = numbers(width), absent = numbers(width), dy = numbers(rows * width);
    values y(dy.size()), dslope(slope.size()), dbias(width), dabsent(width);
    std::vector<float> work;
    piecewise_linear_forward<float>(x.data(), 1, edges, {{slope.data(), segments, width}, bias, absent}, {y.data(), rows, width}, work);
    piecewise_linear_backward<float>(x.data(), 1, edges, {dy.data(), rows, width}, {{dslope.data(), segments, width}, dbias, dabsent}, work);
    cases_.push_back({"piecewise_linear", 4e-6,
                      {{"edges", edges}, {"x", x}, {"slope", slope}, {"bias", bias}, {"absent", absent}, {"dy", dy}, {"our_y", y}, {"our_dslope", dslope},
                       {"our_dbias", dbias}, {"our_dabsent", dabsent}}});
  }

  flywheel::random_source random_{20261121};
  std::uint64_t seed_ = 0;
  std::vector<computed> cases_;
};

} // namespace

TEST(torch_oracle, every_operation_and_its_gradient_agree) {
  const char* chosen = std::getenv("FLYWHEEL_TORCH_PYTHON");
  const std::string python = chosen != nullptr ? chosen : "python3";
  if (std::system((python + " -c 'import torch' >/dev/null 2>&1").c_str()) != 0)
    GTEST_SKIP() << "no operation was compared with PyTorch: it is missing (Debian: python3-torch, or set FLYWHEEL_TORCH_PYTHON)";
  const all_cases all;
  char name[] = "/tmp/flywheel-torch-XXXXXX";
  ASSERT_NE(::mkdtemp(name), nullptr);
  const std::filesystem::path folder = name;
  {
    std::ofstream cases{folder / "cases"}, numbers{folder / "numbers", std::ios::binary};
    std::size_t offset = 0;
    for (const auto& c : all.cases()) {
      cases << c.op << " |";
      for (const auto& [array, content] : c.arrays) {
        cases << ' ' << array << ':' << offset << ':' << content.size();
        numbers.write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size() * sizeof(float)));
        offset += content.size();
      }
      cases << '\n';
    }
  }
  FILE* pipe = ::popen((python + " '" FLYWHEEL_SOURCE_DIR "/tests/gpu/kernels/torch_oracle.py' '" + folder.string() + "'").c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::map<std::pair<std::size_t, std::string>, double> errors;
  std::size_t index = 0;
  char answer[64];
  double error = 0;
  while (std::fscanf(pipe, "%zu %63s %lf", &index, answer, &error) == 3)
    errors[{index, answer}] = error;
  ASSERT_EQ(::pclose(pipe), 0);
  std::filesystem::remove_all(folder);
  for (std::size_t i = 0; i < all.cases().size(); ++i)
    for (const auto& [array, content] : all.cases()[i].arrays)
      if (array.starts_with("our_")) {
        const auto found = errors.find({i, array.substr(4)});
        ASSERT_NE(found, errors.end()) << all.cases()[i].op << ": PyTorch did not answer " << array;
        EXPECT_LE(found->second, all.cases()[i].bound) << all.cases()[i].op << ": " << array;
      }
}
