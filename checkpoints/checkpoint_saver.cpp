#include "checkpoints/checkpoint_saver.hpp"

#include "checkpoints/streaming_copy.hpp"
#include "checkpoints/worker_threads.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

namespace flywheel {

namespace {

constexpr std::size_t copy_bytes_a_task = std::size_t{8} << 20;
constexpr std::size_t copy_bytes_shared = std::size_t{32} << 20; ///< below, a thread costs more than it saves

} // namespace

struct checkpoint_saver::impl {
  struct job {
    std::size_t buffer = 0;
    std::uint64_t step = 0;
    std::string attributes;
  };

  sharded_store store;
  saver_options options;
  shard_layout layout;
  std::vector<staging_buffer> buffers;

  std::mutex mutex; ///< of what follows, but for `cancelled`
  std::condition_variable changed;
  std::vector<std::size_t> free;
  std::deque<job> queue;
  bool writing = false, ending = false;
  status failure;
  std::atomic<bool> cancelled{false};
  std::thread writer;

  std::optional<std::uint64_t> last_step; ///< only the caller's thread

  status write(const job& j) {
    FLYWHEEL_CHECK(store.write(j.step, options.rank, options.ranks, j.attributes, layout, buffers[j.buffer], options.write, cancelled));
    if (auto published = store.publish(j.step, options.ranks); !published)
      return std::move(published).error();
    return success();
  }

  void run() {
    std::unique_lock lock{mutex};
    for (;;) {
      changed.wait(lock, [&] { return ending || !queue.empty(); });
      if (ending)
        return;
      const job j = std::move(queue.front());
      queue.pop_front();
      writing = true;
      lock.unlock();
      auto s = write(j);
      lock.lock();
      writing = false;
      free.push_back(j.buffer);
      if (!s && failure)
        failure = std::move(s);
      changed.notify_all();
    }
  }

  status take_failure() { return std::exchange(failure, success()); }
};

checkpoint_saver::checkpoint_saver(std::unique_ptr<impl> i) noexcept : impl_(std::move(i)) {}

result<std::unique_ptr<checkpoint_saver>> checkpoint_saver::start(sharded_store store, std::vector<tensor_part> parts, saver_options options) {
  if (options.rank >= options.ranks || options.ranks > ranks_max || options.buffers == 0)
    return error{errc::invalid_argument, "a saver has a rank below the number of ranks, and at least one buffer"};
  auto i = std::make_unique<impl>();
  i->store = std::move(store);
  i->options = options;
  FLYWHEEL_TRY(i->layout, make_shard_layout(std::move(parts)));
  for (unsigned b = 0; b < options.buffers; ++b) {
    FLYWHEEL_TRY(auto image, make_shard_image(i->layout));
    i->buffers.push_back(std::move(image));
    i->free.push_back(b);
  }
  try {
    i->writer = std::thread{[raw = i.get()] { raw->run(); }};
  } catch (const std::system_error& e) {
    return error{errc::no_capacity, std::string{"no thread for the saver: "} + e.what()};
  }
  return std::unique_ptr<checkpoint_saver>{new checkpoint_saver{std::move(i)}};
}

checkpoint_saver::~checkpoint_saver() {
  impl_->cancelled = true;
  {
    const std::lock_guard guard{impl_->mutex};
    impl_->ending = true;
  }
  impl_->changed.notify_all();
  impl_->writer.join();
}

const shard_layout& checkpoint_saver::layout() const noexcept { return impl_->layout; }

status checkpoint_saver::save_image(std::uint64_t step, std::string attributes, const fill_image& fill, bool waits) {
  auto& i = *impl_;
  std::size_t buffer = 0;
  {
    std::unique_lock lock{i.mutex};
    if (waits)
      i.changed.wait(lock, [&] { return !i.free.empty(); });
    if (!i.failure)
      return i.take_failure();
    if (i.last_step && step <= *i.last_step)
      return error{errc::invalid_argument, "step " + std::to_string(step) + " is saved after step " + std::to_string(*i.last_step)};
    if (i.free.empty())
      return error{errc::no_capacity, "the save before is still being written", {}, "save less often, or give the saver another buffer"};
    buffer = i.free.back();
    i.free.pop_back();
  }
  status filled = fill(i.buffers[buffer]);
  {
    const std::lock_guard guard{i.mutex};
    if (!filled) {
      i.free.push_back(buffer);
      return filled;
    }
    i.last_step = step;
    i.queue.push_back({buffer, step, std::move(attributes)});
  }
  i.changed.notify_all();
  return success();
}

namespace {

status fill_part_by_part(const staging_buffer& image, const shard_layout& layout, const checkpoint_saver::fill_function& fill) {
  for (std::size_t part = 0; part < layout.parts.size(); ++part)
    FLYWHEEL_CHECK(fill(part, part_of_image(image, layout, part)));
  return success();
}

} // namespace

status checkpoint_saver::save(std::uint64_t step, std::string attributes, const fill_function& fill) {
  return save_image(step, std::move(attributes), [&](const staging_buffer& image) { return fill_part_by_part(image, impl_->layout, fill); }, true);
}

status checkpoint_saver::try_save(std::uint64_t step, std::string attributes, const fill_function& fill) {
  return save_image(step, std::move(attributes), [&](const staging_buffer& image) { return fill_part_by_part(image, impl_->layout, fill); }, false);
}

status checkpoint_saver::save(std::uint64_t step, std::string attributes, std::span<const std::span<const std::byte>> state) {
  const auto& parts = impl_->layout.parts;
  if (state.size() != parts.size())
    return error{errc::invalid_argument, std::to_string(state.size()) + " parts were given, the shard has " + std::to_string(parts.size())};
  struct stretch {
    std::size_t part, offset, size;
  };
  std::vector<stretch> stretches; // long enough that handing one out costs nothing, short enough for even shares
  for (std::size_t p = 0; p < parts.size(); ++p) {
    if (state[p].size() != parts[p].bytes())
      return error{errc::invalid_argument, "the part has another size than its range", "tensor " + parts[p].name};
    for (std::size_t at = 0; at < state[p].size(); at += copy_bytes_a_task)
      stretches.push_back({p, at, std::min(copy_bytes_a_task, state[p].size() - at)});
  }
  const unsigned threads = impl_->layout.file_bytes < copy_bytes_shared ? 1 : impl_->options.copy_threads;
  return save_image(
      step, std::move(attributes),
      [&](const staging_buffer& image) {
        return for_each_task(stretches.size(), threads, [&](std::size_t task, unsigned) {
          const auto& s = stretches[task];
          streaming_copy(part_of_image(image, impl_->layout, s.part).subspan(s.offset, s.size), state[s.part].subspan(s.offset, s.size));
          return success();
        });
      },
      true);
}

status checkpoint_saver::wait() {
  std::unique_lock lock{impl_->mutex};
  impl_->changed.wait(lock, [&] { return impl_->queue.empty() && !impl_->writing; });
  return impl_->take_failure();
}

} // namespace flywheel
