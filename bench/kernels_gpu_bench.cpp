// bench_kernels_gpu cuda|host ROWS: each operation of the device's table against what the device can do, both measured in turn
// by the device's own events: bytes a second of a copy for what memory bounds, flops a second of a large square product for
// products and attention. Shapes are those of GPT-2 124M with ROWS tokens (of sequences of 1024). One JSON line per figure; ratio
// is the fraction of the limit.

#include "gpu/kernels/host_operations.hpp"
#include "gpu/module_loader.hpp"
#include "gpu/parallel.hpp"
#include "gpu/tensor.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

using namespace flywheel::gpu;

namespace {

constexpr int turns = 7;
constexpr std::uint64_t width = 768, hidden = 3072, heads = 12, head_width = 64, time_of_sequence = 1024, vocabulary = 50257, padded = 50264;

template <class T> T or_exit(flywheel::result<T> r) {
  if (!r) {
    std::fprintf(stderr, "bench_kernels_gpu: %s\n", r.error().to_string().c_str());
    std::exit(1);
  }
  return std::move(*r);
}
void or_exit(const flywheel::status& s) {
  if (!s) {
    std::fprintf(stderr, "bench_kernels_gpu: %s\n", s.error().to_string().c_str());
    std::exit(1);
  }
}

double median(std::vector<double> x) {
  std::ranges::nth_element(x, x.begin() + static_cast<std::ptrdiff_t>(x.size() / 2));
  return x[x.size() / 2];
}

enum class limit : std::uint8_t { memory, products };
struct operation {
  std::string name;
  double work; ///< bytes or flops
  limit bound;
  std::function<void()> put;
};

class bench {
public:
  bench(compute_device& device, std::uint64_t rows)
      : device_(device), order_(or_exit(stream::make(device))), begin_(or_exit(event::make(device))), end_(or_exit(event::make(device))), rows_(rows),
        a_(floats(rows * hidden)), b_(floats(rows * hidden)), c_(floats(rows * hidden)), weight_(floats(width * hidden)),
        qkv_(floats(rows * 3 * width)), dqkv_(floats(rows * 3 * width)), sums_(floats(heads * rows)), work_(floats(heads * rows)),
        logits_(floats(logit_rows() * padded)), statistic_(floats(rows)), statistic2_(floats(rows)), column_(floats(hidden)), column2_(floats(hidden)),
        narrow_a_(narrow(rows * hidden)), narrow_b_(narrow(std::max(rows, width) * hidden)), square_(narrow(square * square)), square_out_(floats(square * square)),
        label_(or_exit(tensor::make(device, number_type::u32, {rows}))), scratch_(or_exit(tensor::make(device, number_type::u32, {8u << 20}))),
        optimised_{floats(parameters), floats(parameters), floats(parameters), floats(parameters)}, narrow_weights_(narrow(parameters)), loss_(floats(1)) {
    label_.zero(order_);
  }

  void run() {
    std::printf("%s, %llu tokens, GPT-2 124M; medians of %d turns, by the device's events\n", device_.name().c_str(),
                static_cast<unsigned long long>(rows_), turns);
    std::printf("  %-28s%12s%12s%10s\n", "", "measured", "limit", "fraction");
    std::string figures;
    for (const auto& o : operations()) {
      std::vector<double> mine, bound;
      const operation peak = o.bound == limit::memory ? copying() : squares();
      o.put();
      peak.put();
      or_exit(order_.finish());
      for (int t = 0; t < turns; ++t) {
        mine.push_back(rate(o));
        bound.push_back(rate(peak));
      }
      const double unit = o.bound == limit::memory ? 1e9 : 1e12, value = median(mine) / unit, most = median(bound) / unit;
      const char* name = o.bound == limit::memory ? "GB/s" : "TFLOP/s";
      std::printf("  %-28s%12.2f%12.2f%10.3f  %s\n", o.name.c_str(), value, most, value / most, name);
      char line[300];
      std::snprintf(line, sizeof line,
                    "{\"name\": \"kernel_gpu_%s\", \"value\": %.3f, \"unit\": \"%s\", \"peer\": \"%s\", \"peer_value\": %.3f, \"ratio\": %.3f}\n",
                    o.name.c_str(), value, name, o.bound == limit::memory ? "a copy on the device" : "a square product in bf16", most, value / most);
      figures += line;
    }
    std::fputs(figures.c_str(), stdout);
  }

private:
  static constexpr std::uint64_t parameters = std::uint64_t{1} << 25;
  std::uint64_t logit_rows() const { return std::min<std::uint64_t>(rows_, 4096); }

