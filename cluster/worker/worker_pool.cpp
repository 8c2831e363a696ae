#include "cluster/worker/worker_pool.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/ids.hpp"
#include "cluster/base/limits.hpp"
#include "cluster/base/text.hpp"
#include "cluster/worker/worker_process.hpp"
#include "cluster/worker/worker_sandbox.hpp"
#include "cluster/worker/worker_table.hpp"
#include "cluster/worker/zmq_socket.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <map>
#include <mutex>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <variant>
#include <zmq.h>

namespace flywheel {
namespace {

// What a worker sent just before it exited needs a moment to come through ZeroMQ's own thread.
constexpr nanoseconds last_words{250'000'000};
constexpr int messages_per_turn = 512;

struct submit_command { worker_task task; };
struct cancel_command { std::string task, reason; };
struct answer_command { worker_number worker; std::string task; std::uint32_t rung; bool go_on; };
struct quit_command {};
using command = std::variant<submit_command, cancel_command, answer_command, quit_command>;

/// How other threads reach the pool's. Outlives the pool, because an answer() may be called late.
class command_box {
public:
  command_box() : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  int fd() const noexcept { return event_.get(); }
  void put(command c) {
    {
      const std::lock_guard guard{mutex_};
      waiting_.push_back(std::move(c));
    }
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto n = write(event_.get(), &one, sizeof one);
  }
  std::vector<command> take() {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto n = read(event_.get(), &count, sizeof count);
    const std::lock_guard guard{mutex_};
    return std::exchange(waiting_, {});
  }

private:
  owned_fd event_;
  std::mutex mutex_;
  std::vector<command> waiting_;
};

std::string new_token() {
  std::string token;
  for (int i = 0; i < 2; ++i) {
    std::array<char, 17> digits{};
    std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(os_entropy()));
    token += digits.data();
  }
  return token;
}

/// Takes the same time wherever they differ.
bool same_secret(std::string_view a, std::string_view b) {
  if (a.size() != b.size())
    return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    difference |= static_cast<unsigned>(static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]));
  return difference == 0;
}

/// One message as it came in.
struct delivery {
  std::string peer;
  std::string bytes;
  int pid = 0;        ///< of the sending process, 0 if the system no longer knows
  bool one_part = false;
};

std::optional<delivery> receive(void* socket) {
  delivery d;
  int part = 0;
  for (bool more = true; more; ++part) {
    zmq_msg_t m;
    zmq_msg_init(&m);
    if (zmq_msg_recv(&m, socket, ZMQ_DONTWAIT) < 0) {
      zmq_msg_close(&m);
      if (zmq_errno() == EINTR && part == 0)
        continue;
      return std::nullopt;
    }
    const std::string_view bytes{static_cast<const char*>(zmq_msg_data(&m)), zmq_msg_size(&m)};
    if (part == 0) {
      d.peer = bytes;
    } else if (part == 1) {
      d.bytes = bytes;
      ucred who{};
      socklen_t size = sizeof who;
      const int fd = zmq_msg_get(&m, ZMQ_SRCFD);
      if (fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0)
        d.pid = who.pid;
    }
    more = zmq_msg_more(&m) != 0;
    zmq_msg_close(&m);
  }
  d.one_part = part == 2;
  return d;
}

} // namespace

struct worker_pool::impl {
  struct live_worker {
    worker_process process;
    std::string token;
    std::string peer;                        ///< ZeroMQ's name of its connection, after hello
    std::optional<worker_exit> exit;         ///< it has ended; its last words may still come
    mono_time exit_told_at;
  };

  impl(worker_pool_options o, worker_pool_events e, const time_source& t)
      : options(std::move(o)), events(std::move(e)), time(t),
        table({options.slots, options.silent_after, options.hello_within, options.stop_grace, options.idle_for,
               options.die_within}) {}

  worker_pool_options options;
  worker_pool_events events;
  const time_source& time;
  std::shared_ptr<command_box> commands = std::make_shared<command_box>();
  std::atomic<std::int64_t> outstanding{0};
  std::optional<message_context> context;
  std::optional<message_socket> socket;
  std::thread thread;

  // Below: the pool's thread only.
  worker_table table;
  std::map<worker_number, live_worker> live;
  std::map<std::string, worker_number> by_peer;
  mono_time memory_look_at;
  bool quitting = false;

  void run();
  void turn(const std::vector<zmq_pollitem_t>& ready, std::span<const worker_number> owners);
  void obey(command c);
  bool take_messages();
  void take(const delivery& d);
  void act();
  void act(worker_table::start_worker a);
  void look_at_memory();
  void collect_exits();
  int poll_timeout_ms() const;
  std::optional<worker_number> worker_of_process(int pid) const;
};

