#include "cluster/transfer/transfer_client.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/text.hpp"
#include "cluster/worker/zmq_socket.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <map>
#include <optional>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

namespace flywheel::transfer {
namespace {

constexpr nanoseconds ask_again_max = std::chrono::seconds{30};
constexpr int reconnect_ms = 50, reconnect_max_ms = 1000;
/// So often a file is brought anew because the server had another idea of what is there.
constexpr int begins_max = 1000;

status write_at(int file, std::string_view bytes, std::uint64_t offset, const std::string& name) {
  while (!bytes.empty()) {
    const auto put = ::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR)
      continue;
    if (put < 0)
      return error_from_errno(errno, "write " + name);
    bytes.remove_prefix(static_cast<std::size_t>(put));
    offset += static_cast<std::uint64_t>(put);
  }
  return success();
}

result<std::string> read_at(int file, std::size_t size, std::uint64_t offset, const std::string& name) {
  std::string bytes(size, '\0');
  std::size_t filled = 0;
  while (filled < size) {
    const auto got = ::pread(file, bytes.data() + filled, size - filled, static_cast<off_t>(offset + filled));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return error_from_errno(errno, "read " + name);
    if (got == 0)
      return error{errc::io_failed, "the file became shorter while it was read", name};
    filled += static_cast<std::size_t>(got);
  }
  return bytes;
}

} // namespace

struct transfer_client::impl {
  impl(client_options o, const time_source& t) : options(std::move(o)), time(t) {}
  client_options options;
  const time_source& time;
  message_context context;
  std::optional<message_socket> socket;
  int wake = -1;
  std::uint64_t last_id = 0;

  struct pending {
    request what;
    std::string copy; ///< to be sent again; empty if it must not be
  };
  /// How requests become replies. `next` gives the next one or nothing, `took` gets each reply in whatever order they come. With
  /// `repeat` what is not answered is asked again, and otherwise a lost answer ends this with `timed_out` and `lost` set.
  status pump(const std::function<result<std::optional<request>>()>& next, const std::function<status(const request&, const reply&)>& took, std::size_t at_once, bool repeat,
              bool& lost, const stop_function& stop);
  result<reply> ask(request r, const stop_function& stop, std::string& bytes);
  bool send(const std::string& bytes) { return socket->send(bytes); }
  error nobody(nanoseconds so_long, bool connected) const {
    return connected ? error{errc::timed_out, "the head's file server has not answered for " + format_duration(so_long), options.endpoint}
                     : error{errc::unreachable, "no connection to the head's file server for " + format_duration(so_long), options.endpoint,
                             "the nodes must reach this port of the head: open it, or choose one with --data-port"};
  }
};

