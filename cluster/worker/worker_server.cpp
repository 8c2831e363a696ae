// The worker's side of the pool. Two threads: the caller's computes; a second one owns the socket, so that heartbeats go on
// while the first is busy, and ends the process if the node is gone or the computation does not heed a stop.

#include "cluster/base/limits.hpp"
#include "cluster/base/text.hpp"
#include "cluster/worker/worker_pool.hpp"
#include "cluster/worker/worker_process.hpp"
#include "cluster/worker/zmq_socket.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <new>
#include <sys/eventfd.h>
#include <thread>
#include <unistd.h>
#include <zmq.h>

namespace flywheel {
namespace {

constexpr int exit_ok = 0, exit_refused = 2, exit_node_gone = 70;
/// A log line more than so many behind is dropped and counted: logging must not slow the computation.
constexpr std::size_t logs_waiting_max = 1000;
/// A node that is there answers ZeroMQ's own pings even when it is busy; one that does not for so long is gone or frozen.
constexpr int ping_every_ms = 5'000, node_silent_after_ms = 60'000;
constexpr nanoseconds leave_within{2'000'000'000};

mono_time now() { return system_clock().mono(); }

/// The token is for hello only: it leaves the environment before anything else can read it there.
std::string take_from_environment(const char* name) {
  char* value = std::getenv(name);
  if (!value)
    return {};
  std::string copy = value;
  std::memset(value, 0, copy.size());
  unsetenv(name);
  return copy;
}

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

/// What the two threads share.
class session {
public:
  session() : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  // --- the computing thread ---
  void send(wire::message m) {
    {
      const std::lock_guard guard{mutex_};
      outgoing_.push_back(std::move(m));
    }
    wake();
  }
  void log(wire::log line) {
    {
      const std::lock_guard guard{mutex_};
      if (outgoing_.size() >= logs_waiting_max) {
        ++logs_dropped_;
        return;
      }
      if (logs_dropped_ > 0)
        outgoing_.push_back(wire::log{line.task, "warning", std::to_string(std::exchange(logs_dropped_, 0)) +
                                                                " log lines were dropped: they came too fast"});
      outgoing_.push_back(std::move(line));
    }
    wake();
  }
  std::optional<wire::task> next_task() {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [&] { return task_ || leaving_; });
    if (!task_)
      return std::nullopt;
    return std::exchange(task_, std::nullopt);
  }
  result<bool> report(wire::report r) {
    std::unique_lock lock{mutex_};
    if (stop_)
      return false;
    verdict_.reset();
    const auto rung = r.rung;
    outgoing_.push_back(std::move(r));
    wake();
    changed_.wait(lock, [&] { return stop_ || (verdict_ && verdict_->rung == rung); });
    if (leaving_)
      return error{errc::interrupted, "the node is gone or has dismissed this worker"};
    return !stop_ && verdict_->go_on;
  }
  void finish(wire::message end) {
    {
      const std::lock_guard guard{mutex_};
      outgoing_.push_back(std::move(end));
      running_.clear();
      step_ = 0;
    }
    wake();
  }
  const std::atomic<bool>* stop_flag() const { return &stop_; }
  void set_step(std::uint64_t step) { step_ = step; }
  /// The computing thread is done for good: the other one may end once everything is sent.
  void close() {
    closed_ = true;
    wake();
  }

  // --- the socket's thread ---
  int fd() const { return event_.get(); }
  std::deque<wire::message> take_outgoing() {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto n = read(event_.get(), &count, sizeof count);
    const std::lock_guard guard{mutex_};
    return std::exchange(outgoing_, {});
  }
  bool start(wire::task t) {
    const std::lock_guard guard{mutex_};
    if (!running_.empty() || leaving_)
      return false;
    running_ = t.id;
    stop_ = false;
    task_ = std::move(t);
    changed_.notify_all();
    return true;
  }
  void stop_task(const std::string& task) {
    const std::lock_guard guard{mutex_};
    if (running_ != task)
      return;
    stop_ = true;
    changed_.notify_all();
  }
  void give(wire::verdict v) {
    const std::lock_guard guard{mutex_};
    if (running_ != v.task)
      return;
    verdict_ = std::move(v);
    changed_.notify_all();
  }
  void leave() {
    const std::lock_guard guard{mutex_};
    leaving_ = true;
    stop_ = true;
    changed_.notify_all();
  }
  wire::heartbeat heartbeat() {
    const std::lock_guard guard{mutex_};
    return {running_, step_, own_resident_bytes()};
  }
  bool is_closed() const { return closed_; }

private:
  void wake() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto n = write(event_.get(), &one, sizeof one);
  }
  owned_fd event_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<wire::message> outgoing_;
  std::uint64_t logs_dropped_ = 0;
  std::optional<wire::task> task_;   ///< to be picked up
  std::string running_;              ///< id of the task given and not finished
  std::optional<wire::verdict> verdict_;
  bool leaving_ = false;
  std::atomic<bool> stop_{false}, closed_{false};
  std::atomic<std::uint64_t> step_{0};
};

/// The socket's thread.
class courier {
public:
  courier(session& s, message_socket socket, message_socket monitor)
      : session_(s), socket_(std::move(socket)), monitor_(std::move(monitor)) {}

