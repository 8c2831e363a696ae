// bench_gang_recovery FILE: the initial weights of `flywheel worker gang-train`, raw floats, for the peer to start from.

#include "gpu/models/transformer.hpp"
#include "models/gang/gang_training.hpp"

#include <cstdio>
#include <fstream>

int main(int argc, char** argv) {
  if (argc != 2)
    return std::fprintf(stderr, "usage: bench_gang_recovery FILE\n"), 2;
  const flywheel::gang_training_options o;
  const flywheel::gpu::transformer<float> network{o.shape, o.seed};
  std::ofstream to{argv[1], std::ios::binary};
  to.write(reinterpret_cast<const char*>(network.parameters().data()), static_cast<std::streamsize>(network.parameters().size_bytes()));
  return to.flush() ? 0 : 1;
}
