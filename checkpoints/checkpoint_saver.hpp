#pragma once
// Saving without stopping: training waits only while its state is copied into memory that was set aside for it; a thread
// hashes, writes, fsyncs and publishes that while training goes on.

#include "checkpoints/sharded_store.hpp"

#include <functional>
#include <memory>

namespace flywheel {

struct saver_options {
  std::uint32_t rank = 0, ranks = 1;
  /// Copies of the state in memory, each as large as the rank's shard; the bound on what the saver holds. With one, a save
  /// waits for the one before it; with two it waits for the one before that.
  unsigned buffers = 1;
  /// Threads that share the copy of a state in memory: training waits for it, so its cores have nothing else to do.
  unsigned copy_threads = 2;
  shard_write_options write;
};

/// One per rank; its methods are called from one thread.
class checkpoint_saver {
public:
  /// Copies part `i` of the state to `into`; for a GPU, from the device. Called from save(), part by part, in order.
  using fill_function = std::function<status(std::size_t part, std::span<std::byte> into)>;

  /// Lays out the shard and reserves the memory, so that save() cannot run out of it. `parts`: what this rank holds, each
  /// tensor at most once. All ranks' parts together must make whole tensors.
  static result<std::unique_ptr<checkpoint_saver>> start(sharded_store store, std::vector<tensor_part> parts, saver_options options = {});
  /// Gives up what is not yet written: it is never published, and nothing of it stays. Call wait() first to keep it.
  ~checkpoint_saver();
  checkpoint_saver(const checkpoint_saver&) = delete;
  checkpoint_saver& operator=(const checkpoint_saver&) = delete;

  /// Returns when the state is copied; the caller may change it then. First waits for a free buffer. If an earlier save
  /// failed, returns its error once instead and saves nothing: call again to go on. Steps must increase.
  status save(std::uint64_t step, std::string attributes, const fill_function& fill);
  /// The same, from memory: one span a part.
  status save(std::uint64_t step, std::string attributes, std::span<const std::span<const std::byte>> state);
  /// no_capacity instead of waiting for a buffer.
  status try_save(std::uint64_t step, std::string attributes, const fill_function& fill);
  /// Until everything handed over is durable, and published if this rank was the last; the first error since the last
  /// call that told one.
  status wait();
  const shard_layout& layout() const noexcept;

private:
  struct impl;
  using fill_image = std::function<status(const staging_buffer& image)>;
  status save_image(std::uint64_t step, std::string attributes, const fill_image& fill, bool waits);
  explicit checkpoint_saver(std::unique_ptr<impl> i) noexcept;
  std::unique_ptr<impl> impl_;
};

} // namespace flywheel
