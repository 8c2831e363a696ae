#include "cluster/security/sealed_box.hpp"

#include "tests/cluster/content/scratch.hpp"

#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace flywheel;
namespace fs = std::filesystem;
using flywheel::testing::entries;
using flywheel::testing::scratch;
using flywheel::testing::slurp;
using flywheel::testing::spill;

namespace {

// RFC 7748, section 6.1: Alice's key (clamped, as our key files store it) and both public keys.
constexpr auto alice_clamped = "70076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c6a";
constexpr auto alice_public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
constexpr auto bob_public = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";

/// "held-out rows" sealed from Bob's key (as the ephemeral one) to Alice's, context "golden": made by another
/// implementation (Python's cryptography package) from docs/formats/sealed.md.
constexpr auto golden_box = "464c595345414c31de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f0f9fa0b106a3c92f15130ff329495b0c8eaa501034dede242376df2b6c";

std::string unhex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(std::string{hex.substr(i, 2)}, nullptr, 16));
  return bytes;
}

void write_key_file(const fs::path& path, const std::string& bytes) {
  spill(path, bytes);
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
}

std::string alice_file() { return "FLYKEY1\n" + unhex(alice_clamped) + unhex(alice_public); }

} // namespace

TEST(sealed_box, opens_with_its_key_and_context_only) {
  const auto key = seal_private_key::generate();
  const auto other = seal_private_key::generate();
  ASSERT_TRUE(key && other);
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{16}, std::size_t{1'000'003}}) {
    std::string plain(size, 's');
    const auto box = seal(key->public_key(), plain, "snapshot-1");
    ASSERT_TRUE(box);
    EXPECT_EQ(box->size(), size + 56);
    if (size > 8) {
      EXPECT_EQ(box->find(plain.substr(0, 8)), std::string::npos);
    }
    EXPECT_EQ(key->open(*box, "snapshot-1").value_or("error"), plain);
    EXPECT_EQ(key->open(*box, "snapshot-2").error().code, errc::checksum_mismatch);
    EXPECT_EQ(key->open(*box, "").error().code, errc::checksum_mismatch);
    EXPECT_EQ(other->open(*box, "snapshot-1").error().code, errc::checksum_mismatch);
  }
}

TEST(sealed_box, the_same_text_never_gives_the_same_box) {
  const auto key = seal_private_key::generate();
  const auto a = seal(key->public_key(), "yes", "c");
  const auto b = seal(key->public_key(), "yes", "c");
  EXPECT_NE(a->substr(8, 32), b->substr(8, 32));
  EXPECT_NE(a->substr(40), b->substr(40));
}

TEST(sealed_box, every_altered_bit_is_noticed) {
  const auto key = seal_private_key::generate();
  const auto box = seal(key->public_key(), "the last 1,667 rows", "context");
  ASSERT_TRUE(box);
  for (std::size_t i = 0; i < box->size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      auto altered = *box;
      altered[i] = static_cast<char>(altered[i] ^ (1 << bit));
      const auto opened = key->open(altered, "context");
      ASSERT_FALSE(opened) << "byte " << i << " bit " << bit;
      EXPECT_EQ(opened.error().code, errc::checksum_mismatch);
    }
}

TEST(sealed_box, every_cut_and_every_extension_is_noticed) {
  const auto key = seal_private_key::generate();
  const auto box = seal(key->public_key(), "rows", "context");
  for (std::size_t size = 0; size < box->size(); ++size)
    EXPECT_EQ(key->open(box->substr(0, size), "context").error().code, errc::checksum_mismatch) << size;
  EXPECT_FALSE(key->open(*box + '\0', "context"));
  EXPECT_FALSE(key->open(*box + *box, "context"));
}

TEST(sealed_box, a_point_of_small_order_is_refused_on_both_sides) {
  // The shared secret with such a point is zero for every private key: anybody could open the box.
  const auto key = seal_private_key::generate();
  for (const char first : {'\0', '\1'}) {
    std::string point(32, '\0');
    point[0] = first;
    seal_public_key weak;
    std::copy(point.begin(), point.end(), weak.bytes.begin());
    EXPECT_EQ(seal(weak, "x", "c").error().code, errc::invalid_argument);
    auto box = *seal(key->public_key(), "x", "c");
    box.replace(8, 32, point);
    EXPECT_EQ(key->open(box, "c").error().code, errc::checksum_mismatch);
  }
}

TEST(sealed_box, agrees_with_another_implementation_of_the_format) {
  const scratch dir;
  write_key_file(dir / "key", alice_file());
  const auto alice = seal_private_key::load_or_create(dir / "key");
  ASSERT_TRUE(alice) << alice.error().to_string();
  EXPECT_EQ(alice->public_key().hex(), alice_public);
  EXPECT_EQ(std::string_view(golden_box).substr(16, 64), bob_public);
  EXPECT_EQ(alice->open(unhex(golden_box), "golden").value_or("error"), "held-out rows");
}

