// Other people's tools read what we write and write what we read. Debian's python3-h5py and python3-xxhash, or whatever
// FLYWHEEL_PYTHON names; skipped by name where they are missing.

#include "checkpoints/safetensors_file.hpp"
#include "checkpoints/sharded_store.hpp"
#include "cluster/base/json.hpp"
#include "cluster/content/digest.hpp"
#include "tests/checkpoints/sample_checkpoint.hpp"
#include "tests/checkpoints/sharded_state.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

using namespace flywheel;
namespace fs = std::filesystem;

namespace {

std::string python() {
  const char* chosen = std::getenv("FLYWHEEL_PYTHON");
  return chosen ? chosen : "/usr/bin/python3";
}

struct answer {
  int code = -1;
  std::string text;
};

answer run(const std::string& command) {
  answer a;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr)
    return a;
  char buffer[4096];
  while (const auto n = std::fread(buffer, 1, sizeof buffer, pipe))
    a.text.append(buffer, n);
  a.code = ::pclose(pipe);
  return a;
}

bool has(const std::string& modules) { return run(python() + " -c 'import " + modules + "'").code == 0; }

const std::string script = FLYWHEEL_SOURCE_DIR "/tests/checkpoints/read_sharded.py";

} // namespace

TEST(python_reader, h5py_reads_a_sharded_checkpoint_and_verifies_it_by_the_page) {
  if (!has("h5py, numpy, xxhash"))
    GTEST_SKIP() << "SKIPPED: " << python() << " has no h5py, numpy and xxhash; the format page is not checked by a stranger here";
  test::scratch_folder folder;
  auto tensors = test::sample_tensors();
  const auto store = sharded_store::begin(folder.path(), 3).value();
  ASSERT_TRUE(test::save_sharded(store, tensors, 77, 3, R"({"note": "ä"})"));
  const auto at = store.folder_of_step(77);
  const auto a = run(python() + " " + script + " " + at.string());
  ASSERT_EQ(a.code, 0) << a.text;
  const auto j = nlohmann::json::parse(a.text);
  EXPECT_EQ(j["step"], 77);
  EXPECT_EQ(j["attributes"], R"({"note": "ä"})");
  ASSERT_EQ(j["tensors"].size(), tensors.size());
  for (const auto& t : tensors) {
    const auto bytes = test::bytes_at(t, 77);
    const auto& seen = j["tensors"][t.name];
    EXPECT_EQ(seen["type"], name_of(t.type)) << t.name;
    EXPECT_EQ(seen["shape"], t.shape) << t.name;
    EXPECT_EQ(seen["sha256"], digest_of({reinterpret_cast<const char*>(bytes.data()), bytes.size()}).hex()) << t.name;
  }
  // And it notices damage.
  const auto shard = at / shard_file_name(1, 3);
  auto bytes = test::bytes_of(shard);
  bytes[bytes.size() - 5] ^= 1;
  test::write_bytes(shard, bytes);
  EXPECT_NE(run(python() + " " + script + " " + at.string()).code, 0);
}

TEST(python_reader, the_safetensors_package_agrees) {
  if (!has("safetensors.numpy, numpy"))
    GTEST_SKIP() << "SKIPPED: " << python() << " has no safetensors and numpy; the reference implementation is not asked here";
  test::scratch_folder folder;
  const auto path = folder.path() / "a.safetensors", back = folder.path() / "b.safetensors";
  safetensors_content c;
  c.metadata["format"] = "np";
  c.tensors.push_back(tensor::of<float>("w", std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3}));
  c.tensors.push_back(tensor::of("ids", std::vector<std::int8_t>{-1, 2, 3}));
  ASSERT_TRUE(write_safetensors(path, c));
  const auto a = run(python() + " -c 'from safetensors.numpy import load_file, save_file; t = load_file(\"" + path.string() +
                     "\"); assert t[\"w\"].tolist() == [[1,2,3],[4,5,6]] and t[\"ids\"].tolist() == [-1,2,3]; save_file(t, \"" + back.string() + "\")'");
  ASSERT_EQ(a.code, 0) << a.text;
  const auto read = read_safetensors(back);
  ASSERT_TRUE(read) << read.error().to_string();
  for (const auto& t : c.tensors)
    EXPECT_NE(std::find(read->tensors.begin(), read->tensors.end(), t), read->tensors.end()) << t.name;
}
