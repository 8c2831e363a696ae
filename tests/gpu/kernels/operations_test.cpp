// Every function of both operation tables against its CPU page, on odd shapes: the host's, whose test shows that the table
// is filled right (and that this file runs), and CUDA's, which needs the module and a GPU and is skipped by name where one
// is missing. Bounds are relative to the largest expected value, in units of float's rounding (1.2e-7) times what the length
// of the sums allows.

#include "gpu/device.hpp"
#include "gpu/kernels/activation.hpp"
#include "gpu/kernels/adamw.hpp"
#include "gpu/kernels/attention.hpp"
#include "gpu/kernels/bf16.hpp"
#include "gpu/kernels/dropout.hpp"
#include "gpu/kernels/embedding.hpp"
#include "gpu/kernels/gemm.hpp"
#include "gpu/kernels/host_operations.hpp"
#include "gpu/kernels/layer_norm.hpp"
#include "gpu/kernels/linear.hpp"
#include "gpu/kernels/loss.hpp"
#include "gpu/kernels/piecewise_linear.hpp"
#include "gpu/kernels/rms_norm.hpp"
#include "gpu/kernels/rotary.hpp"
#include "gpu/kernels/sgd.hpp"
#include "gpu/kernels/swiglu.hpp"
#include "gpu/module_loader.hpp"
#include "tests/gpu/finite_differences.hpp"

#include <array>
#include <deque>

using namespace flywheel::gpu;
using namespace flywheel::gpu::test;

namespace {

using values = std::vector<float>;

values random_floats(std::size_t n, std::uint64_t seed, double scale = 1) {
  const auto x = random_values(n, seed, scale);
  return {x.begin(), x.end()};
}

class operations : public testing::TestWithParam<device_kind> {
protected:
  void SetUp() override {
    if (GetParam() == device_kind::host) {
      table = &host_operations();
    } else {
      const auto module = cuda_operations();
      if (!module)
        GTEST_SKIP() << "this kernel was not run: " << module.error().to_string();
      table = *module;
    }
    int count = 0;
    if (const int e = table->device_count(&count); e != 0 || count == 0)
      GTEST_SKIP() << "this kernel was not run: there is no GPU: " << (e != 0 ? table->explain(e) : "none counted");
    ok(table->use_device(0));
    ok(table->make_stream(&stream));
  }
  void TearDown() override {
    for (void* m : memory)
      ok(table->release(m));
    if (stream != nullptr)
      ok(table->drop_stream(stream));
  }
  void ok(int e) const { ASSERT_EQ(e, 0) << table->explain(e); }

  template <class T> T* up(const std::vector<T>& x) {
    void* m = nullptr;
    ok(table->allocate(&m, std::max<std::size_t>(1, x.size()) * sizeof(T)));
    memory.push_back(m);
    ok(table->copy_to_device(m, x.data(), x.size() * sizeof(T), stream));
    ok(table->wait_stream(stream));
    return static_cast<T*>(m);
  }
  template <class T> std::vector<T> down(const T* from, std::size_t n) const {
    std::vector<T> x(n);
    ok(table->copy_to_host(x.data(), from, n * sizeof(T), stream));
    ok(table->wait_stream(stream));
    return x;
  }
  void same(const float* actual, const values& expected, double bound, const char* what) const {
    const auto x = down(actual, expected.size());
    double most = 0, size = 1e-30;
    for (std::size_t i = 0; i < x.size(); ++i) {
      most = std::max(most, std::isnan(x[i]) ? 1e30 : std::fabs(static_cast<double>(x[i]) - static_cast<double>(expected[i])));
      size = std::max(size, std::fabs(static_cast<double>(expected[i])));
    }
    EXPECT_LT(most / size, bound) << what;
  }

  const operation_table* table = nullptr;
  void* stream = nullptr;
  std::deque<void*> memory;
};

constexpr std::size_t rows = 37, width = 301;

std::string name_of_device(const testing::TestParamInfo<device_kind>& p) { return p.param == device_kind::host ? "host" : "cuda"; }

} // namespace

INSTANTIATE_TEST_SUITE_P(, operations, testing::Values(device_kind::host, device_kind::cuda), name_of_device);

