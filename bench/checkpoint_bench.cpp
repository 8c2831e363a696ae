// The state of a training to disk and back, beside the least that can be done with the same bytes. checkpoint_compare.py runs
// this in turn with PyTorch. Usage: bench_checkpoint FOLDER MEGABYTES MODE, where MODE is
//   save | stall        ours                     raw | raw_direct | memcpy     write + fsync, and the copy, of the same bytes
//   restore_WHERE       ours, verified           read_WHERE | read_direct_WHERE   read(2), into the same kind of memory
// WHERE: warm or cold, what the page cache has; fresh_warm or fresh_cold: into memory whose pages are not there yet.
// Every mode prints one line {"seconds": ..., "cpu_seconds": ..., "bytes": ...} of the timed part, after checking its result.

#include "checkpoints/checkpoint_saver.hpp"
#include "cluster/base/clock.hpp"
#include "cluster/base/random.hpp"

#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <string_view>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

using namespace flywheel;
namespace fs = std::filesystem;

namespace {

constexpr std::size_t layers = 12;

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "bench_checkpoint: %s\n", what.c_str());
  std::exit(1);
}

template <class T> T value(result<T> r) {
  if (!r)
    fail(r.error().to_string());
  return std::move(r).value();
}

void good(const status& s) {
  if (!s)
    fail(s.error().to_string());
}

/// Weights and AdamW's two moments of a transformer of about this size: a few large tensors and many small ones.
std::vector<tensor_part> parts_for(std::uint64_t megabytes) {
  const std::uint64_t elements = megabytes * 1'000'000 / 4 / 3;
  const std::uint64_t width = 768, rows = elements / layers / 12 / width * 11; // of one layer's matrices, an embedding besides
  std::vector<tensor_part> parts;
  for (const char* kind : {"weight", "adamw.m", "adamw.v"}) {
    const auto add = [&](const std::string& name, std::vector<std::uint64_t> shape) {
      parts.push_back(tensor_part::whole(std::string{kind} + "." + name, tensor_type::f32, std::move(shape)));
    };
    add("embedding", {elements / 12 / width, width});
    for (std::size_t l = 0; l < layers; ++l) {
      const auto layer = "layer" + std::to_string(l);
      add(layer + ".attention", {rows / 3, width});
      add(layer + ".up", {rows / 3, width});
      add(layer + ".down", {rows / 3, width});
      for (const char* small : {".norm1", ".norm2", ".bias1", ".bias2"})
        add(layer + small, {width});
    }
  }
  return parts;
}

struct state {
  std::vector<tensor_part> parts;
  staging_buffer memory;                          ///< one tensor behind the other
  std::vector<std::span<std::byte>> tensors;
  std::uint64_t bytes = 0;
};

state make_state(std::uint64_t megabytes, bool filled) {
  state s;
  s.parts = parts_for(megabytes);
  for (const auto& p : s.parts)
    s.bytes += p.bytes();
  s.memory = value(staging_buffer::create(s.bytes));
  std::uint64_t at = 0;
  for (const auto& p : s.parts) {
    s.tensors.push_back(s.memory.bytes().subspan(at, p.bytes()));
    at += p.bytes();
  }
  random_source random{1};
  if (filled)
    for (std::size_t i = 0; i + 8 <= s.bytes; i += 8) {
      const auto word = random.next();
      std::memcpy(s.memory.bytes().data() + i, &word, 8);
    }
  return s;
}

struct cost {
  double seconds = 0, cpu_seconds = 0;
};

double cpu_so_far() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec); };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

cost cost_of(const std::function<void()>& work) {
  const auto begin = system_clock().mono();
  const double cpu = cpu_so_far();
  work();
  return {std::chrono::duration<double>(system_clock().mono() - begin).count(), cpu_so_far() - cpu};
}

void tell(cost c, std::uint64_t bytes) {
  std::printf("{\"seconds\": %.6f, \"cpu_seconds\": %.6f, \"bytes\": %llu}\n", c.seconds, c.cpu_seconds, static_cast<unsigned long long>(bytes));
}

std::vector<std::span<const std::byte>> sources(const state& s) { return {s.tensors.begin(), s.tensors.end()}; }

void drop_from_cache(const fs::path& path) {
  const auto file = value(open_file(path, O_RDONLY));
  ::fsync(file.get());
  ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
}

void bring_into_cache(const fs::path& path) {
  const auto file = value(open_file(path, O_RDONLY));
  std::vector<char> buffer(8u << 20);
  while (value(read_some(file.get(), buffer.data(), buffer.size(), path)) > 0) {
  }
}

/// write(2) and fsync of the same bytes in one file: what a program does that cares for nothing else.
void raw_write(const fs::path& path, const state& s, int flags) {
  const auto bytes = s.memory.bytes();
  const auto file = value(open_file(path, O_WRONLY | O_CREAT | O_TRUNC | flags));
  for (std::size_t at = 0; at < bytes.size();) {
    const auto n = ::write(file.get(), bytes.data() + at, std::min<std::size_t>(8u << 20, bytes.size() - at));
    if (n <= 0)
      fail("raw write");
    at += static_cast<std::size_t>(n);
  }
  if (::fsync(file.get()) != 0)
    fail("fsync");
}

