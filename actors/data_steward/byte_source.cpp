#include "actors/data_steward/byte_source.hpp"

#include "cluster/content/file.hpp"

#include <algorithm>
#include <cstring>
#include <sys/stat.h>
#include <vector>
#include <zlib.h>
#include <zstd.h>

namespace flywheel {
namespace {

namespace fs = std::filesystem;

/// The file's own bytes, counted and hashed, with a look at the first ones.
class raw_file {
public:
  static constexpr std::size_t peek_bytes = 4;

  static result<raw_file> open(const fs::path& path, hasher* hash) {
    FLYWHEEL_TRY(file_handle handle, open_regular_file(path));
    struct stat about {};
    if (::fstat(handle.get(), &about) != 0)
      return error_from_errno(errno, "fstat " + path.string());
    raw_file file;
    file.path_ = path;
    file.size_ = static_cast<std::uint64_t>(about.st_size);
    file.handle_ = std::move(handle);
    file.hash_ = hash;
    file.peek_.resize(peek_bytes);
    FLYWHEEL_TRY(const std::size_t got, file.fill(file.peek_.data(), peek_bytes));
    file.peek_.resize(got);
    return file;
  }

  std::string_view peek() const { return {peek_.data(), peek_.size()}; }
  const fs::path& path() const { return path_; }
  std::uint64_t position() const { return position_; }
  std::uint64_t size() const { return size_; }

  result<std::size_t> read(char* to, std::size_t size) {
    std::size_t done = 0;
    if (peeked_ < peek_.size()) {
      done = std::min(size, peek_.size() - peeked_);
      std::memcpy(to, peek_.data() + peeked_, done);
      peeked_ += done;
    }
    FLYWHEEL_TRY(const std::size_t got, fill(to + done, size - done));
    position_ += done + got;
    return done + got;
  }

private:
  result<std::size_t> fill(char* to, std::size_t size) {
    std::size_t done = 0;
    while (done < size) {
      FLYWHEEL_TRY(const std::size_t got, read_some(handle_.get(), to + done, size - done, path_));
      if (got == 0)
        break;
      done += got;
    }
    if (hash_ != nullptr)
      hash_->update(std::string_view{to, done});
    return done;
  }

  fs::path path_;
  file_handle handle_;
  hasher* hash_ = nullptr;
  std::vector<char> peek_;
  std::size_t peeked_ = 0;
  std::uint64_t position_ = 0, size_ = 0;
};

class plain_source final : public byte_source {
public:
  explicit plain_source(raw_file file) : file_(std::move(file)) {}
  result<std::size_t> read(char* to, std::size_t size) override { return file_.read(to, size); }
  std::uint64_t position() const override { return file_.position(); }
  std::uint64_t size() const override { return file_.size(); }
  std::string_view compression() const override { return "none"; }

private:
  raw_file file_;
};

/// What both decompressors share: an input window over the raw file.
class packed_source : public byte_source {
public:
  explicit packed_source(raw_file file) : file_(std::move(file)), window_(256 * 1024) {}
  std::uint64_t position() const override { return file_.position() - (end_ - begin_); }
  std::uint64_t size() const override { return file_.size(); }

protected:
  /// True if there is input; reads more if the window is empty.
  result<bool> more() {
    if (begin_ == end_) {
      FLYWHEEL_TRY(end_, file_.read(window_.data(), window_.size()));
      begin_ = 0;
    }
    return begin_ < end_;
  }
  error broken(std::string_view what) const {
    return {errc::invalid_format, std::string{compression()} + " data: " + std::string{what},
            file_.path().string() + ", byte " + std::to_string(position()),
            "fetch the file again, or repack it with " + std::string{compression()}};
  }

  raw_file file_;
  std::vector<char> window_;
  std::size_t begin_ = 0, end_ = 0;
};

class gzip_source final : public packed_source {
public:
  explicit gzip_source(raw_file file) : packed_source(std::move(file)) { ready_ = ::inflateInit2(&stream_, 15 + 16) == Z_OK; }
  ~gzip_source() override { ::inflateEnd(&stream_); }
  gzip_source(const gzip_source&) = delete;
  gzip_source& operator=(const gzip_source&) = delete;
  std::string_view compression() const override { return "gzip"; }