status transfer_client::impl::pump(const std::function<result<std::optional<request>>()>& next, const std::function<status(const request&, const reply&)>& took,
                                   std::size_t at_once, bool repeat, bool& lost, const stop_function& stop) {
  std::map<std::uint64_t, pending> open;
  std::deque<std::string> unsent;
  auto heard = time.mono(), asked = heard, connected = heard;
  auto patience = options.ask_again;
  bool more = true, linked = true;
  lost = false;
  for (;;) {
    if (stop && stop())
      return error{errc::interrupted, "the transfer was stopped"};
    while (more && open.size() < at_once) {
      FLYWHEEL_TRY(auto r, next());
      more = r.has_value();
      if (!more)
        break;
      r->id = ++last_id;
      auto bytes = encode(*r);
      r->bytes = {};
      open[r->id] = {*r, repeat ? bytes : std::string{}};
      unsent.push_back(std::move(bytes));
    }
    if (open.empty())
      return success();
    const auto now = time.mono();
    if (linked)
      connected = now;
    if (now - connected > options.unconnected_for)
      return nobody(now - connected, false);
    if (now - heard > options.silent_for)
      return nobody(now - heard, true);
    if (now - asked > patience) { // lost with a connection, or slow
      if (!repeat) {
        lost = true;
        return nobody(now - asked, linked);
      }
      unsent.clear();
      for (const auto& [id, p] : open)
        unsent.push_back(p.copy);
      asked = now;
      patience = std::min(2 * patience, ask_again_max);
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(std::min<nanoseconds>(patience - (now - asked), options.ask_again));
    std::array<zmq_pollitem_t, 2> items{{{nullptr, wake, ZMQ_POLLIN, 0}, {socket->get(), 0, static_cast<short>(ZMQ_POLLIN | (unsent.empty() ? 0 : ZMQ_POLLOUT)), 0}}};
    if (zmq_poll(items.data(), 2, std::max<long>(1, left.count() + 1)) < 0 && zmq_errno() != EINTR)
      return error_from_zmq("waiting for the head's file server");
    if (items[0].revents != 0) {
      std::uint64_t count = 0;
      [[maybe_unused]] const auto n = ::read(wake, &count, sizeof count);
    }
    int events = 0;
    std::size_t length = sizeof events;
    zmq_getsockopt(socket->get(), ZMQ_EVENTS, &events, &length);
    linked = (events & (ZMQ_POLLOUT | ZMQ_POLLIN)) != 0;
    while (!unsent.empty() && send(unsent.front())) {
      unsent.pop_front();
      asked = time.mono();
    }
    for (;;) {
      zmq_msg_t m;
      zmq_msg_init(&m);
      const bool got = zmq_msg_recv(&m, socket->get(), ZMQ_DONTWAIT) >= 0;
      status outcome;
      if (got) {
        const auto answer = reply_from({static_cast<const char*>(zmq_msg_data(&m)), zmq_msg_size(&m)});
        if (!answer) {
          outcome = answer.error();
        } else if (const auto i = open.find(answer->id); i != open.end()) { // others were asked twice, or for something that is over
          heard = asked = time.mono();
          patience = options.ask_again;
          const auto r = std::move(i->second.what);
          open.erase(i);
          outcome = took(r, *answer);
        } else if (answer->id == 0 && answer->problem.code != errc::ok) { // it could not even tell whose question it was
          outcome = answer->problem;
        }
      }
      zmq_msg_close(&m);
      if (!outcome)
        return outcome;
      if (!got)
        break;
    }
  }
}

result<reply> transfer_client::impl::ask(request r, const stop_function& stop, std::string& bytes) {
  bool asked = false, lost = false;
  reply out;
  FLYWHEEL_CHECK(pump(
      [&]() -> result<std::optional<request>> {
        if (std::exchange(asked, true))
          return std::optional<request>{};
        return std::optional{r};
      },
      [&](const request&, const reply& answer) {
        out = answer;
        bytes = answer.bytes;
        out.bytes = bytes;
        return success();
      },
      1, true, lost, stop));
  if (out.problem.code != errc::ok)
    return out.problem;
  return out;
}

transfer_client::transfer_client() = default;

result<std::unique_ptr<transfer_client>> transfer_client::connect(client_options options, const curve_keys& own, const time_source& time) {
  if (!is_public_key(options.server_key))
    return error{errc::protocol_violation, "what the head calls its file server's key is none"};
  std::unique_ptr<transfer_client> c{new transfer_client};
  c->impl_ = std::make_unique<impl>(std::move(options), time);
  auto& i = *c->impl_;
  i.wake = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (i.wake < 0)
    return error_from_errno(errno, "eventfd");
  FLYWHEEL_TRY(auto socket, message_socket::open(i.context, ZMQ_DEALER));
  i.socket.emplace(std::move(socket));
  const std::int64_t bytes_max = message_bytes_max;
  const auto text = [&](int option, const std::string& value) { return zmq_setsockopt(i.socket->get(), option, value.data(), value.size()) == 0; };
  if (zmq_setsockopt(i.socket->get(), ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max) != 0 || !text(ZMQ_CURVE_SERVERKEY, i.options.server_key) ||
      !text(ZMQ_CURVE_PUBLICKEY, own.public_key()) || !text(ZMQ_CURVE_SECRETKEY, own.secret_key()))
    return error_from_zmq("setting up encryption");
  i.socket->set(ZMQ_IMMEDIATE, 1); // nothing is queued for a connection that is not there
  i.socket->set(ZMQ_SNDHWM, 32 * static_cast<int>(window)); // a full queue would look like no connection
  i.socket->set(ZMQ_RCVHWM, 4 * static_cast<int>(window));
  i.socket->set(ZMQ_HANDSHAKE_IVL, 5000);
  i.socket->set(ZMQ_CONNECT_TIMEOUT, 5000);
  i.socket->set(ZMQ_RECONNECT_IVL, reconnect_ms);
  i.socket->set(ZMQ_RECONNECT_IVL_MAX, reconnect_max_ms);
  i.socket->set(ZMQ_HEARTBEAT_IVL, 5'000);
  i.socket->set(ZMQ_HEARTBEAT_TIMEOUT, 30'000);
  i.socket->set(ZMQ_IPV6, 1);
  if (zmq_connect(i.socket->get(), i.options.endpoint.c_str()) != 0)
    return error_from_zmq("connecting to " + i.options.endpoint);
  return c;
}

transfer_client::~transfer_client() {
  if (impl_ && impl_->wake >= 0)
    ::close(impl_->wake);
}

void transfer_client::interrupt() noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto n = ::write(impl_->wake, &one, sizeof one); // full: it is awake already
}

result<listing> transfer_client::list(std::uint64_t lease, std::uint64_t root, const stop_function& stop) {
  listing all;
  for (;;) {
    request r;
    r.is = op::list;
    r.lease = lease;
    r.root = root;
    r.name = all.files.empty() ? std::string{} : all.files.back().name;
    std::string bytes;
    FLYWHEEL_TRY(const auto answer, impl_->ask(r, stop, bytes));
    FLYWHEEL_TRY(auto files, files_from(answer.bytes));
    all.is_file = answer.size != 0;
    const bool nameless = !files.empty() && files.front().name.empty();
    const bool in_order = files.empty() || all.files.empty() || all.files.back().name < files.front().name;
    if (nameless != all.is_file || !in_order || (answer.more && files.empty()) || all.files.size() + files.size() > files_max)
      return error{errc::protocol_violation, "a listing that cannot be", impl_->options.endpoint};
    std::move(files.begin(), files.end(), std::back_inserter(all.files));
    if (!answer.more)
      return all;
  }
}

status transfer_client::fetch(std::uint64_t lease, std::uint64_t root, const file_entry& what, int file, const stop_function& stop) {
  const auto shown = printable(what.name);
  const auto end = ::lseek(file, 0, SEEK_END);
  if (end < 0)
    return error_from_errno(errno, "seek " + shown);
  auto at = static_cast<std::uint64_t>(end);
  if (at > what.size) {
    at = 0;
    if (::ftruncate(file, 0) != 0)
      return error_from_errno(errno, "truncate " + shown);
  }
  std::map<std::uint64_t, std::uint64_t> missing; // offset -> size, of what is under way
  bool lost = false;
  auto outcome = impl_->pump(
      [&]() -> result<std::optional<request>> {
        if (at >= what.size)
          return std::optional<request>{};
        request r;
        r.is = op::read;
        r.lease = lease;
        r.root = root;
        r.name = what.name;
        r.offset = at;
        r.size = std::min<std::uint64_t>(chunk_bytes_max, what.size - at);
        missing[at] = r.size;
        at += r.size;
        return std::optional{r};
      },
      [&](const request& r, const reply& a) -> status {
        if (a.problem.code != errc::ok)
          return a.problem;
        if (a.size != what.size || a.offset != r.offset || a.bytes.size() != r.size)
          return error{errc::checksum_mismatch, "the file changed while it was fetched (" + std::to_string(a.size) + " bytes, not " + std::to_string(what.size) + ")", shown};
        FLYWHEEL_CHECK(write_at(file, a.bytes, r.offset, shown));
        missing.erase(r.offset);
        return success();
      },
      window, true, lost, stop);
  // Behind the first gap nothing is kept: the next try goes on at the end of the file.
  if (!missing.empty() && ::ftruncate(file, static_cast<off_t>(missing.begin()->first)) != 0 && outcome)
    return error_from_errno(errno, "truncate " + shown);
  return outcome;
}

status transfer_client::bring(std::uint64_t lease, std::uint64_t root, const file_entry& what, int file, const stop_function& stop) {
  const auto shown = printable(what.name);
  request about;
  about.lease = lease;
  about.root = root;
  about.name = what.name;
  about.size = what.size;
  std::string ignored;
  for (int tries = 0; tries < begins_max; ++tries) {
    about.is = op::begin;
    FLYWHEEL_TRY(const auto there, impl_->ask(about, stop, ignored));
    auto at = there.offset;
    if (at > what.size)
      return error{errc::protocol_violation, "more of it is said to be there than it has", shown};
    bool lost = false, out_of_step = false;
    std::string chunk;
    const auto sent = impl_->pump(
        [&]() -> result<std::optional<request>> {
          if (at >= what.size)
            return std::optional<request>{};
          FLYWHEEL_TRY(chunk, read_at(file, static_cast<std::size_t>(std::min<std::uint64_t>(chunk_bytes_max, what.size - at)), at, shown));
          request r;
          r.is = op::put;
          r.lease = lease;
          r.root = root;
          r.name = what.name;
          r.offset = at;
          r.bytes = chunk;
          at += chunk.size();
          return std::optional{r};
        },
        [&](const request&, const reply& a) -> status {
          out_of_step = a.problem.code == errc::protocol_violation || a.problem.code == errc::not_found;
          return a.problem.code == errc::ok ? success() : status{a.problem};
        },
        window, false, lost, stop);
    if (!sent && (lost || out_of_step))
      continue; // asked anew how much is there
    FLYWHEEL_CHECK(sent);
    about.is = op::publish;
    about.sha256 = what.sha256;
    const auto published = impl_->ask(about, stop, ignored);
    if (published)
      return success();
    if (published.error().code != errc::checksum_mismatch || tries > 0)
      return published.error();
    about.sha256 = {}; // what was there from before was of another file: once more from its beginning
  }
  return error{errc::timed_out, "it was begun " + std::to_string(begins_max) + " times and never came through", shown};
}

status transfer_client::remove(std::uint64_t lease, std::uint64_t root, const std::string& name, const stop_function& stop) {
  request r;
  r.is = op::remove;
  r.lease = lease;
  r.root = root;
  r.name = name;
  std::string ignored;
  const auto done = impl_->ask(r, stop, ignored);
  return done ? success() : status{done.error()};
}

status transfer_client::finish(std::uint64_t lease, std::uint64_t root, const std::vector<file_entry>& files, const stop_function& stop) {
  request r;
  r.is = op::finish;
  r.lease = lease;
  r.root = root;
  r.size = files.size();
  r.sha256 = digest_of(files);
  std::string ignored;
  const auto done = impl_->ask(r, stop, ignored);
  return done ? success() : status{done.error()};
}

} // namespace flywheel::transfer