  void run() {
    std::optional<mono_time> give_up_at;
    for (;;) {
      const auto until = give_up_at ? std::min(next_beat_, *give_up_at) : next_beat_;
      const auto wait = std::chrono::ceil<std::chrono::milliseconds>(until - now()).count();
      // While the node's queue is full nothing more is taken from the session; its room is waited for instead.
      const bool blocked = !unsent_.empty();
      zmq_pollitem_t items[] = {{socket_.get(), 0, static_cast<short>(ZMQ_POLLIN | (blocked ? ZMQ_POLLOUT : 0)), 0},
                                {monitor_.get(), 0, ZMQ_POLLIN, 0},
                                {nullptr, session_.fd(), ZMQ_POLLIN, 0}};
      zmq_poll(items, blocked ? 2 : 3, std::clamp<long>(wait, 0, 60'000));
      take_messages();
      if (node_is_gone())
        leave(exit_node_gone);
      if (leaving_ && !give_up_at)
        give_up_at = now() + leave_within;
      if (unsent_.empty())
        unsent_ = session_.take_outgoing();
      if (now() >= next_beat_) {
        next_beat_ = now() + beat_;
        if (welcomed_ && unsent_.empty())
          unsent_.push_back(session_.heartbeat());
      }
      while (!unsent_.empty() && socket_.send(wire::encode(unsent_.front())))
        unsent_.pop_front();
      if (session_.is_closed() && (unsent_.empty() || exit_code_ == exit_node_gone))
        return;
      // The computation does not heed the stop: the process ends under it, for nobody waits for its answer any more.
      if (give_up_at && now() >= *give_up_at)
        _exit(exit_code_ == exit_ok ? exit_node_gone : exit_code_);
    }
  }
  int exit_code() const { return exit_code_; }

private:
  void leave(int code) {
    if (leaving_)
      return;
    leaving_ = true;
    exit_code_ = code;
    session_.leave();
  }
  void take_messages() {
    for (;;) {
      zmq_msg_t m;
      zmq_msg_init(&m);
      if (zmq_msg_recv(&m, socket_.get(), ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&m);
        return;
      }
      const auto message = wire::decode({static_cast<const char*>(zmq_msg_data(&m)), zmq_msg_size(&m)});
      zmq_msg_close(&m);
      if (!message) {
        std::fprintf(stderr, "the node broke the worker protocol: %s\n", message.error().to_string().c_str());
        return leave(exit_refused);
      }
      take(*message);
    }
  }
  void take(const wire::message& m) {
    if (const auto* w = std::get_if<wire::welcome>(&m)) {
      welcomed_ = true;
      beat_ = std::chrono::milliseconds{std::clamp(w->heartbeat_ms, 1u, 60'000u)};
      next_beat_ = now();
    } else if (const auto* t = std::get_if<wire::task>(&m)) {
      if (!session_.start(*t)) {
        std::fprintf(stderr, "the node gave task %s to a busy worker\n", t->id.c_str());
        leave(exit_refused);
      }
    } else if (const auto* v = std::get_if<wire::verdict>(&m)) {
      session_.give(*v);
    } else if (const auto* s = std::get_if<wire::stop>(&m)) {
      if (s->task.empty())
        leave(exit_ok);
      else
        session_.stop_task(s->task);
    }
    // Anything else is a worker's message; from the node it means nothing and is let pass.
  }
  bool node_is_gone() {
    bool gone = false;
    for (;;) {
      zmq_msg_t m;
      zmq_msg_init(&m);
      const int n = zmq_msg_recv(&m, monitor_.get(), ZMQ_DONTWAIT);
      if (n >= 2) {
        std::uint16_t event = 0;
        std::memcpy(&event, zmq_msg_data(&m), sizeof event);
        gone = gone || event == ZMQ_EVENT_DISCONNECTED || event == ZMQ_EVENT_CLOSED;
      }
      while (n >= 0 && zmq_msg_more(&m) && zmq_msg_recv(&m, monitor_.get(), ZMQ_DONTWAIT) >= 0) {
      }
      zmq_msg_close(&m);
      if (n < 0)
        return gone;
    }
  }

  session& session_;
  message_socket socket_, monitor_;
  std::deque<wire::message> unsent_;
  nanoseconds beat_{1'000'000'000}; ///< until welcome tells
  mono_time next_beat_ = now();
  bool welcomed_ = false, leaving_ = false;
  int exit_code_ = exit_ok;
};

wire::failed failed_of(const wire::task& t, const error& e) {
  return {t.id, t.attempt, std::string(name_of(e.code)), printable(e.what, 4000), printable(e.hint, 1000)};
}

/// The gate for whatever a computation and its libraries throw.
wire::message compute(const wire::task& t, const worker_context& context, const worker_function& run) {
  try {
    auto body = run(t, context);
    if (!body)
      return failed_of(t, body.error());
    // Room for the other fields of done.
    if (body->size() + t.id.size() + 256 > limits::worker_message_bytes_max)
      return failed_of(t, {errc::too_large, "a result of " + format_bytes(body->size()), {}, "write large results to a file"});
    if (!is_valid_utf8(*body))
      return failed_of(t, {errc::internal, "a result that is not UTF-8"});
    return wire::done{t.id, t.attempt, std::move(body).value()};
  } catch (const std::bad_alloc&) {
    return failed_of(t, {errc::out_of_memory, "the worker could not allocate more memory", {},
                         "raise resources.worker_memory, or allow only smaller models"});
  } catch (const std::exception& e) {
    return failed_of(t, {errc::library_failed, e.what()});
  } catch (...) {
    return failed_of(t, {errc::library_failed, "an exception of unknown type"});
  }
}

result<int> serve(const std::filesystem::path& socket_path, const worker_function& run) {
  FLYWHEEL_TRY(const auto address, ipc_address(socket_path));
  session s;
  message_context context;
  FLYWHEEL_TRY(auto socket, message_socket::open(context, ZMQ_DEALER));
  socket.set(ZMQ_LINGER, 1000);
  socket.set(ZMQ_HEARTBEAT_IVL, ping_every_ms);
  socket.set(ZMQ_HEARTBEAT_TIMEOUT, node_silent_after_ms);
  // A lost connection is not made again: to the node a new one would be a stranger.
  socket.set(ZMQ_RECONNECT_IVL, -1);
  if (zmq_socket_monitor(socket.get(), "inproc://node-is-there", ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CLOSED) != 0)
    return error_from_zmq("watching the connection to the node");
  FLYWHEEL_TRY(auto monitor, message_socket::open(context, ZMQ_PAIR));
  if (zmq_connect(monitor.get(), "inproc://node-is-there") != 0 || zmq_connect(socket.get(), address.c_str()) != 0)
    return error_from_zmq("connecting to the node at " + socket_path.string());

  s.send(wire::hello{wire::protocol_version, from_environment("FLYWHEEL_WORKER_ID"),
                     take_from_environment("FLYWHEEL_WORKER_TOKEN"), static_cast<std::uint32_t>(getpid())});
  auto carrier = std::make_unique<courier>(s, std::move(socket), std::move(monitor));
  std::thread courier_thread{[&] { carrier->run(); }};

  worker_context c;
  c.stop = s.stop_flag();
  c.step = [&](std::uint64_t step) { s.set_step(step); };
  while (const auto t = s.next_task()) {
    c.report = [&](std::uint32_t rung, std::uint64_t resource, double value, double standard_error) {
      return s.report({t->id, t->attempt, rung, resource, value, standard_error});
    };
    c.log = [&](std::string_view level, std::string_view text) {
      s.log({t->id, printable(level, 20), printable(text, 8000)});
    };
    s.finish(compute(*t, c, run));
  }
  s.close();
  courier_thread.join();
  const int code = carrier->exit_code();
  carrier.reset(); // closes the sockets before the context ends
  return code;
}

} // namespace

int serve_worker(const std::filesystem::path& socket, const worker_function& run) {
  end_with_lease();
  const auto path = socket.empty() ? std::filesystem::path(from_environment("FLYWHEEL_WORKER_SOCKET")) : socket;
  const auto code = serve(path, run);
  if (code)
    return *code;
  std::fprintf(stderr, "%s\n", code.error().to_string().c_str());
  return exit_refused;
}

} // namespace flywheel