TEST_P(operations, gemm) {
  const std::size_t m = 64, n = 96, k = 80; // multiples of 4 floats: what the alignment it is told of promises
  const auto a = random_floats(m * k, 1), b = random_floats(k * n, 2), bias = random_floats(n, 3), before = random_floats(m * n, 4);
  for (const bool ta : {false, true})
    for (const bool tb : {false, true}) {
      auto expected = before;
      gemm<float>(ta ? op::transposed : op::plain, tb ? op::transposed : op::plain, 0.5f, {a.data(), ta ? k : m, ta ? m : k},
                  {b.data(), tb ? n : k, tb ? k : n}, 2.0f, {expected.data(), m, n});
      auto* c = up(before);
      const gemm_call call{gemm_type::f32, gemm_epilogue::none, ta, tb, m, n, k, ta ? m : k, tb ? k : n, n, 0.5f, 2.0f, up(a), up(b), nullptr, nullptr, c, nullptr, 0};
      ok(table->gemm(&call, stream));
      same(c, expected, 2e-6, "product");
    }
  values expected(m * n);
  linear_forward<float>({a.data(), m, k}, {b.data(), k, n}, bias, {expected.data(), m, n});
  auto* c = up(before);
  const gemm_call call{gemm_type::f32, gemm_epilogue::bias, 0, 0, m, n, k, k, n, n, 1, 0, up(a), up(b), up(bias), nullptr, c, nullptr, 0};
  ok(table->gemm(&call, stream));
  same(c, expected, 2e-6, "with bias");

  auto* to = up(values(m * n));
  for (std::size_t i = 0; i < expected.size(); ++i)
    expected[i] += 3 * before[i];
  const gemm_call onto{gemm_type::f32, gemm_epilogue::bias, 0, 0, m, n, k, k, n, n, 1, 3, up(a), up(b), up(bias), up(before), to, nullptr, 0};
  ok(table->gemm(&onto, stream));
  same(to, expected, 2e-6, "onto another matrix, with bias");
}

TEST_P(operations, gemm_of_bf16) {
  const std::size_t m = 40, n = 24, k = 48;
  auto a = random_floats(m * k, 1), b = random_floats(k * n, 2);
  std::vector<std::uint16_t> narrow_a(a.size()), narrow_b(b.size());
  const auto narrow = [](values& wide, std::vector<std::uint16_t>& to) {
    for (std::size_t i = 0; i < wide.size(); ++i)
      to[i] = to_bf16(wide[i]).bits, wide[i] = to_float(bf16{to[i]});
  };
  narrow(a, narrow_a), narrow(b, narrow_b);
  for (const bool ta : {false, true})
    for (const bool tb : {false, true}) {
      values expected(m * n);
      gemm<float>(ta ? op::transposed : op::plain, tb ? op::transposed : op::plain, 1, {a.data(), ta ? k : m, ta ? m : k},
                  {b.data(), tb ? n : k, tb ? k : n}, 0, {expected.data(), m, n});
      auto* c = up(values(m * n));
      const gemm_call call{gemm_type::bf16, gemm_epilogue::none, ta, tb, m, n, k, ta ? m : k, tb ? k : n, n, 1, 0, up(narrow_a), up(narrow_b), nullptr, nullptr, c, nullptr, 0};
      ok(table->gemm(&call, stream));
      same(c, expected, 2e-6, "product of narrow numbers, summed in float");
    }
}

TEST(host_operations, refuse_what_is_not_aligned_as_cublaslt_would) {
  const auto& host = host_operations();
  alignas(16) float room[64] = {};
  const gemm_call good{gemm_type::f32, gemm_epilogue::none, 0, 0, 4, 4, 4, 4, 4, 4, 1, 0, room, room + 16, nullptr, nullptr, room + 32, nullptr, 0};
  EXPECT_EQ(host.gemm(&good, nullptr), 0);
  gemm_call bad = good;
  bad.stride_a = 5;
  EXPECT_STREQ(host.explain(host.gemm(&bad, nullptr)), "invalid argument");
  bad = good, bad.b = room + 17;
  EXPECT_NE(host.gemm(&bad, nullptr), 0);
  bad = good, bad.epilogue = gemm_epilogue::bias; // and none given
  EXPECT_NE(host.gemm(&bad, nullptr), 0);
}

