#include "actors/protocol/serving_record.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

using namespace flywheel;

namespace {

struct serving_record : ::testing::Test {
  serving_record() {
    std::string pattern = "/tmp/fw-serving-XXXXXX";
    layout.root = ::mkdtemp(pattern.data());
    std::filesystem::create_directories(layout.run());
  }
  ~serving_record() override { std::filesystem::remove_all(layout.root); }
  state_layout layout;
};

} // namespace

TEST_F(serving_record, the_last_address_is_found_again) {
  ASSERT_TRUE(record_serving(layout, "churn", "http://127.0.0.1:8080").ok());
  ASSERT_TRUE(record_serving(layout, "churn", "http://127.0.0.1:9090").ok());
  const auto url = read_serving(layout, "churn");
  ASSERT_TRUE(url) << url.error().to_string();
  EXPECT_EQ(*url, "http://127.0.0.1:9090");
}

TEST_F(serving_record, what_is_not_served_is_not_found) {
  EXPECT_EQ(read_serving(layout, "churn").error().code, errc::not_found);
}

TEST_F(serving_record, a_name_cannot_lead_out_of_the_folder) {
  std::ofstream{layout.root / "secret"} << "s";
  EXPECT_EQ(read_serving(layout, "x/../../secret").error().code, errc::not_found);
}

TEST_F(serving_record, a_file_that_is_no_address_costs_no_memory) {
  std::ofstream{layout.run() / "serving-churn"} << std::string(1 << 20, 'x');
  EXPECT_FALSE(read_serving(layout, "churn"));
}