void save(const fs::path& root, std::uint64_t megabytes, bool only_stall) {
  const auto s = make_state(megabytes, true);
  fs::remove_all(root);
  saver_options o;
  auto saver = value(checkpoint_saver::start(value(sharded_store::begin(root, 1, {2, 0})), s.parts, o));
  const auto from = sources(s);
  // Once before: what is timed is the second save, with the memory that every later one uses, too. Both are kept: neither
  // ours nor the peers remove an older one in the timed part.
  good(saver->save(1, "{}", from));
  good(saver->wait());
  const auto spent = cost_of([&] {
    good(saver->save(2, "{}", from));
    if (!only_stall)
      good(saver->wait());
  });
  good(saver->wait());
  const auto c = value(sharded_checkpoint::open(root / checkpoint_id{1, 2}.folder_name()));
  std::vector<std::byte> back(s.tensors.back().size());
  const read_request last{s.parts.back().name, s.parts.back().range, back};
  good(c.read({&last, 1}));
  if (!std::equal(back.begin(), back.end(), s.tensors.back().begin()))
    fail("the last tensor came back changed");
  tell(spent, s.bytes);
}

void restore(const fs::path& root, std::uint64_t megabytes, bool warm, bool fresh) {
  const auto folder = root / checkpoint_id{1, 2}.folder_name();
  const auto shard = folder / shard_file_name(0, 1);
  warm ? bring_into_cache(shard) : drop_from_cache(shard);
  auto s = make_state(megabytes, false);
  if (fresh) // its pages are reserved while they are filled, as in a program that has just started
    ::madvise(s.memory.bytes().data(), s.memory.bytes().size(), MADV_DONTNEED);
  const auto spent = cost_of([&] {
    const auto c = value(sharded_checkpoint::open(folder));
    std::vector<read_request> requests;
    for (std::size_t i = 0; i < s.parts.size(); ++i)
      requests.push_back({s.parts[i].name, s.parts[i].range, s.tensors[i]});
    good(c.read(requests));
  });
  const auto expected = make_state(megabytes, true);
  if (std::memcmp(expected.memory.bytes().data(), s.memory.bytes().data(), s.bytes) != 0)
    fail("the state came back changed");
  tell(spent, s.bytes);
}

/// read(2) of the same bytes in one file, 8 MiB at a time from one thread: the page cache reads ahead, or O_DIRECT does not need it.
void raw_read(const fs::path& path, std::uint64_t megabytes, bool warm, bool fresh, int flags) {
  warm ? bring_into_cache(path) : drop_from_cache(path);
  auto s = make_state(megabytes, false);
  const auto bytes = s.memory.bytes(); // whole pages, as O_DIRECT wants them
  if (fresh)
    ::madvise(bytes.data(), bytes.size(), MADV_DONTNEED);
  const auto spent = cost_of([&] {
    const auto file = value(open_file(path, O_RDONLY | flags));
    for (std::size_t at = 0; at < s.bytes;) {
      const auto n = value(read_some(file.get(), reinterpret_cast<char*>(bytes.data()) + at, std::min<std::size_t>(8u << 20, bytes.size() - at), path));
      if (n == 0)
        fail("raw read");
      at += n;
    }
  });
  tell(spent, s.bytes);
}

} // namespace

int main(int count, char** words) {
  if (count != 4)
    fail("usage: bench_checkpoint FOLDER MEGABYTES MODE");
  const fs::path folder = words[1], ours = folder / "ours", raw = folder / "raw.bin";
  const std::uint64_t megabytes = std::stoull(words[2]);
  const std::string_view mode = words[3];
  const bool warm = mode.find("cold") == mode.npos, fresh = mode.find("fresh") != mode.npos;
  if (mode == "save" || mode == "stall")
    save(ours, megabytes, mode == "stall");
  else if (mode == "raw" || mode == "raw_direct") {
    const auto s = make_state(megabytes, true);
    fs::remove(raw);
    tell(cost_of([&] { raw_write(raw, s, mode == "raw" ? 0 : O_DIRECT); }), s.bytes);
  } else if (mode == "memcpy") {
    const auto s = make_state(megabytes, true);
    const auto to = value(staging_buffer::create(s.bytes));
    std::memcpy(to.bytes().data(), s.memory.bytes().data(), s.bytes);
    tell(cost_of([&] { std::memcpy(to.bytes().data(), s.memory.bytes().data(), s.bytes); }), s.bytes);
  } else if (mode.starts_with("restore"))
    restore(ours, megabytes, warm, fresh);
  else if (mode.starts_with("read"))
    raw_read(raw, megabytes, warm, fresh, mode.find("direct") == mode.npos ? 0 : O_DIRECT);
  else
    fail("no such mode");
}
