#include "actors/dispatcher/gang_hands.hpp"

#include "cluster/base/text.hpp"
#include "cluster/gang/rank_environment.hpp"
#include "cluster/gang/rank_launcher.hpp"
#include "nccl/gang_record.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <csignal>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

extern "C" char** environ;

namespace flywheel {
namespace {

constexpr nanoseconds look_every{100'000'000};      ///< at boards; a death is told at once
constexpr std::int64_t log_bytes_max = 256ll << 20; ///< of one rank, over all attempts

int rank_of_look(const gang_observation& o) {
  const auto* r = std::get_if<rank_observation>(&o);
  return r != nullptr && std::holds_alternative<rank_seen>(r->what) ? r->rank : -1;
}

/// One file a rank, as whoever watches reads it.
class rank_log {
public:
  rank_log(const std::string& folder, int rank, const std::string& title)
      : file_(::open((folder + "/rank-" + std::to_string(rank) + ".log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) {
    struct stat s {};
    if (file_ && ::fstat(file_.get(), &s) == 0)
      bytes_ = s.st_size;
    write(title);
  }
  void write(std::string_view line) {
    if (!file_ || bytes_ > log_bytes_max)
      return;
    std::string text{line};
    text += '\n';
    bytes_ += static_cast<std::int64_t>(text.size());
    if (bytes_ > log_bytes_max)
      text = "--- this file has " + format_bytes(static_cast<std::uint64_t>(log_bytes_max)) + "; nothing more is written\n";
    [[maybe_unused]] const auto n = ::write(file_.get(), text.data(), text.size()); // a full disk costs lines, not the gang
  }

private:
  owned_fd file_;
  std::int64_t bytes_ = 0;
};

result<rank_command> command_of(const gang_attempt& a, int rank) {
  static constexpr std::string_view ours[] = {"FLYWHEEL_GANG=", "FLYWHEEL_LEASE_FD=", "FLYWHEEL_RANK_BOARD="};
  std::vector<std::string> base;
  for (char** e = environ; e != nullptr && *e != nullptr; ++e)
    if (std::ranges::none_of(ours, [&](std::string_view name) { return std::string_view{*e}.starts_with(name); }))
      base.emplace_back(*e);
  for (const auto& e : a.order.environment) {
    std::erase_if(base, [&](const std::string& b) { return b.starts_with(e.substr(0, e.find('=') + 1)); });
    base.push_back(e);
  }
  gang_place place;
  place.run_id = a.order.id;
  place.attempt = a.attempt;
  place.restart = a.restart;
  place.restarts_max = a.order.restarts_max;
  place.master_host = a.addresses.front();
  place.master_port = a.master_port;
  place.rendezvous = a.rendezvous;
  place.checkpoints = a.order.checkpoints;
  nccl::gang_record record;
  record.gang = a.order.id;
  record.generation = a.attempt;
  record.rank = rank;
  record.folder = a.rendezvous;
  for (std::size_t i = 0; i < a.seats.size(); ++i)
    record.members.push_back({a.addresses[i], a.gpus[i]});
  record.use = nccl::choose_backend(record.members).use;
  const bool is_spread = std::ranges::any_of(a.seats, [&](const rank_seat& s) { return s.host != a.seats.front().host; });
  if (is_spread && record.use == nccl::backend::shared_memory)
    record.use = nccl::backend::gloo; // nodes of one machine need not share a PID namespace
  FLYWHEEL_TRY(const auto text, nccl::encode(record));
  rank_command c;
  c.rank = rank;
  c.attempt = a.attempt;
  c.arguments = a.order.command;
  c.folder = a.order.folder;
  c.memory_max = a.order.memory_max;
  const int gpu = a.gpus[static_cast<std::size_t>(rank)];
  c.environment = rank_environment(base, place, a.seats, rank, gpu < 0 ? "" : std::to_string(gpu));
  c.environment.push_back("FLYWHEEL_GANG=" + text);
  return c;
}

} // namespace

void gang_outbox::put(gang_observation o, mono_time now) {
  if (const int rank = rank_of_look(o); rank >= 0)
    for (auto i = entries_.rbegin(); i != entries_.rend(); ++i) {
      const auto* r = std::get_if<rank_observation>(&i->what);
      if (r == nullptr || r->rank != rank)
        continue;
      if (rank_of_look(i->what) == rank) {
        *i = {std::move(o), now};
        return;
      }
      break; // something else of this rank came in between
    }
  entries_.push_back({std::move(o), now});
}

void gang_outbox::put_back(std::vector<entry> taken) {
  auto newer = std::exchange(entries_, std::move(taken));
  for (auto& e : newer)
    put(std::move(e.what), e.at);
}

gang_hands::gang_hands(gang_attempt attempt, gang_hands_options options)
    : attempt_(std::move(attempt)), options_(std::move(options)), wakeup_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), thread_([this] { run(); }) {}

gang_hands::~gang_hands() {
  {
    const std::lock_guard lock{mutex_};
    closing_ = true;
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto n = ::write(wakeup_, &one, sizeof one);
  thread_.join();
  if (wakeup_ >= 0)
    ::close(wakeup_);
}

void gang_hands::signal(int number) {
  {
    const std::lock_guard lock{mutex_};
    signals_.push_back(number);
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto n = ::write(wakeup_, &one, sizeof one);
}

std::vector<gang_outbox::entry> gang_hands::take() {
  const std::lock_guard lock{mutex_};
  notified_ = false;
  return outbox_.take();
}

void gang_hands::put_back(std::vector<gang_outbox::entry> taken) {
  const std::lock_guard lock{mutex_};
  outbox_.put_back(std::move(taken));
}

bool gang_hands::over() const {
  const std::lock_guard lock{mutex_};
  return ended_ && outbox_.empty();
}

void gang_hands::put(gang_observation o) {
  const auto now = system_clock().mono();
  bool tell = false;
  {
    const std::lock_guard lock{mutex_};
    ended_ = ended_ || std::holds_alternative<host_cleared>(o);
    outbox_.put(std::move(o), now);
    tell = !std::exchange(notified_, true);
  }
  if (tell && options_.ready)
    options_.ready();
}

void gang_hands::run() {
  std::vector<int> mine;
  std::map<int, rank_log> logs;
  for (int r = 0; r < static_cast<int>(attempt_.seats.size()); ++r)
    if (attempt_.seats[static_cast<std::size_t>(r)].host == options_.node) {
      mine.push_back(r);
      logs.try_emplace(r, attempt_.logs, r,
                       "--- attempt " + std::to_string(attempt_.attempt) + ", rank " + std::to_string(r) + " on " + options_.node + " (" +
                           attempt_.seats[static_cast<std::size_t>(r)].slot + ")");
    }
  const auto refuse = [&](int rank, const error& why) { put(rank_observation{rank, attempt_.attempt, rank_refused{why}}); };
  rank_launcher_options o;
  o.host = options_.node;
  o.keeper_command = options_.keeper_command;
  o.ranks = static_cast<int>(attempt_.seats.size());
  o.look_every = look_every;
  o.lease_fd = options_.lease ? options_.lease->fd() : -1;
  auto launcher = wakeup_ < 0 ? result<std::unique_ptr<rank_launcher>>{error{errc::no_capacity, "no descriptor is left for the ranks' keeper"}}
                              : rank_launcher::start(std::move(o), [&](int rank, bool, std::string_view line) { logs.at(rank).write(line); });
  if (!launcher) {
    for (const int r : mine)
      refuse(r, launcher.error());
    put(host_cleared{options_.node, attempt_.attempt});
    return;
  }
  for (const int r : mine) {
    const auto command = command_of(attempt_, r);
    if (const auto asked = command ? (*launcher)->start_rank(*command) : status{command.error()}; !asked)
      refuse(r, asked.error());
  }
  bool is_lost = false;
  while (!is_lost) {
    pollfd ready[] = {{(*launcher)->fd(), POLLIN, 0}, {wakeup_, POLLIN, 0}};
    ::poll(ready, 2, -1);
    std::vector<int> signals;
    {
      const std::lock_guard lock{mutex_};
      if (closing_)
        break;
      signals = std::exchange(signals_, {});
    }
    std::uint64_t count = 0;
    [[maybe_unused]] const auto n = ::read(wakeup_, &count, sizeof count);
    for (const int s : signals)
      if (s == SIGKILL)
        (*launcher)->kill_all();
      else
        (*launcher)->signal_all(s);
    bool is_cleared = false;
    for (auto& seen : (*launcher)->wait(nanoseconds{0})) {
      is_cleared = is_cleared || std::holds_alternative<host_cleared>(seen);
      is_lost = is_lost || std::holds_alternative<host_lost>(seen);
      put(std::move(seen));
    }
    if (is_cleared)
      return;
  }
  launcher->reset(); // kills and reaps
  put(host_cleared{options_.node, attempt_.attempt});
}

result<int> free_tcp_port() {
  const owned_fd s{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (!s || ::bind(s.get(), generic, size) != 0 || ::getsockname(s.get(), generic, &size) != 0)
    return error_from_errno(errno, "looking for a free port for MASTER_PORT");
  return ntohs(address.sin_port);
}

result<std::string> address_towards(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (const int failed = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found); failed != 0)
    return error{errc::unreachable, std::string{"looking up "} + host + ": " + ::gai_strerror(failed), host};
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> all{found, ::freeaddrinfo};
  for (const auto* a = found; a != nullptr; a = a->ai_next) {
    const owned_fd s{::socket(a->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    sockaddr_storage own{};
    socklen_t size = sizeof own;
    if (!s || ::connect(s.get(), a->ai_addr, a->ai_addrlen) != 0 || ::getsockname(s.get(), reinterpret_cast<sockaddr*>(&own), &size) != 0)
      continue;
    char text[NI_MAXHOST] = {};
    if (::getnameinfo(reinterpret_cast<sockaddr*>(&own), size, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0)
      return std::string{text};
  }
  return error{errc::unreachable, "no way leads there", host};
}

} // namespace flywheel