TEST(sealed_box, public_keys_travel_as_hex) {
  EXPECT_EQ(seal_public_key::from_hex(bob_public)->hex(), bob_public);
  EXPECT_EQ(seal_public_key::from_hex("de9e").error().code, errc::invalid_format);
}

TEST(private_key_file, is_created_for_its_owner_only_and_found_again) {
  const scratch dir;
  const auto first = seal_private_key::load_or_create(dir / "key");
  ASSERT_TRUE(first);
  struct stat about {};
  ASSERT_EQ(::stat((dir / "key").c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
  EXPECT_EQ(entries(dir.path()), 1u);
  const auto again = seal_private_key::load_or_create(dir / "key");
  ASSERT_TRUE(again);
  EXPECT_EQ(again->public_key().hex(), first->public_key().hex());
}

TEST(private_key_file, is_refused_when_others_could_use_it) {
  const scratch dir;
  ASSERT_TRUE(seal_private_key::load_or_create(dir / "key"));
  for (const mode_t mode : {0640u, 0604u, 0620u, 0602u, 0610u, 0644u, 0777u}) {
    ASSERT_EQ(::chmod((dir / "key").c_str(), mode), 0);
    const auto key = seal_private_key::load_or_create(dir / "key");
    ASSERT_FALSE(key) << std::oct << mode;
    EXPECT_EQ(key.error().code, errc::permission_denied);
    EXPECT_NE(key.error().hint.find("chmod 600"), std::string::npos);
  }
  ASSERT_EQ(::chmod((dir / "key").c_str(), 0400), 0);
  EXPECT_TRUE(seal_private_key::load_or_create(dir / "key"));
}

TEST(private_key_file, a_link_or_a_folder_is_no_key) {
  const scratch dir;
  ASSERT_TRUE(seal_private_key::load_or_create(dir / "key"));
  fs::create_symlink("key", dir / "link");
  EXPECT_FALSE(seal_private_key::load_or_create(dir / "link"));
  fs::create_symlink("nowhere", dir / "dangling");
  EXPECT_FALSE(seal_private_key::load_or_create(dir / "dangling"));
  fs::create_directory(dir / "folder");
  EXPECT_FALSE(seal_private_key::load_or_create(dir / "folder"));
  EXPECT_FALSE(seal_private_key::load_or_create(dir / "none/key"));
}

TEST(private_key_file, every_flipped_bit_and_every_cut_is_noticed) {
  const scratch dir;
  const auto good = alice_file();
  for (std::size_t i = 0; i < good.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      auto altered = good;
      altered[i] = static_cast<char>(altered[i] ^ (1 << bit));
      write_key_file(dir / "key", altered);
      const auto key = seal_private_key::load_or_create(dir / "key");
      ASSERT_FALSE(key) << "byte " << i << " bit " << bit;
      EXPECT_EQ(key.error().code, errc::checksum_mismatch);
      // The error tells where, never what (I14).
      EXPECT_EQ(key.error().to_string().find(altered.substr(8, 8)), std::string::npos);
    }
  for (std::size_t size = 0; size < good.size(); ++size) {
    write_key_file(dir / "key", good.substr(0, size));
    EXPECT_EQ(seal_private_key::load_or_create(dir / "key").error().code, errc::checksum_mismatch) << size;
  }
  write_key_file(dir / "key", good + "x");
  EXPECT_FALSE(seal_private_key::load_or_create(dir / "key"));
}

TEST(private_key_file, those_who_create_it_at_once_agree_on_one_key) {
  const scratch dir;
  std::vector<std::string> seen(8);
  std::vector<std::thread> threads;
  for (auto& mine : seen)
    threads.emplace_back([&] {
      const auto key = seal_private_key::load_or_create(dir / "key");
      mine = key ? key->public_key().hex() : key.error().to_string();
    });
  for (auto& t : threads)
    t.join();
  EXPECT_EQ(seen, std::vector<std::string>(8, seen.front()));
  EXPECT_EQ(seen.front().size(), 64u);
  EXPECT_EQ(entries(dir.path()), 1u);
}

TEST(private_key, the_key_moves_and_leaves_nothing_behind) {
  auto key = seal_private_key::generate();
  ASSERT_TRUE(key);
  const auto name = key->public_key().hex();
  const auto* const bytes = reinterpret_cast<const unsigned char*>(&*key); // its 32 bytes are its only member
  static_assert(sizeof(seal_private_key) == 32);
  const seal_private_key moved = std::move(*key);
  EXPECT_EQ(moved.public_key().hex(), name);
  EXPECT_EQ(std::string(bytes, bytes + 32), std::string(32, '\0'));
}
