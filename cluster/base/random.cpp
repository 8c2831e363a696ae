#include "cluster/base/random.hpp"

#include <bit>
#include <cmath>

namespace flywheel {
namespace {

std::uint64_t splitmix64(std::uint64_t& x) noexcept {
  std::uint64_t z = (x += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

} // namespace

random_source::random_source(std::uint64_t seed) noexcept {
  for (auto& word : state_)
    word = splitmix64(seed);
}

random_source random_source::derive(std::uint64_t seed, std::string_view label) noexcept {
  return random_source{stable_hash(label, seed)};
}

std::uint64_t random_source::next() noexcept {
  const std::uint64_t out = std::rotl(state_[1] * 5, 7) * 9;
  const std::uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return out;
}

double random_source::uniform() noexcept { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

std::uint64_t random_source::below(std::uint64_t bound) noexcept {
  __extension__ using wide = unsigned __int128;
  wide m = static_cast<wide>(next()) * bound;
  if (static_cast<std::uint64_t>(m) < bound) {
    const std::uint64_t floor = (0 - bound) % bound;
    while (static_cast<std::uint64_t>(m) < floor)
      m = static_cast<wide>(next()) * bound;
  }
  return static_cast<std::uint64_t>(m >> 64);
}

double random_source::normal() noexcept {
  for (;;) {
    const double u = uniform(-1, 1);
    const double v = uniform(-1, 1);
    const double s = u * u + v * v;
    if (s > 0 && s < 1)
      return u * std::sqrt(-2 * std::log(s) / s);
  }
}

std::uint64_t stable_hash(std::string_view text, std::uint64_t seed) noexcept {
  std::uint64_t h = 0xcbf29ce484222325ULL ^ seed;
  for (const char c : text)
    h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  h += text.size();
  return splitmix64(h);
}

} // namespace flywheel
