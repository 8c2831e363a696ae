// Devices, their errors, and the module that may be missing.

#include "gpu/device.hpp"
#include "gpu/device_errors.hpp"
#include "gpu/module_loader.hpp"

#include <cstdlib>
#include <filesystem>
#include <gtest/gtest.h>

using namespace flywheel;
using namespace flywheel::gpu;

TEST(device, the_host_is_always_there_and_a_missing_gpu_has_a_reason) {
  const auto report = find_devices();
  ASSERT_FALSE(report.devices.empty());
  EXPECT_EQ(report.devices[0].kind, device_kind::host);
  EXPECT_GT(report.devices[0].memory_total, 0u);
  EXPECT_LE(report.devices[0].memory_free, report.devices[0].memory_total);
  EXPECT_GE(report.devices[0].processors, 1);
  if (report.devices.size() == 1) {
    EXPECT_NE(report.without_cuda, "");
  } else {
    EXPECT_EQ(report.devices[1].kind, device_kind::cuda);
    EXPECT_GT(report.devices[1].memory_total, 0u);
  }
}

TEST(module_loader, says_what_is_wrong_with_a_file) {
  const auto missing = load_cuda_operations("/nonexistent/libflywheel_cuda.so");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, errc::unsupported);
  EXPECT_NE(missing.error().to_string().find("/nonexistent/"), std::string::npos);
  const auto other = load_cuda_operations("libm.so.6");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, errc::invalid_format);
}

TEST(module_loader, loads_the_module_that_was_built_even_without_a_gpu) {
  const std::string path = std::string{FLYWHEEL_BINARY_DIR} + "/libflywheel_cuda.so";
  if (!std::filesystem::exists(path))
    GTEST_SKIP() << "the CUDA module was not built: nvcc is missing, FLYWHEEL_CUDA is OFF, or this is a sanitizer build";
  const auto module = load_cuda_operations(path.c_str());
  if (!module && module.error().what.find("cublasLt") != std::string::npos)
    GTEST_SKIP() << module.error().to_string();
  ASSERT_TRUE(module) << module.error().to_string();
  int count = -1;
  const int e = (*module)->device_count(&count);
  EXPECT_TRUE(e != 0 || count >= 0); // 35 without a driver, never a crash
  EXPECT_STRNE((*module)->explain(35), "");
}

TEST(device_errors, table_of_numbers_and_remedies) {
  const struct { int number; remedy what; errc code; bool lost; } expected[] = {
      {0, remedy::none, errc::ok, false},
      {2, remedy::smaller_batch, errc::out_of_memory, false},
      {46, remedy::retry, errc::no_capacity, false},
      {802, remedy::retry, errc::no_capacity, false},
      {214, remedy::drain_slot, errc::worker_lost, true},
      {35, remedy::stop, errc::library_failed, false},
      {700, remedy::stop, errc::library_failed, true},
      {10'003, remedy::smaller_batch, errc::out_of_memory, false},
      {424'242, remedy::stop, errc::library_failed, false}, // unknown: nothing is assumed
  };
  for (const auto& e : expected) {
    EXPECT_EQ(remedy_of_cuda(e.number), e.what) << e.number << ": " << name_of(remedy_of_cuda(e.number));
    EXPECT_EQ(process_is_lost(e.number), e.lost) << e.number;
    EXPECT_EQ(error_of_cuda(e.number, "explained", "a call", "gpu 0").code, e.code) << e.number;
  }
  EXPECT_NE(error_of_cuda(2, "out of memory", "allocate", "gpu 1").to_string().find("CUDA 2"), std::string::npos);
}
