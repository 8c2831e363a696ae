#pragma once
// "FWT1": a table as bytes. Described for other readers in docs/formats/table.md; pinned by a golden test.
// Every column carries its own checksum, verified on read (I10). Sizes are checked before memory is reserved.

#include "cluster/dataset/table.hpp"

#include <filesystem>
#include <string>
#include <string_view>

namespace flywheel {

std::string encode_table(const table& t);
/// checksum_mismatch, invalid_format or incompatible_version, naming the column and offset.
result<table> decode_table(std::string_view bytes);
/// Published atomically.
status write_table(const std::filesystem::path& path, const table& t);
result<table> read_table(const std::filesystem::path& path);

} // namespace flywheel
