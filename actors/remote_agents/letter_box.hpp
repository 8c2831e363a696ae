#pragma once
// What is larger than an envelope of the gate crosses it as a letter, in pieces. Pure: bytes to pieces, and pieces of any number of peers to
// bytes, with bounds on what an unfinished letter may hold.
//
// A piece is a MessagePack map: {letter, piece, of, bytes}. The gate keeps the order; a piece that does not follow the one before ends its letter.

#include "cluster/base/error.hpp"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace flywheel {

class letter_box {
public:
  static constexpr std::size_t piece_bytes_max = 512u << 10;
  static constexpr std::size_t letter_bytes_max = 32u << 20;
  /// Of one peer at once: each of its calls may be one.
  static constexpr std::size_t unfinished_max = 16;

  /// The pieces of the next letter, at least one, each ready to be sent. too_large.
  result<std::vector<std::string>> pieces(const nlohmann::json& letter);
  /// Takes in one piece. The letter, once it is whole; nothing before. protocol_violation or too_large; that letter is forgotten.
  result<std::optional<nlohmann::json>> take(const std::string& peer, const std::string& piece);
  /// The connection ended: what was begun will not be finished.
  void forget(const std::string& peer) { unfinished_.erase(peer); }

private:
  struct unfinished {
    std::uint64_t next = 0, of = 0;
    std::string bytes;
  };
  std::uint64_t last_ = 0;
  std::map<std::string, std::map<std::uint64_t, unfinished>> unfinished_;
};

} // namespace flywheel
