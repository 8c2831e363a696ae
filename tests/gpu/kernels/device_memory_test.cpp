// Devices, streams, events and tensors, on the host and, where there is one, on a GPU.

#include "gpu/tensor.hpp"
#include "tests/gpu/opened_device.hpp"

#include <numeric>

using namespace flywheel;
using namespace flywheel::gpu;
using namespace flywheel::gpu::test;

namespace {

class device_memory : public on_each_device {};

std::vector<float> counting(std::size_t n) {
  std::vector<float> x(n);
  std::iota(x.begin(), x.end(), 1.0f);
  return x;
}

/// The host's table with a product that fails in every call, as a GPU out of memory does.
operation_table failing_products() {
  operation_table t = host_operations();
  t.gemm = [](const gemm_call*, void*) { return 2; };
  return t;
}

} // namespace

FLYWHEEL_ON_EACH_DEVICE(device_memory);

TEST_P(device_memory, what_goes_to_a_tensor_comes_back) {
  auto order = stream::make(*device).value();
  auto t = tensor::make(*device, number_type::f32, {5, 7}).value();
  EXPECT_EQ(t.size(), 35u);
  EXPECT_EQ(t.bytes(), 140u);
  const auto x = counting(35);
  std::vector<float> y(35), middle(3);
  t.copy_from(order, std::span{x});
  t.copy_to(order, std::span{y});
  t.copy_to(order, std::span{middle}, 10);
  ASSERT_TRUE(order.finish());
  EXPECT_EQ(y, x);
  EXPECT_EQ(middle, (std::vector<float>{11, 12, 13}));
  auto twin = tensor::make(*device, number_type::f32, {35}).value();
  order.run("copying", device->operations().copy_on_device, twin.memory(), t.memory(), t.bytes());
  t.zero(order);
  t.copy_to(order, std::span{y});
  std::vector<float> z(35);
  twin.copy_to(order, std::span{z});
  ASSERT_TRUE(order.finish());
  EXPECT_EQ(y, std::vector<float>(35));
  EXPECT_EQ(z, x);
}

TEST_P(device_memory, tensors_give_back_and_the_pool_keeps_its_bound) {
  auto& pool = device->memory();
  {
    auto a = tensor::make(*device, number_type::bf16, {1 << 20}).value();
    auto b = std::move(a);
    EXPECT_EQ(a.size(), 0u);
    EXPECT_GE(pool.in_use(), b.bytes());
    b = tensor::make(*device, number_type::f64, {16}).value();
    EXPECT_LT(pool.in_use(), std::uint64_t{1} << 20);
  }
  EXPECT_EQ(pool.in_use(), 0u);
  const auto refused = tensor::make(*device, number_type::f32, {1 << 20, 1 << 10});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::out_of_memory) << refused.error().to_string();
  EXPECT_LE(pool.held_max(), pool.bound());
}

TEST_P(device_memory, a_shape_that_overflows_is_refused) {
  const auto refused = tensor::make(*device, number_type::f32, {1ull << 40, 1ull << 40});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::invalid_argument);
  EXPECT_EQ(tensor::make(*device, number_type::f32, {0, 1ull << 63}).value().size(), 0u);
}

TEST_P(device_memory, a_stream_waits_for_an_event_of_another) {
  auto first = stream::make(*device).value(), second = stream::make(*device).value();
  auto begin = event::make(*device).value(), end = event::make(*device).value();
  auto t = tensor::make(*device, number_type::f32, {1 << 22}).value();
  const auto x = counting(t.size());
  std::vector<float> y(x.size());
  first.record(begin);
  t.copy_from(first, std::span{x});
  first.record(end);
  second.wait_for(end);
  t.copy_to(second, std::span{y});
  ASSERT_TRUE(second.finish());
  EXPECT_EQ(y, x);
  EXPECT_GE(end.milliseconds_since(begin).value(), 0);
}

TEST_P(device_memory, there_is_no_device_after_the_last) {
  const auto none = compute_device::open(device->operations(), 1000, 1);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, errc::not_found);
}

TEST(stream, the_first_error_is_told_once_and_nothing_runs_after_it) {
  const auto table = failing_products();
  auto device = compute_device::open(table, 0, 1 << 20).value();
  auto order = stream::make(*device).value();
  auto t = tensor::make(*device, number_type::f32, {4}).value();
  const auto x = counting(4);
  t.copy_from(order, std::span{x});
  gemm_call call{};
  order.run("a product", table.gemm, &call);
  t.zero(order);
  const auto failed = order.finish();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, errc::out_of_memory);
  EXPECT_NE(failed.error().to_string().find("a product"), std::string::npos) << failed.error().to_string();
  std::vector<float> y(4);
  t.copy_to(order, std::span{y});
  ASSERT_TRUE(order.finish()) << "the error was told";
  EXPECT_EQ(y, x) << "what followed the failure did not run";
}