  tensor floats(std::uint64_t n) {
    auto t = or_exit(tensor::make(device_, number_type::f32, {n}));
    t.zero(order_);
    return t;
  }
  tensor narrow(std::uint64_t n) {
    auto t = or_exit(tensor::make(device_, number_type::bf16, {n}));
    t.zero(order_);
    return t;
  }
  double rate(const operation& o) {
    // Some milliseconds at a time: an event is exact to half a microsecond.
    const int repeats = std::max(1, static_cast<int>((o.bound == limit::memory ? 4e9 : 4e11) / o.work * (on_gpu() ? 1 : 1e-2)));
    order_.record(begin_);
    for (int r = 0; r < repeats; ++r)
      o.put();
    order_.record(end_);
    or_exit(order_.finish());
    return o.work * repeats / (or_exit(end_.milliseconds_since(begin_)) * 1e-3);
  }
  bool on_gpu() const { return &device_.operations() != &host_operations(); }
  void product(gemm_type type, bool ta, bool tb, std::uint64_t m, std::uint64_t n, std::uint64_t k, const void* a, const void* b, float* c) {
    const gemm_call call{type, gemm_epilogue::none, ta, tb, m, n, k, ta ? m : k, tb ? k : n, n, 1, 0, a, b, nullptr, nullptr, c, scratch_.memory(), scratch_.bytes()};
    order_.run("gemm", device_.operations().gemm, &call);
  }
  operation copying() {
    return {"copy", 8.0 * static_cast<double>(parameters), limit::memory, [this] {
              order_.run("copy", device_.operations().copy_on_device, optimised_[0].memory(), optimised_[1].memory(), optimised_[0].bytes());
            }};
  }
  operation squares() {
    const std::uint64_t n = on_gpu() ? square : 512;
    return {"square", 2.0 * static_cast<double>(n * n * n), limit::products, [this, n] {
              product(gemm_type::bf16, false, true, n, n, n, square_.memory(), square_.memory(), square_out_.data<float>());
            }};
  }