TEST(host_operations, fresh_memory_is_not_zero) {
  void* memory = nullptr;
  ASSERT_EQ(host_operations().allocate(&memory, 4), 0);
  EXPECT_TRUE(std::isnan(*static_cast<float*>(memory)));
  EXPECT_EQ(host_operations().release(memory), 0);
  EXPECT_EQ(host_operations().allocate(&memory, ~0ull), 2);
}

TEST_P(operations, rms_norm) {
  const auto x = random_floats(rows * width, 1, 3), gain = random_floats(width, 2), dy = random_floats(rows * width, 3);
  values y(x.size()), inverse(rows), dx(x.size()), dgain(width);
  rms_norm_forward<float>({x.data(), rows, width}, gain, {y.data(), rows, width}, inverse);
  rms_norm_backward<float>({dy.data(), rows, width}, {x.data(), rows, width}, gain, inverse, {dx.data(), rows, width}, dgain);
  auto *gx = up(x), *gg = up(gain), *gy = up(values(x.size())), *gi = up(values(rows)), *gdx = up(dy), *gdg = up(values(width));
  ok(table->rms_norm_forward(gx, gg, gy, gi, rows, width, stream));
  ok(table->rms_norm_backward(gdx, gx, gg, gi, gdx, gdg, rows, width, 0, stream)); // in place
  same(gy, y, 1e-6, "y"), same(gi, inverse, 1e-6, "inverse root"), same(gdx, dx, 2e-6, "dx"), same(gdg, dgain, 2e-6, "dgain");
}

TEST_P(operations, layer_norm) {
  const auto x = random_floats(rows * width, 1, 3), gain = random_floats(width, 2), shift = random_floats(width, 4), dy = random_floats(rows * width, 3);
  values y(x.size()), mean(rows), inverse(rows), dx(x.size()), dgain(width), dshift(width);
  layer_norm_forward<float>({x.data(), rows, width}, gain, shift, {y.data(), rows, width}, mean, inverse);
  layer_norm_backward<float>({dy.data(), rows, width}, {x.data(), rows, width}, gain, mean, inverse, {dx.data(), rows, width}, dgain, dshift);
  auto *gx = up(x), *gg = up(gain), *gy = up(values(x.size())), *gm = up(values(rows)), *gi = up(values(rows));
  auto *gdx = up(values(x.size())), *gdg = up(values(width)), *gds = up(values(width));
  ok(table->layer_norm_forward(gx, gg, up(shift), gy, gm, gi, rows, width, stream));
  ok(table->layer_norm_backward(up(dy), gx, gg, gm, gi, gdx, gdg, gds, rows, width, 1, stream)); // added to zeros
  same(gy, y, 2e-6, "y"), same(gdx, dx, 4e-6, "dx"), same(gdg, dgain, 4e-6, "dgain"), same(gds, dshift, 4e-6, "dshift");
}

TEST_P(operations, gelu) {
  const auto x = random_floats(rows * width, 1, 3), dy = random_floats(rows * width, 2);
  values y(x.size()), dx(x.size());
  activation_forward<float>(activation::gelu, {x.data(), rows, width}, {y.data(), rows, width});
  activation_backward<float>(activation::gelu, {dy.data(), rows, width}, {x.data(), rows, width}, {dx.data(), rows, width});
  auto *gx = up(x), *gy = up(values(x.size())), *gdx = up(values(x.size()));
  ok(table->gelu_forward(gx, gy, x.size(), stream));
  ok(table->gelu_backward(up(dy), gx, gdx, x.size(), stream));
  same(gy, y, 2e-6, "y"), same(gdx, dx, 2e-6, "dx");
}

