// bench_train_gpu DEVICE MODEL FILE SEQUENCES TIME PRODUCTS
//   trains MODEL (gpt2-124m or llama-30m) from the raw weights in FILE (bench_train_cpu weights writes them) in batches of
//   SEQUENCES x TIME tokens; each line "N" on standard input trains N steps and answers with "SECONDS LOSS LOSS ...".
//   DEVICE is cuda or host (which is slow, and there to try this program); PRODUCTS is f32, tf32 or bf16.

#include "bench/train_model.hpp"
#include "cluster/base/clock.hpp"
#include "gpu/kernels/host_operations.hpp"
#include "gpu/models/device_transformer.hpp"
#include "gpu/module_loader.hpp"
#include "gpu/parallel.hpp"

#include <chrono>
#include <iostream>

using namespace flywheel::bench;

namespace {

template <class T> T or_exit(flywheel::result<T> r) {
  if (!r) {
    std::fprintf(stderr, "bench_train_gpu: %s\n", r.error().to_string().c_str());
    std::exit(1);
  }
  return std::move(*r);
}
void or_exit(const flywheel::status& s) {
  if (!s) {
    std::fprintf(stderr, "bench_train_gpu: %s\n", s.error().to_string().c_str());
    std::exit(1);
  }
}

arithmetic products_of(const std::string& name) {
  if (name == "f32")
    return arithmetic::f32;
  return name == "tf32" ? arithmetic::tf32 : arithmetic::bf16;
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 7)
    return std::fprintf(stderr, "usage: bench_train_gpu cuda|host MODEL FILE SEQUENCES TIME f32|tf32|bf16\n"), 2;
  auto s = setting_of(argv[2]);
  s.sequences = std::strtoul(argv[4], nullptr, 10), s.time = std::strtoul(argv[5], nullptr, 10);
  if (s.sequences == 0 || s.sequences > 64 || s.time == 0 || s.time > s.shape.context)
    return std::fprintf(stderr, "bench_train_gpu: 1 to 64 sequences of 1 to %u tokens\n", s.shape.context), 2;
  set_threads(2);
  const bool on_gpu = std::string{argv[1]} == "cuda";
  const auto device = or_exit(compute_device::open(on_gpu ? *or_exit(cuda_operations()) : host_operations(), 0, std::uint64_t{128} << 30));
  std::vector<float> weights(s.shape.parameter_count());
  read_floats(argv[3], weights);
  const auto network = or_exit(device_transformer::make(*device, s.shape, weights, {.products = products_of(argv[6])}));
  std::fprintf(stderr, "bench_train_gpu: %s, %zu x %zu tokens, %s\n", device->name().c_str(), s.sequences, s.time, argv[6]);
  made_batch data{s};
  std::size_t step = 0;
  for (std::size_t count; std::cin >> count;) {
    std::vector<double> losses;
    const auto start = flywheel::system_clock().mono();
    for (std::size_t n = 0; n < count; ++n, ++step) {
      or_exit(network->backward(data.fill(s, step)));
      or_exit(network->update(step + 1, {.rate = 3e-4, .options = {.beta2 = 0.95}}));
      losses.push_back(or_exit(network->take_loss()));
    }
    print_turn(std::chrono::duration<double>(flywheel::system_clock().mono() - start).count(), losses);
  }
}
