#include "checkpoints/seal_format.hpp"

#include "cluster/content/file.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace flywheel {

namespace {

namespace fs = std::filesystem;

// Offsets in the block; integers are little-endian, the rest of the block is zero.
constexpr char magic[8] = {'F', 'W', 'C', 'K', 'P', 'T', '\r', '\n'};
constexpr std::size_t at_version = 8, at_block = 12, at_length = 16, at_step = 24, at_content = 32, at_self = 48, end = 56;

using block = std::array<std::byte, seal_bytes>;

template <class T> void put(block& b, std::size_t at, T value) { std::memcpy(b.data() + at, &value, sizeof value); }
template <class T> T get(const block& b, std::size_t at) {
  T value;
  std::memcpy(&value, b.data() + at, sizeof value);
  return value;
}

error damaged(const fs::path& path, const std::string& what) {
  return error{errc::checksum_mismatch, what, path.string(), "use the checkpoint before it"};
}

struct content_hash {
  XXH128_canonical_t digest;
  std::uint64_t length = 0; ///< of the whole file
};

struct hash_state_free {
  void operator()(XXH3_state_t* s) const { XXH3_freeState(s); }
};

result<content_hash> hash_behind_seal(int descriptor, const fs::path& path) {
  const std::unique_ptr<XXH3_state_t, hash_state_free> state{XXH3_createState()};
  if (!state)
    return error{errc::out_of_memory, "hashing", path.string()};
  XXH3_128bits_reset(state.get());
  if (::lseek(descriptor, seal_bytes, SEEK_SET) < 0)
    return error_from_errno(errno, "seek", path.string());
  std::vector<char> buffer(std::size_t{1} << 20);
  content_hash h;
  h.length = seal_bytes;
  for (;;) {
    FLYWHEEL_TRY(const auto n, read_some(descriptor, buffer.data(), buffer.size(), path));
    if (n == 0)
      break;
    XXH3_128bits_update(state.get(), buffer.data(), n);
    h.length += n;
  }
  XXH128_canonicalFromHash(&h.digest, XXH3_128bits_digest(state.get()));
  return h;
}

std::uint64_t self_hash(const block& b) { return fast_hash(std::span{b}.first(at_self)); }

} // namespace

std::uint64_t fast_hash(std::span<const std::byte> bytes) noexcept { return XXH3_64bits(bytes.data(), bytes.size()); }

status write_seal(const fs::path& path, std::uint64_t step) {
  FLYWHEEL_TRY(auto file, open_file(path, O_RDWR));
  FLYWHEEL_TRY(const auto hash, hash_behind_seal(file.get(), path));
  block b{};
  std::memcpy(b.data(), magic, sizeof magic);
  put(b, at_version, seal_version);
  put(b, at_block, static_cast<std::uint32_t>(seal_bytes));
  put(b, at_length, hash.length);
  put(b, at_step, step);
  std::memcpy(b.data() + at_content, hash.digest.digest, sizeof hash.digest.digest);
  put(b, at_self, self_hash(b));
  if (::pwrite(file.get(), b.data(), b.size(), 0) != static_cast<ssize_t>(b.size()))
    return error_from_errno(errno, "writing the seal", path.string());
  return file.close(path);
}

result<std::uint64_t> check_seal(const fs::path& path) {
  FLYWHEEL_TRY(auto file, open_regular_file(path));
  block b{};
  std::size_t have = 0;
  while (have < b.size()) {
    FLYWHEEL_TRY(const auto n, read_some(file.get(), reinterpret_cast<char*>(b.data()) + have, b.size() - have, path));
    if (n == 0)
      return damaged(path, "the file ends inside its seal, at byte " + std::to_string(have));
    have += n;
  }
  if (std::memcmp(b.data(), magic, sizeof magic) != 0)
    return damaged(path, "the first bytes are not those of a checkpoint");
  const bool rest_is_zero = std::all_of(b.begin() + end, b.end(), [](std::byte x) { return x == std::byte{0}; });
  if (get<std::uint64_t>(b, at_self) != self_hash(b) || !rest_is_zero)
    return damaged(path, "the seal's own checksum does not match");
  if (get<std::uint32_t>(b, at_version) != seal_version || get<std::uint32_t>(b, at_block) != seal_bytes)
    return error{errc::incompatible_version,
                 "the seal has version " + std::to_string(get<std::uint32_t>(b, at_version)) + ", this program reads " +
                     std::to_string(seal_version),
                 path.string(), "use the program that wrote it, or a newer one"};
  FLYWHEEL_TRY(const auto hash, hash_behind_seal(file.get(), path));
  if (hash.length != get<std::uint64_t>(b, at_length))
    return damaged(path, "the file has " + std::to_string(hash.length) + " bytes and was sealed with " +
                             std::to_string(get<std::uint64_t>(b, at_length)));
  if (std::memcmp(b.data() + at_content, hash.digest.digest, sizeof hash.digest.digest) != 0)
    return damaged(path, "the content does not match the seal");
  return get<std::uint64_t>(b, at_step);
}

} // namespace flywheel