TEST_P(operations, relu) {
  auto x = random_floats(rows * width, 1, 3);
  x[5] = 0, x[6] = -0.0f; // the slope there is 0
  const auto dy = random_floats(rows * width, 2);
  values y(x.size()), dx(x.size());
  activation_forward<float>(activation::relu, {x.data(), rows, width}, {y.data(), rows, width});
  activation_backward<float>(activation::relu, {dy.data(), rows, width}, {x.data(), rows, width}, {dx.data(), rows, width});
  auto *gx = up(x), *gy = up(values(x.size())), *gdx = up(dy);
  ok(table->relu_forward(gx, gy, x.size(), stream));
  ok(table->relu_backward(gdx, gx, gdx, x.size(), stream)); // in place
  EXPECT_EQ(down(gy, y.size()), y);
  EXPECT_EQ(down(gdx, dx.size()), dx);
}

// Numbers of one segment and of many, values outside of the edges, on them and missing, a vector wider than a warp, rows of x
// and y that stand further apart than they are wide.
TEST_P(operations, piecewise_linear) {
  const std::vector<std::uint32_t> before{0, 1, 18, 21, 26};
  const std::size_t numbers = before.size() - 1, segments = before.back(), stride_x = numbers + 2;
  for (const std::size_t size : {8u, 35u}) {
    const std::size_t columns = numbers * size, stride_y = columns + 3, parameter_count = (segments + 2 * numbers) * size;
    const auto parameters = random_floats(parameter_count, 1), dy = random_floats(rows * stride_y, 2), earlier = random_floats(parameter_count, 3);
    values x = random_floats(rows * stride_x, 4, 2), edges, y(rows * stride_y, 7), gradient = earlier;
    for (std::size_t f = 0; f < numbers; ++f)
      for (std::uint32_t k = 0; k <= before[f + 1] - before[f]; ++k)
        edges.push_back(-1.5f + 3.0f * static_cast<float>(k * k + k) / static_cast<float>((before[f + 1] - before[f]) * (before[f + 1] - before[f]) + before[f + 1] - before[f]));
    for (std::size_t f = 0; f < numbers; ++f)
      x[(3 + f) * stride_x + f] = std::nanf(""), x[(4 + f) * stride_x + f] = edges[before[f] + f], x[(9 + f) * stride_x + f] = edges[before[f + 1] + f];
    std::vector<float> work;
    for (std::size_t f = 0; f < numbers; ++f) {
      const std::size_t own = before[f + 1] - before[f], at = (before[f] + 2 * f) * size;
      const auto of = [&]<class T>(T* all) {
        return piecewise_parameters<T>{{all + at, own, size}, {all + at + own * size, size}, {all + at + (own + 1) * size, size}};
      };
      const std::span<const float> of_edges{edges.data() + before[f] + f, own + 1};
      piecewise_linear_forward<float>(x.data() + f, stride_x, of_edges, of(parameters.data()), {y.data() + f * size, rows, size, stride_y}, work);
      piecewise_linear_backward<float>(x.data() + f, stride_x, of_edges, {dy.data() + f * size, rows, size, stride_y}, of(gradient.data()), work);
    }
    float *gy = up(values(rows * stride_y, 7)), *gg = up(earlier);
    const piecewise_linear_call call{rows, numbers, size, segments, stride_x, stride_y, up(before), up(x), up(edges), up(parameters), gy,
                                     up(std::vector<std::uint32_t>(rows * numbers)), up(values(rows * numbers)), up(values(segments * size)), up(dy), gg};
    ok(table->piecewise_linear_forward(&call, stream));
    ok(table->piecewise_linear_backward(&call, stream));
    same(gy, y, 2e-6, "y"), same(gg, gradient, 4e-6, "gradient");
  }
}

TEST_P(operations, swiglu) {
  const auto x = random_floats(rows * 2 * width, 1, 3), dy = random_floats(rows * width, 2);
  values y(dy.size()), dx = x;
  swiglu_forward<float>({x.data(), rows, 2 * width}, {y.data(), rows, width});
  swiglu_backward<float>({dy.data(), rows, width}, {dx.data(), rows, 2 * width});
  auto *gx = up(x), *gy = up(values(y.size()));
  ok(table->swiglu_forward(gx, gy, rows, width, stream));
  ok(table->swiglu_backward(up(dy), gx, rows, width, stream));
  same(gy, y, 2e-6, "y"), same(gx, dx, 2e-6, "gate and up");
}

