#pragma once
// What a node and the head's file server say to each other: one MessagePack map a message, one ZeroMQ frame each. A node asks, the server
// answers; each request may be repeated. Page: docs/transfer-protocol.md. Pinned by tests/cluster/transfer/transfer_format_test.cpp.

#include "cluster/content/digest.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel::transfer {

inline constexpr std::uint64_t version = 1;
/// Of a file's bytes in one message.
inline constexpr std::size_t chunk_bytes_max = std::size_t{1} << 20;
/// Of a whole message; a larger one is not read, and ends the connection.
inline constexpr std::size_t message_bytes_max = chunk_bytes_max + (std::size_t{64} << 10);
inline constexpr std::size_t name_bytes_max = 1024, name_depth_max = 16;
/// Of one root: more is taken for a mistake.
inline constexpr std::size_t files_max = 65'536;
inline constexpr std::uint64_t file_bytes_max = std::uint64_t{1} << 40;

enum class op : std::uint8_t {
  list,    ///< the files of a root behind `name`, in order
  read,    ///< `size` bytes of a file at `offset`
  begin,   ///< a file of `size` bytes is to come: how many of them are there already?
  put,     ///< `bytes` of it, at `offset`
  publish, ///< it is whole: check `sha256`, and give it its name
  remove,  ///< a file of a state folder
  finish,  ///< a result's files are there: check their digest, and give the folder its name
};
std::string_view name_of(op o) noexcept;

/// `bytes` points into what was decoded. Which fields an operation uses: docs/transfer-protocol.md.
struct request {
  op is = op::list;
  std::uint64_t id = 0;    ///< the asker's; comes back in the reply
  std::uint64_t lease = 0; ///< under which it works
  std::uint64_t root = 0;  ///< number of an input, a state folder or a result of the lease's task, in this order
  std::string name;        ///< of a file, beneath the root; "" if the root is a file itself
  std::uint64_t offset = 0, size = 0;
  digest sha256;
  std::string_view bytes;
};

struct reply {
  std::uint64_t id = 0;
  std::uint64_t offset = 0, size = 0;
  bool more = false;       ///< list: ask on behind the last name
  std::string_view bytes;
  error problem{errc::ok, {}};
};

/// A file beneath a root.
struct file_entry {
  std::string name;
  std::uint64_t size = 0;
  digest sha256;
  bool operator==(const file_entry&) const = default;
};

std::string encode(const request& r);
std::string encode(const reply& r);
/// Files as the bytes of a reply to `list`.
std::string encode(const std::vector<file_entry>& files);

// Each: protocol_violation, too_large or incompatible_version, naming the field or the byte.
result<request> request_from(std::string_view bytes);
result<reply> reply_from(std::string_view bytes);
/// Names are checked, and must be in order: nothing is there twice.
result<std::vector<file_entry>> files_from(std::string_view bytes);

/// A name that stays beneath its root: parts of 1 to 255 bytes of UTF-8 between single '/', none of them "." or "..", no control bytes, at
/// most name_depth_max parts and name_bytes_max bytes. Empty is right only where the root is a file.
status check_name(std::string_view name);
/// Of a result: its files' names, sizes and digests, in the order of their names.
digest digest_of(const std::vector<file_entry>& files);

} // namespace flywheel::transfer
