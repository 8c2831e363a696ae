// Two (or more) ranks of one machine: the bandwidth of all_reduce, and how much of a data-parallel training step waits for it.
//   bench_allreduce reduce WAY BYTES ROUNDS [RANKS]   WAY: arena (memory of the communicator), any (malloc), gloo (our Gloo backend)
//   bench_allreduce step ROUNDS                       a network of linear layers, alone / overlapped / one after the other
// Prints one JSON object. Answers are checked on all ranks before anything is timed.

#include "nccl/bandwidth.hpp"
#include "nccl/gradient_buckets.hpp"

#include <cblas.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

using namespace flywheel;
using namespace flywheel::nccl;
using namespace std::chrono_literals;

extern "C" void openblas_set_num_threads(int);

namespace {

double seconds() { return static_cast<double>(system_clock().mono().ns) * 1e-9; }

[[noreturn]] void fail(const std::string& why) {
  std::fprintf(stderr, "bench_allreduce: %s\n", why.c_str());
  std::_Exit(1);
}
void must(const status& s) {
  if (!s)
    fail(s.error().to_string());
}

double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x[x.size() / 2];
}

/// Runs `body` on every rank, rank 0 in this process; what it prints is the answer.
void run_gang(int ranks, backend use, std::uint64_t arena_bytes, const std::function<void(communicator&)>& body) {
  std::string folder = (std::filesystem::temp_directory_path() / "flywheel-bench-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr)
    fail("mkdtemp");
  gang_record record;
  record.gang = "bench";
  record.use = use;
  record.folder = folder;
  record.arena_bytes = arena_bytes;
  record.members.assign(static_cast<std::size_t>(ranks), {"127.0.0.1", -1});
  std::vector<pid_t> children;
  for (int r = 1; r < ranks; ++r) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      record.rank = r;
      break;
    }
    children.push_back(pid);
  }
  {
    auto joined = join_gang(record, 30s);
    if (!joined)
      fail(joined.error().to_string());
    body(**joined);
    must((*joined)->barrier(60s));
  }
  if (record.rank != 0)
    std::_Exit(0);
  int wrong = 0;
  for (const auto pid : children) {
    int ended = 0;
    ::waitpid(pid, &ended, 0);
    wrong += ended != 0;
  }
  std::filesystem::remove_all(folder);
  if (wrong != 0)
    fail("a rank failed");
}

float brought_by(int rank, std::size_t i) { return static_cast<float>((i * 7 + static_cast<std::size_t>(rank) * 13) % 1000); }

void reduce(const std::string& way, std::size_t bytes, int rounds, int ranks) {
  const std::size_t n = bytes / sizeof(float);
  run_gang(ranks, way == "gloo" ? backend::gloo : backend::shared_memory, bytes + (1 << 20), [&](communicator& c) {
    std::vector<float> own(way == "arena" ? 0 : n);
    std::span<float> x = own;
    if (way == "arena") {
      auto memory = c.allocate(bytes);
      if (!memory)
        fail(memory.error().to_string());
      x = {reinterpret_cast<float*>(memory->data()), n};
    }
    for (std::size_t i = 0; i < n; ++i)
      x[i] = brought_by(c.rank(), i);
    must(c.all_reduce(x, reduction::sum, 60s));
    for (std::size_t i = 0; i < n; ++i) {
      float expected = 0;
      for (int r = 0; r < c.size(); ++r)
        expected += brought_by(r, i);
      if (x[i] != expected)
        fail("element " + std::to_string(i) + " is wrong");
    }
    must(c.all_reduce(x, reduction::max, 60s));
    std::vector<double> each;
    must(c.barrier(60s));
    for (int i = 0; i < rounds; ++i) {
      const double start = seconds();
      must(c.all_reduce(x, reduction::sum, 60s));
      each.push_back(seconds() - start);
    }
    if (c.rank() == 0)
      std::printf("{\"bytes\": %zu, \"seconds\": %.9f, \"best\": %.9f, \"bus_gb_s\": %.4f}\n", bytes, median(each),
                  *std::min_element(each.begin(), each.end()), bus_bandwidth(collective::all_reduce, c.size(), bytes, median(each)) / 1e9);
  });
}

// ---- a training step ----

constexpr int layers = 16, width = 1024, tokens = 256; // a rank's tokens; 6 x 16.8 M parameters x 256 = 25.8 GFLOP a step and rank
constexpr std::size_t bucket_bytes = 8 << 20;

void matmul(bool ta, bool tb, int m, int n, int k, const float* a, const float* b, float* c) {
  cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, m, n, k, 1.0F, a, ta ? m : k, b, tb ? k : n, 0.0F, c, n);
}