TEST_P(operations, rotary) {
  const std::size_t heads = 3, head_width = 10, time = 12, n = 24;
  const rotary_table<float> angles{time, head_width};
  const auto x = random_floats(n * heads * head_width, 1);
  auto y = x;
  rotary<float>({y.data(), n, heads * head_width}, time, angles, turn::forward);
  const values cosines(angles.cosines().begin(), angles.cosines().end()), sines(angles.sines().begin(), angles.sines().end());
  auto *gx = up(x), *gc = up(cosines), *gs = up(sines);
  ok(table->rotary(gx, heads * head_width, n, heads, head_width, time, gc, gs, 1, stream));
  same(gx, y, 1e-6, "turned");
  ok(table->rotary(gx, heads * head_width, n, heads, head_width, time, gc, gs, -1, stream));
  same(gx, x, 1e-6, "turned back");
}

TEST_P(operations, attention) {
  for (const auto& s : {attention_shape{1, 1, 1, 1, 4}, {2, 70, 6, 2, 20}, {1, 131, 2, 1, 128}}) {
    const std::size_t q = s.heads * s.head_width, kv = s.kv_heads * s.head_width, all = q + 2 * kv, n = s.rows();
    const auto qkv = random_floats(n * all, 1), dout = random_floats(n * q, 2);
    values out(n * q), sums(s.heads * n), dqkv(n * all), work(s.heads * n);
    const matrix_view<const float> in{qkv.data(), n, all};
    const matrix_view<float> grad{dqkv.data(), n, all};
    attention_forward<float>(s, in.columns_from(0, q), in.columns_from(q, kv), in.columns_from(q + kv, kv), {out.data(), n, q}, {sums.data(), s.heads, n});
    attention_backward<float>(s, {dout.data(), n, q}, in.columns_from(0, q), in.columns_from(q, kv), in.columns_from(q + kv, kv), {out.data(), n, q},
                              {sums.data(), s.heads, n}, grad.columns_from(0, q), grad.columns_from(q, kv), grad.columns_from(q + kv, kv), {work.data(), s.heads, n});
    const float* g = up(qkv);
    float *go = up(values(out.size())), *gl = up(values(sums.size())), *gd = up(values(dqkv.size()));
    const attention_call call{s.sequences, s.time, s.heads, s.kv_heads, s.head_width, all, all, all, q, g, g + q, g + q + kv, go, gl,
                              up(dout), gd, gd + q, gd + q + kv, up(values(work.size()))};
    ok(table->attention_forward(&call, stream));
    ok(table->attention_backward(&call, stream));
    same(go, out, 3e-6, "out"), same(gl, sums, 3e-6, "log sum"), same(gd, dqkv, 1e-5, "dqkv");
  }
}

TEST_P(operations, softmax_cross_entropy) {
  const auto logits = random_floats(rows * width, 1, 4);
  std::vector<std::uint32_t> label(rows);
  for (std::size_t i = 0; i < rows; ++i)
    label[i] = static_cast<std::uint32_t>((i * 97) % width);
  auto expected = logits;
  const double loss = softmax_cross_entropy<float>({expected.data(), rows, width}, label, 0, 50);
  auto *g = up(logits), *gl = up(values(1)); // added to zero
  ok(table->softmax_cross_entropy(g, width, up(label), up(values(rows)), gl, rows, width, 50, stream));
  same(gl, {static_cast<float>(loss)}, 2e-6, "loss"), same(g, expected, 4e-6, "gradient");
}

TEST_P(operations, embedding) {
  const std::size_t vocabulary = 11;
  std::vector<std::uint32_t> index(rows);
  for (std::size_t i = 0; i < rows; ++i)
    index[i] = static_cast<std::uint32_t>((i * i) % vocabulary);
  const auto vectors = random_floats(vocabulary * width, 1), dy = random_floats(rows * width, 2);
  values y(rows * width), dtable = vectors;
  embedding_forward<float>(index, {vectors.data(), vocabulary, width}, {y.data(), rows, width});
  embedding_backward<float>(index, {dy.data(), rows, width}, {dtable.data(), vocabulary, width});
  auto *gt = up(vectors), *gy = up(values(y.size()));
  ok(table->embedding_forward(up(index), gt, gy, rows, width, 0, stream));
  ok(table->embedding_backward(up(index), up(dy), gt, rows, width, stream));
  EXPECT_EQ(down(gy, y.size()), y);
  ok(table->embedding_forward(up(index), up(vectors), gy, rows, width, 1, stream));
  for (float& v : y)
    v *= 2;
  EXPECT_EQ(down(gy, y.size()), y) << "added to itself";
  same(gt, dtable, 1e-6, "dtable");
}