std::optional<worker_number> worker_pool::impl::worker_of_process(int pid) const {
  if (pid <= 0)
    return std::nullopt;
  const auto group = getpgid(pid); // a worker may have started its own children; the group is the worker's
  for (const auto& [n, w] : live)
    if (w.process.pid() == pid || w.process.pid() == group)
      return n;
  return std::nullopt;
}

void worker_pool::impl::obey(command c) {
  const auto now = time.mono();
  if (auto* s = std::get_if<submit_command>(&c))
    table.submit(std::move(s->task), now);
  else if (auto* x = std::get_if<cancel_command>(&c))
    table.cancel(x->task, x->reason, now);
  else if (auto* a = std::get_if<answer_command>(&c))
    table.answer(a->worker, a->task, a->rung, a->go_on);
  else if (!quitting) {
    quitting = true;
    table.shut_down("the worker pool was shut down", now);
  }
}

void worker_pool::impl::take(const delivery& d) {
  const auto now = time.mono();
  auto m = d.one_part ? wire::decode(d.bytes)
                      : result<wire::message>{error{errc::protocol_violation, "a message of several ZeroMQ parts"}};
  const auto known = by_peer.find(d.peer);
  if (known == by_peer.end()) {
    // A connection nobody has vouched for. A right hello makes it a worker's; anything else is held against the process
    // that sent it if that is one of ours, and dropped if it is not.
    if (const auto* hello = m ? std::get_if<wire::hello>(&*m) : nullptr) {
      worker_number n = 0;
      const auto parsed = std::from_chars(hello->worker.data(), hello->worker.data() + hello->worker.size(), n);
      const auto at = parsed.ec == std::errc{} ? live.find(n) : live.end();
      if (at != live.end() && at->second.peer.empty() && same_secret(at->second.token, hello->token)) {
        at->second.peer = d.peer;
        by_peer.emplace(d.peer, n);
        // Once: nobody else may come with this token.
        at->second.token.clear();
        socket->send(d.peer, true);
        socket->send(wire::encode(wire::welcome{wire::protocol_version, static_cast<std::uint32_t>(options.heartbeat.count() / 1'000'000)}));
        table.on_message(n, *m, now);
        return;
      }
      m = error{errc::protocol_violation, "a hello with a wrong worker or token"};
    } else if (m) {
      m = error{errc::protocol_violation, "a " + std::string(wire::name_of(*m)) +
                                              " on a connection without hello (ZeroMQ cuts a connection on a message over " +
                                              format_bytes(limits::worker_message_bytes_max) + ")"};
    }
    if (const auto n = worker_of_process(d.pid))
      table.on_garbage(*n, m.error(), now);
    return;
  }
  const auto n = known->second;
  if (!m)
    return table.on_garbage(n, m.error(), now);
  if (std::holds_alternative<wire::done>(*m) || std::holds_alternative<wire::failed>(*m))
    if (const auto at = live.find(n); at != live.end())
      table.on_memory(n, at->second.process.resident_bytes(), now); // a short task may never have been looked at
  table.on_message(n, *m, now);
}

bool worker_pool::impl::take_messages() {
  for (int i = 0; i < messages_per_turn; ++i) {
    const auto d = receive(socket->get());
    if (!d)
      return true;
    take(*d);
    act();
  }
  return false;
}

void worker_pool::impl::act(worker_table::start_worker a) {
  const auto now = time.mono();
  worker_command c;
  c.arguments = options.command;
  const auto token = new_token();
  c.environment = {{"FLYWHEEL_WORKER_SOCKET", options.socket.string()},
                   {"FLYWHEEL_WORKER_ID", std::to_string(a.worker)},
                   {"FLYWHEEL_WORKER_TOKEN", token}};
  if (options.lease) {
    c.lease_fd = options.lease->fd();
    c.environment.emplace_back(lease_page_variable, std::to_string(c.lease_fd));
  }
  c.memory_max = a.memory_max;
  const bool confined = (!a.sandbox.readable.empty() || !a.sandbox.writable.empty()) && can_sandbox();
  if (confined)
    c.sandbox = &a.sandbox;
  auto process = worker_process::start(c);
  if (!process)
    return table.on_start_failed(a.worker, std::move(process).error(), now);
  const int pid = process->pid();
  live.emplace(a.worker, live_worker{std::move(process).value(), token, {}, std::nullopt, {}});
  table.on_started(a.worker, pid, confined, now);
}

