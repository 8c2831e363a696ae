// The peers of bench/allreduce: one all-reduce of floats between two ranks, timed as bench_allreduce times ours.
//   -DPEER_GLOO: allreduce_gloo BYTES ROUNDS FOLDER   (plain Gloo over TCP on the loopback, ring; forks its second rank)
//   -DPEER_MPI:  mpirun -n 2 allreduce_mpi BYTES ROUNDS   (Open MPI, its own choice of transport, in place)
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#ifdef PEER_MPI
#include <mpi.h>
#else
#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

static double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

template <class Reduce, class Barrier> static int measure(int rank, std::size_t bytes, int rounds, Reduce reduce, Barrier barrier) {
  const std::size_t n = bytes / sizeof(float);
  std::vector<float> x(n);
  const auto brought_by = [](int r, std::size_t i) { return static_cast<float>((i * 7 + static_cast<std::size_t>(r) * 13) % 1000); };
  for (std::size_t i = 0; i < n; ++i)
    x[i] = brought_by(rank, i);
  reduce(x);
  for (std::size_t i = 0; i < n; ++i)
    if (x[i] != brought_by(0, i) + brought_by(1, i)) {
      std::fprintf(stderr, "element %zu is wrong\n", i);
      return 1;
    }
  std::fill(x.begin(), x.end(), 1.0F);
  reduce(x);
  std::vector<double> each;
  barrier();
  for (int i = 0; i < rounds; ++i) {
    const double start = seconds();
    reduce(x);
    each.push_back(seconds() - start);
  }
  std::sort(each.begin(), each.end());
  const double t = each[each.size() / 2];
  if (rank == 0)
    std::printf("{\"bytes\": %zu, \"seconds\": %.9f, \"best\": %.9f, \"bus_gb_s\": %.4f}\n", bytes, t, each.front(), static_cast<double>(bytes) / t / 1e9);
  return 0;
}

int main(int argc, char** argv) {
  if (argc < 3)
    return 2;
  const std::size_t bytes = std::strtoull(argv[1], nullptr, 10);
  const int rounds = std::atoi(argv[2]);
#ifdef PEER_MPI
  MPI_Init(&argc, &argv);
  int rank = 0, size = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (size != 2)
    return 2;
  const int wrong = measure(
      rank, bytes, rounds,
      [](std::vector<float>& x) { MPI_Allreduce(MPI_IN_PLACE, x.data(), static_cast<int>(x.size()), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); },
      [] { MPI_Barrier(MPI_COMM_WORLD); });
  MPI_Finalize();
  return wrong;
#else
  if (argc < 4)
    return 2;
  const pid_t other = ::fork();
  const int rank = other == 0 ? 1 : 0;
  gloo::transport::tcp::attr where;
  where.hostname = "127.0.0.1";
  auto device = gloo::transport::tcp::CreateDevice(where);
  gloo::rendezvous::FileStore store(argv[3]);
  auto context = std::make_shared<gloo::rendezvous::Context>(rank, 2);
  context->setTimeout(std::chrono::seconds(60));
  context->connectFullMesh(store, device);
  int wrong = measure(
      rank, bytes, rounds,
      [&](std::vector<float>& x) {
        gloo::AllreduceOptions options(context);
        options.setOutput(x.data(), x.size());
        options.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
        options.setReduceFunction([](void* c, const void* a, const void* b, std::size_t n) { gloo::sum<float>(c, a, b, n); });
        gloo::allreduce(options);
      },
      [&] {
        gloo::BarrierOptions options(context);
        gloo::barrier(options);
      });
  if (rank == 0) {
    int ended = 0;
    ::waitpid(other, &ended, 0);
    wrong |= ended;
  }
  return wrong;
#endif
}