TEST_P(operations, column_sums) {
  const auto x = random_floats(rows * width, 1), before = random_floats(width, 2);
  auto expected = before;
  add_column_sums<float>({x.data(), rows, width}, expected);
  auto* g = up(before);
  ok(table->column_sums(up(x), g, rows, width, stream));
  same(g, expected, 2e-6, "sums");
}

TEST_P(operations, dropout) {
  const auto x = random_floats(rows * width, 1);
  auto expected = x;
  dropout<float>({expected.data(), rows, width}, 0.3, {philox_key{12345}, (1ull << 40) + 7, 3});
  auto* g = up(x);
  ok(table->dropout(g, x.size(), 0.3, 12345, (1ull << 40) + 7, 3, stream));
  EXPECT_EQ(down(g, x.size()), expected); // the same mask, and one multiplication
}

TEST_P(operations, adamw_and_clipping) {
  const std::size_t n = 100'003;
  const auto w = random_floats(n, 1), g = random_floats(n, 2), m = random_floats(n, 3, 0.1);
  values v(n, 0.3f), clipped = g, ew = w, em = m, ev = v;
  const double norm = clip_gradient<float>(clipped, 2);
  adamw<float>(ew, clipped, em, ev, 1e-2, 0.1, 3);
  auto *gw = up(w), *gg = up(g), *gm = up(m), *gv = up(v), *length = up(values(1)), *scale = up(values(1));
  auto* narrow = up(std::vector<std::uint16_t>(n));
  ok(table->clip_scale(gg, n, 2, up(std::vector<double>(1024)), length, scale, stream));
  const adamw_call call{n, 3, 1e-2, 0.1, 0.9, 0.999, 1e-8, gw, gg, gm, gv, narrow, scale};
  ok(table->adamw(&call, stream));
  same(length, {static_cast<float>(norm)}, 1e-6, "norm"), same(gw, ew, 1e-6, "weights"), same(gm, em, 1e-6, "moment1"), same(gv, ev, 1e-6, "moment2");
  const auto weights = down(gw, n);
  const auto copy = down(narrow, n);
  for (std::size_t i = 0; i < n; ++i)
    ASSERT_EQ(copy[i], to_bf16(weights[i]).bits);
}

TEST_P(operations, sgd) {
  const std::size_t n = 10'007;
  const auto w = random_floats(n, 1), g = random_floats(n, 2), v = random_floats(n, 3);
  for (const bool nesterov : {false, true}) {
    values ew = w, ev = v;
    sgd<float>(ew, g, ev, 1e-2, 0.1, {0.9, nesterov});
    auto *gw = up(w), *gv = up(v);
    ok(table->sgd(gw, up(g), gv, n, 1e-2, 0.1, 0.9, nesterov, stream));
    same(gw, ew, 1e-6, "weights"), same(gv, ev, 1e-6, "velocity");
  }
}

TEST_P(operations, bf16) {
  auto x = random_floats(10'007, 1, 100);
  x[0] = std::bit_cast<float>(0x3F808000u), x[1] = std::bit_cast<float>(0x3F818000u);
  auto* narrow = up(std::vector<std::uint16_t>(x.size()));
  auto* wide = up(values(x.size()));
  ok(table->to_bf16(up(x), narrow, x.size(), stream));
  ok(table->to_float(narrow, wide, x.size(), stream));
  const auto bits = down(narrow, x.size());
  const auto back = down(wide, x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(bits[i], to_bf16(x[i]).bits);
    ASSERT_EQ(back[i], to_float(to_bf16(x[i])));
  }
}