void worker_pool::impl::act() {
  for (auto actions = table.take_actions(); !actions.empty(); actions = table.take_actions()) {
    for (auto& action : actions) {
      if (auto* start = std::get_if<worker_table::start_worker>(&action)) {
        act(std::move(*start));
      } else if (auto* send = std::get_if<worker_table::send_message>(&action)) {
        const auto at = live.find(send->worker);
        // If it cannot be sent the worker is gone or deaf; its exit or its silence will say so.
        if (at != live.end() && !at->second.peer.empty() && socket->send(at->second.peer, true))
          socket->send(wire::encode(send->message));
      } else if (auto* limit = std::get_if<worker_table::limit_memory>(&action)) {
        if (const auto at = live.find(limit->worker); at != live.end())
          at->second.process.limit_memory(limit->bytes);
      } else if (auto* kill = std::get_if<worker_table::kill_worker>(&action)) {
        if (const auto at = live.find(kill->worker); at != live.end())
          at->second.process.kill();
      } else if (auto* started = std::get_if<worker_table::tell_started>(&action)) {
        if (events.started)
          events.started(started->task, started->pid);
      } else if (auto* report = std::get_if<worker_table::tell_report>(&action)) {
        const auto answer = [box = commands, n = report->worker, task = report->report.task,
                             rung = report->report.rung](bool go_on) { box->put(answer_command{n, task, rung, go_on}); };
        if (events.reported)
          events.reported(report->report, answer);
        else
          answer(true);
      } else if (auto* log = std::get_if<worker_table::tell_log>(&action)) {
        if (events.logged)
          events.logged(log->log);
      } else if (auto* ended = std::get_if<worker_table::tell_ended>(&action)) {
        outstanding.fetch_sub(1);
        if (events.ended)
          events.ended(ended->end);
      }
    }
  }
}

void worker_pool::impl::look_at_memory() {
  const auto now = time.mono();
  if (now < memory_look_at)
    return;
  memory_look_at = now + options.heartbeat;
  for (const auto n : table.memory_watched())
    if (const auto at = live.find(n); at != live.end() && !at->second.exit)
      table.on_memory(n, at->second.process.resident_bytes(), now);
}

void worker_pool::impl::collect_exits() {
  const auto now = time.mono();
  for (auto at = live.begin(); at != live.end();) {
    auto& [n, w] = *at;
    if (w.exit && (w.exit->signal != 0 || !table.has_task(n) || w.exit_told_at + last_words <= now)) {
      by_peer.erase(w.peer);
      table.on_exit(n, *w.exit, now);
      at = live.erase(at);
    } else {
      ++at;
    }
  }
}