  std::vector<operation> operations() {
    const auto& ops = device_.operations();
    const auto rows = static_cast<double>(rows_), w = static_cast<double>(width), h = static_cast<double>(hidden);
    const auto p = [](tensor& t) { return t.data<float>(); };
    const auto b16 = [](tensor& t) { return t.data<std::uint16_t>(); };
    const auto time = std::min(rows_, time_of_sequence);
    const attention_call attention{rows_ / time, time, heads, heads, head_width, 3 * width, 3 * width, 3 * width, width,
                                   p(qkv_), p(qkv_) + width, p(qkv_) + 2 * width, p(c_), p(sums_), p(b_),
                                   p(dqkv_), p(dqkv_) + width, p(dqkv_) + 2 * width, p(work_)};
    const double scores = static_cast<double>(heads * rows_) * static_cast<double>(time) / 2 * static_cast<double>(head_width); // half are masked
    const auto adamw_of = [&](std::uint16_t* copy) {
      return adamw_call{parameters, 10, 1e-3, 0.1, 0.9, 0.95, 1e-8, p(optimised_[0]), p(optimised_[1]), p(optimised_[2]), p(optimised_[3]), copy, nullptr};
    };
    const auto elements = static_cast<double>(parameters);
    return {
        {"gemm_forward_bf16", 2 * rows * w * h, limit::products,
         [=, this] { product(gemm_type::bf16, false, false, rows_, hidden, width, b16(narrow_a_), b16(narrow_b_), p(c_)); }},
        {"gemm_input_gradient_bf16", 2 * rows * w * h, limit::products,
         [=, this] { product(gemm_type::bf16, false, true, rows_, width, hidden, b16(narrow_a_), b16(narrow_b_), p(c_)); }},
        {"gemm_weight_gradient_bf16", 2 * rows * w * h, limit::products,
         [=, this] { product(gemm_type::bf16, true, false, width, hidden, rows_, b16(narrow_a_), b16(narrow_b_), p(weight_)); }},
        {"attention_forward", 4 * scores, limit::products, [=, this] { order_.run("attention", ops.attention_forward, &attention); }},
        {"attention_backward", 10 * scores, limit::products, [=, this] { order_.run("attention", ops.attention_backward, &attention); }},
        {"rms_norm_forward", 8 * rows * w, limit::memory,
         [=, this] { order_.run("rms_norm", ops.rms_norm_forward, p(a_), p(column_), p(c_), p(statistic_), rows_, width); }},
        {"layer_norm_forward", 8 * rows * w, limit::memory,
         [=, this] { order_.run("layer_norm", ops.layer_norm_forward, p(a_), p(column_), p(column2_), p(c_), p(statistic_), p(statistic2_), rows_, width); }},
        {"layer_norm_backward", 20 * rows * w, limit::memory, // dy and x twice (rows, then columns), dx once
         [=, this] {
           order_.run("layer_norm", ops.layer_norm_backward, p(b_), p(a_), p(column_), p(statistic_), p(statistic2_), p(c_), p(weight_), p(weight_) + width,
                      rows_, width, 0);
         }},
        {"gelu_forward", 8 * rows * h, limit::memory, [=, this] { order_.run("gelu", ops.gelu_forward, p(a_), p(c_), rows_ * hidden); }},
        {"gelu_backward", 12 * rows * h, limit::memory, [=, this] { order_.run("gelu", ops.gelu_backward, p(b_), p(a_), p(c_), rows_ * hidden); }},
        {"swiglu_forward", 6 * rows * h, limit::memory, [=, this] { order_.run("swiglu", ops.swiglu_forward, p(a_), p(c_), rows_, hidden / 2); }},
        {"softmax_cross_entropy", 16.0 * static_cast<double>(logit_rows() * vocabulary), limit::memory, // read three times, written once
         [=, this] {
           order_.run("loss", ops.softmax_cross_entropy, p(logits_), padded, label_.data<std::uint32_t>(), p(statistic_), p(loss_), logit_rows(), vocabulary, 0.0);
         }},
        {"column_sums", 4 * rows * h, limit::memory, [=, this] { order_.run("sums", ops.column_sums, p(a_), p(column_), rows_, hidden); }},
        {"dropout", 8 * rows * h, limit::memory, [=, this] { order_.run("dropout", ops.dropout, p(a_), rows_ * hidden, 0.1, 7u, 3u, 1u); }},
        {"to_bf16", 6 * rows * h, limit::memory, [=, this] { order_.run("to_bf16", ops.to_bf16, p(a_), b16(narrow_a_), rows_ * hidden); }},
        {"adamw", 28 * elements, limit::memory,
         [=, this] { const auto call = adamw_of(nullptr); order_.run("adamw", ops.adamw, &call); }},
        {"adamw_with_bf16", 30 * elements, limit::memory,
         [=, this] { const auto call = adamw_of(b16(narrow_weights_)); order_.run("adamw", ops.adamw, &call); }},
    };
  }

  static constexpr std::uint64_t square = 4096;
  compute_device& device_;
  stream order_;
  event begin_, end_;
  std::uint64_t rows_;
  tensor a_, b_, c_, weight_, qkv_, dqkv_, sums_, work_, logits_, statistic_, statistic2_, column_, column2_, narrow_a_, narrow_b_, square_, square_out_,
      label_, scratch_;
  tensor optimised_[4];
  tensor narrow_weights_, loss_;
};

} // namespace

int main(int argc, char** argv) {
  const std::uint64_t rows = argc == 3 ? std::strtoull(argv[2], nullptr, 10) : 0;
  if (rows == 0 || (rows > time_of_sequence && rows % time_of_sequence != 0))
    return std::fprintf(stderr, "usage: bench_kernels_gpu cuda|host ROWS   (at most 1024, or a multiple of it)\n"), 2;
  set_threads(2);
  const bool on_gpu = std::string{argv[1]} == "cuda";
  const auto device = or_exit(compute_device::open(on_gpu ? *or_exit(cuda_operations()) : host_operations(), 0, std::uint64_t{64} << 30));
  bench{*device, rows}.run();
}