  result<std::size_t> read(char* to, std::size_t size) override {
    if (!ready_)
      return error{errc::out_of_memory, "zlib could not start"};
    std::size_t done = 0;
    while (done < size) {
      FLYWHEEL_TRY(const bool input, more());
      if (!input) {
        if (inside_)
          return broken("it ends in the middle of a member");
        break;
      }
      inside_ = true;
      stream_.next_in = reinterpret_cast<Bytef*>(window_.data() + begin_);
      stream_.avail_in = static_cast<uInt>(end_ - begin_);
      stream_.next_out = reinterpret_cast<Bytef*>(to + done);
      stream_.avail_out = static_cast<uInt>(std::min<std::size_t>(size - done, 1U << 30));
      const auto room = stream_.avail_out;
      const int code = ::inflate(&stream_, Z_NO_FLUSH);
      begin_ = end_ - stream_.avail_in;
      done += room - stream_.avail_out;
      if (code == Z_STREAM_END) { // another member may follow (RFC 1952, 2.2)
        inside_ = false;
        ::inflateReset(&stream_);
      } else if (code != Z_OK && code != Z_BUF_ERROR) {
        return broken(stream_.msg != nullptr ? stream_.msg : "not readable");
      }
    }
    return done;
  }

private:
  z_stream stream_{};
  bool ready_ = false, inside_ = false;
};

class zstd_source final : public packed_source {
public:
  explicit zstd_source(raw_file file) : packed_source(std::move(file)), stream_(::ZSTD_createDStream()) {
    if (stream_ != nullptr) // a frame may not ask for more memory than this
      ::ZSTD_DCtx_setParameter(stream_, ZSTD_d_windowLogMax, 27);
  }
  ~zstd_source() override { ::ZSTD_freeDStream(stream_); }
  zstd_source(const zstd_source&) = delete;
  zstd_source& operator=(const zstd_source&) = delete;
  std::string_view compression() const override { return "zstd"; }

  result<std::size_t> read(char* to, std::size_t size) override {
    if (stream_ == nullptr)
      return error{errc::out_of_memory, "zstd could not start"};
    ZSTD_outBuffer out{to, size, 0};
    while (out.pos < out.size) {
      FLYWHEEL_TRY(const bool input, more());
      if (!input && !flushing_) {
        if (inside_)
          return broken("it ends in the middle of a frame");
        break;
      }
      ZSTD_inBuffer in{window_.data() + begin_, end_ - begin_, 0};
      const std::size_t before = out.pos;
      const std::size_t code = ::ZSTD_decompressStream(stream_, &out, &in);
      if (::ZSTD_isError(code) != 0)
        return broken(::ZSTD_getErrorName(code));
      begin_ += in.pos;
      inside_ = code != 0;
      flushing_ = inside_ && out.pos == out.size; // there may be output left without more input
      if (!input && out.pos == before && inside_)
        return broken("it ends in the middle of a frame");
    }
    return out.pos;
  }

private:
  ZSTD_DStream* stream_;
  bool inside_ = false, flushing_ = false;
};

} // namespace

result<std::unique_ptr<byte_source>> open_source(const fs::path& path, hasher* hash) {
  FLYWHEEL_TRY(raw_file file, raw_file::open(path, hash));
  const std::string_view first = file.peek();
  if (first.starts_with("\x1f\x8b"))
    return std::unique_ptr<byte_source>{std::make_unique<gzip_source>(std::move(file))};
  if (first.starts_with("\x28\xb5\x2f\xfd"))
    return std::unique_ptr<byte_source>{std::make_unique<zstd_source>(std::move(file))};
  return std::unique_ptr<byte_source>{std::make_unique<plain_source>(std::move(file))};
}

} // namespace flywheel