int worker_pool::impl::poll_timeout_ms() const {
  const auto now = time.mono();
  auto until = table.next_deadline();
  const auto consider = [&](mono_time t) { until = until ? std::min(*until, t) : t; };
  if (!table.memory_watched().empty())
    consider(memory_look_at);
  for (const auto& [n, w] : live)
    if (w.exit)
      consider(w.exit_told_at + last_words);
  if (!until)
    return -1;
  const auto wait = std::clamp<std::int64_t>((*until - now).count(), 0, 60'000'000'000);
  return static_cast<int>((wait + 999'999) / 1'000'000);
}

void worker_pool::impl::turn(const std::vector<zmq_pollitem_t>& items, std::span<const worker_number> owners) {
  for (std::size_t i = 2; i < items.size(); ++i) {
    const auto at = live.find(owners[i - 2]);
    if (items[i].revents == 0 || at == live.end())
      continue;
    auto& w = at->second;
    if (items[i].fd == w.process.output_fd()) {
      w.process.read_output();
    } else if (!w.exit) {
      w.exit = w.process.reap();
      w.exit_told_at = time.mono();
      table.on_leaving(at->first);
    }
  }
}

void worker_pool::impl::run() {
  std::optional<mono_time> give_up_at;
  for (;;) {
    if (quitting) {
      if (live.empty())
        break;
      if (!give_up_at)
        give_up_at = time.mono() + options.die_within + nanoseconds{1'000'000'000};
      if (time.mono() >= *give_up_at)
        break;
    }
    std::vector<zmq_pollitem_t> items{{socket->get(), 0, ZMQ_POLLIN, 0}, {nullptr, commands->fd(), ZMQ_POLLIN, 0}};
    std::vector<worker_number> owners;
    for (const auto& [n, w] : live) {
      if (!w.exit) {
        items.push_back({nullptr, w.process.exit_fd(), ZMQ_POLLIN, 0});
        owners.push_back(n);
        if (w.process.output_fd() >= 0) {
          items.push_back({nullptr, w.process.output_fd(), ZMQ_POLLIN, 0});
          owners.push_back(n);
        }
      }
    }
    const int timeout = quitting ? 100 : poll_timeout_ms();
    const auto before = time.mono();
    zmq_poll(items.data(), static_cast<int>(items.size()), timeout);
    // Woken much later than asked for, or a callback took that long: this node stood still, not its workers.
    if (timeout >= 0 && time.mono() - before > std::chrono::milliseconds(timeout) + options.silent_after / 2)
      table.on_pause(time.mono());

    for (auto& c : commands->take()) {
      obey(std::move(c));
      act();
    }
    const bool all_read = take_messages();
    turn(items, owners);
    collect_exits();
    look_at_memory();
    if (all_read) // else silence cannot be told from a long queue
      table.tick(time.mono());
    act();
  }
  for (auto& [n, w] : live)
    if (!w.exit)
      w.process.abandon();
}

worker_pool::worker_pool() = default;

result<std::unique_ptr<worker_pool>> worker_pool::start(worker_pool_options options, worker_pool_events events,
                                                        const time_source& time) {
  if (options.command.empty())
    return error{errc::invalid_argument, "a worker pool needs the command that starts a worker"};
  if (options.slots == 0)
    return error{errc::invalid_argument, "a worker pool needs at least one slot"};
  if (options.heartbeat < std::chrono::milliseconds{1} || options.silent_after < 2 * options.heartbeat)
    return error{errc::invalid_argument, "workers must be allowed to be silent for two heartbeats at least"};
  std::error_code failed;
  options.socket = std::filesystem::absolute(options.socket, failed);
  FLYWHEEL_TRY(const auto address, ipc_address(options.socket));
  const auto folder = options.socket.parent_path();
  if (!std::filesystem::exists(folder, failed)) {
    if (!std::filesystem::create_directories(folder, failed))
      return error_from_errno(failed.value(), "making the folder of the workers' socket", folder.string());
    if (chmod(folder.c_str(), 0700) != 0)
      return error_from_errno(errno, "protecting the folder of the workers' socket", folder.string());
  }

  std::unique_ptr<worker_pool> pool{new worker_pool};
  pool->impl_ = std::make_unique<impl>(std::move(options), std::move(events), time);
  auto& self = *pool->impl_;
  self.context.emplace();
  FLYWHEEL_TRY(auto socket, message_socket::open(*self.context, ZMQ_ROUTER));
  socket.set(ZMQ_ROUTER_MANDATORY, 1);
  if (zmq_bind(socket.get(), address.c_str()) != 0)
    return error_from_zmq("listening for workers on " + self.options.socket.string());
  if (chmod(self.options.socket.c_str(), 0600) != 0)
    return error_from_errno(errno, "protecting the workers' socket", self.options.socket.string());
  self.socket.emplace(std::move(socket));
  self.thread = std::thread([&self] { self.run(); });
  return pool;
}

worker_pool::~worker_pool() {
  if (!impl_)
    return;
  if (impl_->thread.joinable()) {
    impl_->commands->put(quit_command{});
    impl_->thread.join();
    // Submitted by a callback while the pool was closing: ended here, for "exactly once" has no exception.
    for (auto& c : impl_->commands->take())
      impl_->obey(std::move(c));
    impl_->table.shut_down("the worker pool was shut down", impl_->time.mono());
    impl_->act();
  }
  const auto path = impl_->options.socket;
  const bool bound = impl_->socket.has_value();
  impl_->socket.reset();
  impl_->context.reset();
  std::error_code ignored;
  if (bound)
    std::filesystem::remove(path, ignored);
}

void worker_pool::submit(worker_task t) {
  impl_->outstanding.fetch_add(1);
  impl_->commands->put(submit_command{std::move(t)});
}

void worker_pool::cancel(const std::string& task, const std::string& reason) {
  impl_->commands->put(cancel_command{task, reason});
}

std::uint32_t worker_pool::free_slots() const {
  const auto taken = impl_->outstanding.load();
  return taken >= impl_->options.slots ? 0 : static_cast<std::uint32_t>(impl_->options.slots - std::max<std::int64_t>(taken, 0));
}

result<bool> worker_pool::can_sandbox() {
  auto version = landlock_version();
  if (!version)
    return std::move(version).error();
  return true;
}

} // namespace flywheel
