#pragma once
// A device for tests that run on the host and, where there is one, on a GPU; skipped by name where there is none.

#include "gpu/compute_device.hpp"
#include "gpu/device.hpp"
#include "gpu/kernels/host_operations.hpp"
#include "gpu/module_loader.hpp"

#include <gtest/gtest.h>

namespace flywheel::gpu::test {

class on_each_device : public testing::TestWithParam<device_kind> {
protected:
  void SetUp() override {
    const operation_table* operations = &host_operations();
    if (GetParam() == device_kind::cuda) {
      const auto module = cuda_operations();
      if (!module)
        GTEST_SKIP() << "not run on a GPU: " << module.error().to_string();
      operations = *module;
    }
    auto opened = compute_device::open(*operations, 0, std::uint64_t{1} << 30);
    if (!opened && GetParam() == device_kind::cuda)
      GTEST_SKIP() << "not run on a GPU: " << opened.error().to_string();
    ASSERT_TRUE(opened) << opened.error().to_string();
    device = std::move(*opened);
  }
  std::unique_ptr<compute_device> device;
};

inline std::string name_of_device(const testing::TestParamInfo<device_kind>& p) { return p.param == device_kind::host ? "host" : "cuda"; }

} // namespace flywheel::gpu::test

/// Names the tests SUITE.test/host and SUITE.test/cuda.
#define FLYWHEEL_ON_EACH_DEVICE(suite)                                                                                                \
  INSTANTIATE_TEST_SUITE_P(, suite, testing::Values(flywheel::gpu::device_kind::host, flywheel::gpu::device_kind::cuda),              \
                           flywheel::gpu::test::name_of_device)