/// Forward, backward with the real gradients of every layer, and the update.
struct network {
  std::vector<std::vector<float>> weight, activation;
  std::vector<float> delta, next;
  explicit network(int rank) {
    const auto square = static_cast<std::size_t>(width) * width, rows = static_cast<std::size_t>(tokens) * width;
    for (int l = 0; l < layers; ++l) {
      weight.emplace_back(square);
      for (std::size_t i = 0; i < square; ++i)
        weight.back()[i] = (i % width == i / width ? 1.0F : 0.0F) + 1e-4F * static_cast<float>(static_cast<int>(i * 2654435761U % 201) - 100) / 100;
    }
    activation.assign(layers + 1, std::vector<float>(rows));
    for (std::size_t i = 0; i < rows; ++i)
      activation[0][i] = static_cast<float>((i * 31 + static_cast<std::size_t>(rank) * 17) % 200) / 100 - 1;
    delta.resize(rows);
    next.resize(rows);
  }
  void forward() {
    for (std::size_t l = 0; l < layers; ++l)
      matmul(false, false, tokens, width, width, activation[l].data(), weight[l].data(), activation[l + 1].data());
  }
  void backward(const std::function<std::span<float>(std::size_t)>& gradient, const std::function<void(std::size_t)>& ready) {
    for (std::size_t i = 0; i < delta.size(); ++i)
      delta[i] = (activation[layers][i] - 0.5F) / tokens;
    for (std::size_t l = layers; l-- > 0;) {
      matmul(true, false, width, width, tokens, activation[l].data(), delta.data(), gradient(l).data());
      ready(l);
      matmul(false, true, tokens, width, width, delta.data(), weight[l].data(), next.data());
      delta.swap(next);
    }
  }
  void update(const std::function<std::span<float>(std::size_t)>& gradient) {
    for (std::size_t l = 0; l < layers; ++l) {
      const auto g = gradient(l);
      for (std::size_t i = 0; i < weight[l].size(); ++i)
        weight[l][i] -= 1e-4F * g[i];
    }
  }
};

void step(int rounds) {
  const std::vector<std::size_t> sizes(layers, static_cast<std::size_t>(width) * width);
  run_gang(2, backend::shared_memory, 256 << 20, [&](communicator& c) {
    openblas_set_num_threads(1);
    communication_thread thread{c};
    auto made = gradient_buckets::make(thread, sizes, bucket_bytes, bucket_reduction::all_ranks, 60s);
    if (!made)
      fail(made.error().to_string());
    auto& buckets = **made;
    const auto gradient = [&](std::size_t l) { return buckets.gradient(l); };
    network overlapped{c.rank()}, apart{c.rank()}, alone{c.rank()};
    std::array<std::vector<double>, 3> took;
    for (int i = 0; i <= rounds; ++i) {
      must(buckets.thread().over().barrier(60s));
      const auto timed = [&](std::size_t which, const std::function<void()>& work) {
        const double start = seconds();
        work();
        if (i > 0) // the first touches memory
          took[which].push_back(seconds() - start);
        must(c.barrier(60s));
      };
      timed(0, [&] {
        alone.forward();
        alone.backward(gradient, [](std::size_t) {});
        alone.update(gradient);
      });
      timed(1, [&] {
        overlapped.forward();
        overlapped.backward(gradient, [&](std::size_t l) { buckets.ready(l); });
        must(buckets.finish());
        overlapped.update(gradient);
      });
      timed(2, [&] {
        apart.forward();
        apart.backward(gradient, [](std::size_t) {});
        for (std::size_t l = layers; l-- > 0;)
          buckets.ready(l);
        must(buckets.finish());
        apart.update(gradient);
      });
    }
    // Both ways of communicating are the same training: the same bits; and both ranks hold the same weights.
    for (std::size_t l = 0; l < layers; ++l) {
      if (std::memcmp(overlapped.weight[l].data(), apart.weight[l].data(), overlapped.weight[l].size() * sizeof(float)) != 0)
        fail("overlap changed the result");
      auto largest = overlapped.weight[l];
      must(c.all_reduce(std::span{largest}, reduction::max, 60s));
      if (std::memcmp(largest.data(), overlapped.weight[l].data(), largest.size() * sizeof(float)) != 0)
        fail("the ranks differ");
    }
    if (c.rank() == 0) {
      const double a = median(took[0]), o = median(took[1]), s = median(took[2]);
      std::printf("{\"alone_s\": %.6f, \"overlapped_s\": %.6f, \"apart_s\": %.6f, \"exposed\": %.6f, \"exposed_apart\": %.6f, "
                  "\"gradient_mb\": %.1f, \"gflop\": %.1f}\n",
                  a, o, s, std::max(0.0, (o - a) / o), std::max(0.0, (s - a) / s), layers * 1.0 * width * width * 4 / 1e6,
                  6.0 * layers * width * width * tokens / 1e9);
    }
  });
}

} // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "reduce" && argc >= 5)
    reduce(argv[2], std::strtoull(argv[3], nullptr, 10), std::atoi(argv[4]), argc > 5 ? std::atoi(argv[5]) : 2);
  else if (what == "step" && argc == 3)
    step(std::atoi(argv[2]));
  else {
    std::fprintf(stderr, "usage: bench_allreduce reduce arena|any|gloo BYTES ROUNDS [RANKS] | step ROUNDS\n");
    return 2;
  }
  return 0;
}
