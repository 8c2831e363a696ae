#include "actors/protocol/held_out_key.hpp"

#include "cluster/base/text.hpp"
#include "cluster/content/publish.hpp"

namespace flywheel {
namespace {

std::filesystem::path key_file(const state_layout& layout) { return layout.sealed() / "held-out.pub"; }

} // namespace

status publish_held_out_key(const state_layout& layout, const seal_public_key& key) {
  return publish_file(key_file(layout), key.hex() + "\n");
}

result<seal_public_key> read_held_out_key(const state_layout& layout) {
  FLYWHEEL_TRY(const auto text, read_file(key_file(layout), 256));
  return seal_public_key::from_hex(trim(text));
}

} // namespace flywheel
