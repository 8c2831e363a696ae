// A saved model comes back as it was, or not at all (I10).

#include "models/trial.hpp"
#include "tests/models/sample_tables.hpp"

#include <gtest/gtest.h>
#include <sstream>
#include <thread>

using namespace flywheel;
namespace fs = std::filesystem;

namespace {

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}
void write_bytes(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

class saved_model : public testing::TestWithParam<std::string> {
protected:
  void SetUp() override {
    trial_spec spec;
    spec.family = GetParam();
    spec.resource_max = 3;
    const std::atomic<bool> never{false};
    model_ = fit_model(data_, task_, spec, 3, {}, {}, never).value();
    const auto saved = model_->save(folder_.path());
    ASSERT_TRUE(saved) << saved.error().to_string();
    for (const auto& entry : fs::directory_iterator(folder_.path()))
      files_.push_back(entry.path());
  }
  std::vector<float> outputs(const tabular_model& m) {
    const auto features = encode_features(m.signature(), data_).value();
    std::vector<float> out(data_.rows() * m.signature().outputs());
    m.predict(features, data_.rows(), out);
    return out;
  }
  table data_ = test::make_table(150, 3, task_type::binary, 12);
  learning_task task_ = test::task_for(data_, task_type::binary, metric_name::accuracy);
  std::shared_ptr<const tabular_model> model_;
  test::temporary_folder folder_;
  std::vector<fs::path> files_;
};

} // namespace

TEST_P(saved_model, comes_back_to_the_bit) {
  const auto loaded = load_model(folder_.path());
  ASSERT_TRUE(loaded) << loaded.error().to_string();
  EXPECT_EQ(outputs(*model_), outputs(**loaded));
  EXPECT_EQ((*loaded)->family(), GetParam());
  EXPECT_EQ((*loaded)->signature().classes, task_.classes);
  EXPECT_EQ((*loaded)->signature().inputs.size(), 5u);
  EXPECT_EQ((*loaded)->signature().inputs[3].categories, data_.columns[3].categories);
}

TEST_P(saved_model, any_flipped_bit_is_a_checksum_mismatch) {
  for (const auto& file : files_) {
    const auto whole = bytes_of(file);
    random_source random{17};
    const bool every_byte = whole.size() < 3000;
    const std::size_t tries = every_byte ? whole.size() : 600;
    for (std::size_t i = 0; i < tries; ++i) {
      auto broken = whole;
      const auto at = every_byte ? i : random.below(whole.size());
      broken[at] = static_cast<char>(broken[at] ^ (1 << random.below(8)));
      write_bytes(file, broken);
      const auto r = load_model(folder_.path());
      ASSERT_FALSE(r) << file << " byte " << at;
      ASSERT_EQ(r.error().code, errc::checksum_mismatch) << file << " byte " << at << ": " << r.error().to_string();
    }
    write_bytes(file, whole);
  }
  EXPECT_TRUE(load_model(folder_.path()));
}

TEST_P(saved_model, cut_grown_swapped_or_lost_files_are_told) {
  for (const auto& file : files_) {
    const auto whole = bytes_of(file);
    for (const std::size_t left : {std::size_t{0}, std::size_t{1}, whole.size() / 2, whole.size() - 1}) {
      write_bytes(file, whole.substr(0, left));
      EXPECT_EQ(load_model(folder_.path()).error().code, errc::checksum_mismatch) << file << " cut to " << left;
    }
    write_bytes(file, whole + "x");
    EXPECT_EQ(load_model(folder_.path()).error().code, errc::checksum_mismatch);
    fs::remove(file);
    EXPECT_EQ(load_model(folder_.path()).error().code, errc::not_found);
    write_bytes(file, whole);
  }
}

TEST_P(saved_model, one_object_answers_many_threads_alike) {
  const auto expected = outputs(*model_);
  std::vector<std::jthread> threads;
  std::atomic<int> different{0};
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < 20; ++k)
        different += outputs(*model_) != expected;
    });
  threads.clear();
  EXPECT_EQ(different, 0);
}

std::vector<std::string> all_families() {
  std::vector<std::string> names;
  for (const auto& f : families())
    names.push_back(f.name);
  return names;
}
INSTANTIATE_TEST_SUITE_P(families, saved_model, testing::ValuesIn(all_families()), [](const auto& p) { return p.param; });
