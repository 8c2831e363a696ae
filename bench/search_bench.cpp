// bench_search SEED STUDIES: the best values of so many studies per function, and the speed of one study of 1,000 trials.
// Prints one JSON object; search_peer.py prints the same for Optuna.
#include "tests/actors/hpo/objectives.hpp"

#include "cluster/base/clock.hpp"

#include <cstdio>
#include <cstdlib>

using namespace flywheel;

namespace {

/// The function at a point that both sides know: they must compute the same.
double at_the_middle(const testing::objective& o) { return o.value(clamp_into(o.space, {})); }

} // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: bench_search SEED STUDIES\n");
    return 2;
  }
  const auto seed = std::strtoull(argv[1], nullptr, 10), studies = std::strtoull(argv[2], nullptr, 10);
  const struct {
    testing::objective o;
    std::uint32_t trials;
  } cases[] = {{testing::sphere(), 100}, {testing::branin(), 60}, {testing::mixed(), 60}, {testing::hartmann6(), 100}};
  const auto tpe = make_tpe_sampler();
  std::printf("{\"version\": \"here\", \"best\": {");
  for (const auto& c : cases) {
    std::printf("%s\"%s\": [", &c == cases ? "" : ", ", c.o.name.c_str());
    for (std::uint64_t s = 0; s < studies; ++s)
      std::printf("%s%.17g", s ? ", " : "", testing::best_after(*tpe, c.o, c.trials, seed + s));
    std::printf("]");
  }
  std::printf("}, \"middle\": {");
  for (const auto& c : cases)
    std::printf("%s\"%s\": %.17g", &c == cases ? "" : ", ", c.o.name.c_str(), at_the_middle(c.o));
  constexpr std::uint32_t trials = 1000;
  const auto begin = system_clock().mono();
  const double best = testing::best_after(*tpe, testing::sphere(), trials, seed);
  const double seconds = std::chrono::duration<double>(system_clock().mono() - begin).count();
  std::printf("}, \"trials\": %u, \"seconds\": %.6f, \"best_of_many\": %.17g}\n", trials, seconds, best);
  return 0;
}
