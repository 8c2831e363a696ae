#include "nccl/shared_segment.hpp"

#include "cluster/base/random.hpp"
#include "nccl/rendezvous.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

namespace flywheel::nccl {
namespace {

constexpr int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL; // nobody can cut the file: no SIGBUS

int milliseconds_left(mono_time deadline, int at_most) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - system_clock().mono()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, at_most));
}

/// Paths of sockets are limited to 107 bytes, those of folders are not: the folder is named by its descriptor.
result<sockaddr_un> address_in(const descriptor& folder, const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const auto path = "/proc/self/fd/" + std::to_string(folder.get()) + "/" + name;
  if (path.size() >= sizeof(address.sun_path))
    return error{errc::invalid_argument, "the gang's name is too long for a socket: " + name};
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

result<descriptor> open_folder(const std::string& path) {
  descriptor folder{::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!folder)
    return error_from_errno(errno, "open " + path);
  return folder;
}

result<descriptor> make_file(std::uint64_t bytes) {
  descriptor file{::memfd_create("flywheel-gang", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  if (!file)
    return error_from_errno(errno, "memfd_create");
  if (::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0 || ::fcntl(file.get(), F_ADD_SEALS, seals) != 0)
    return error_from_errno(errno, "size and seal the gang's shared memory");
  return file;
}

status send_answer(const descriptor& to, const segment_answer& answer, const descriptor* file) {
  iovec part{const_cast<segment_answer*>(&answer), sizeof(answer)};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (file != nullptr) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = file->get();
    std::memcpy(CMSG_DATA(c), &fd, sizeof(fd));
  }
  if (::sendmsg(to.get(), &message, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof(answer)))
    return error_from_errno(errno, "answer a rank");
  return success();
}

/// Rank 0's side of the meeting: takes connections until every rank has introduced itself once.
class reception {
public:
  reception(const gang_record& record, descriptor listener) : record_(record), listener_(std::move(listener)) {
    guests_.resize(static_cast<std::size_t>(record.size()));
  }

  status wait_for_all(mono_time deadline) {
    while (missing() != 0) {
      if (system_clock().mono() >= deadline)
        return error{errc::timed_out, "rank " + std::to_string(first_missing()) + " did not come (" + std::to_string(missing()) +
                                          " of " + std::to_string(record_.size()) + " are missing)" + refused_};
      step(deadline);
      if (refused_newer_)
        return admit_generation(record_.gang, refused_newer_, record_.generation);
    }
    return success();
  }
  struct guest {
    descriptor socket;
    pid_t pid = 0;
  };
  const guest& of(int rank) const { return guests_[static_cast<std::size_t>(rank)]; }

private:
  int missing() const {
    return static_cast<int>(std::count_if(guests_.begin() + 1, guests_.end(), [](const guest& g) { return !g.socket; }));
  }
  std::size_t first_missing() const {
    return static_cast<std::size_t>(
        std::find_if(guests_.begin() + 1, guests_.end(), [](const guest& g) { return !g.socket; }) - guests_.begin());
  }
  /// Waits for one event: somebody at the door, somebody speaking, or a guest who left.
  void step(mono_time deadline) {
    std::vector<pollfd> events{{listener_.get(), POLLIN, 0}};
    for (const auto& s : strangers_)
      events.push_back({s.get(), POLLIN, 0});
    for (const auto& g : guests_)
      events.push_back({g.socket.get(), POLLIN, 0}); // -1 is passed over
    if (::poll(events.data(), events.size(), milliseconds_left(deadline, 1000)) <= 0)
      return;
    std::vector<descriptor> still;
    for (std::size_t i = 0; i < strangers_.size(); ++i) {
      if (events[1 + i].revents == 0)
        still.push_back(std::move(strangers_[i]));
      else
        introduce(std::move(strangers_[i]));
    }
    const std::size_t first_guest = 1 + strangers_.size();
    strangers_ = std::move(still);
    for (std::size_t i = 0; i < guests_.size(); ++i) // a guest has nothing more to say: this is its end; another may come
      if (first_guest + i < events.size() && events[first_guest + i].fd >= 0 && events[first_guest + i].revents != 0)
        guests_[i] = {};
    if (events[0].revents != 0)
      if (descriptor s{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)}; s && strangers_.size() < 2 * ranks_max)
        strangers_.push_back(std::move(s));
  }
  void introduce(descriptor stranger) {
    segment_hello hello;
    ucred who{};
    socklen_t bytes = sizeof(who);
    if (::recv(stranger.get(), &hello, sizeof(hello), MSG_DONTWAIT) != static_cast<ssize_t>(sizeof(hello)) || hello.magic != segment_magic ||
        ::getsockopt(stranger.get(), SOL_SOCKET, SO_PEERCRED, &who, &bytes) != 0 || who.uid != ::geteuid() || who.pid <= 0)
      return; // not one of ours: hang up
    const bool ours = hello.gang == stable_hash(record_.gang);
    if (ours && hello.generation > record_.generation)
      refused_newer_ = hello.generation;
    const bool sound = ours && hello.generation == record_.generation && hello.size == record_.size() && hello.rank > 0 &&
                       hello.rank < record_.size() && !of(hello.rank).socket;
    if (sound) {
      guests_[static_cast<std::size_t>(hello.rank)] = {std::move(stranger), who.pid};
      return;
    }
    refused_ = "; refused rank " + std::to_string(hello.rank) + " of " + std::to_string(hello.size) + ", generation " +
               std::to_string(hello.generation);
    segment_answer no;
    no.generation = record_.generation;
    (void)send_answer(stranger, no, nullptr).ok();
  }

  const gang_record& record_;
  descriptor listener_;
  std::vector<descriptor> strangers_; ///< connected, have not said who they are
  std::vector<guest> guests_;         ///< by rank
  std::string refused_;               ///< the last one, for the message
  std::uint64_t refused_newer_ = 0;
};

/// Listens under a temporary name first: whoever sees the socket can connect to it.
result<descriptor> listen_in(const descriptor& folder, const std::string& name) {
  descriptor listener{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
  if (!listener)
    return error_from_errno(errno, "socket");
  const auto temporary = name + ".new";
  FLYWHEEL_TRY(const sockaddr_un address, address_in(folder, temporary));
  ::unlinkat(folder.get(), temporary.c_str(), 0);
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(listener.get(), ranks_max) != 0 || ::renameat(folder.get(), temporary.c_str(), folder.get(), name.c_str()) != 0) {
    auto failed = error_from_errno(errno, "listen on " + name);
    ::unlinkat(folder.get(), temporary.c_str(), 0);
    return failed;
  }
  return listener;
}

result<descriptor> connect_to_rank_0(const gang_record& record, mono_time deadline) {
  FLYWHEEL_TRY(const descriptor folder, open_folder(record.folder));
  FLYWHEEL_TRY(const folder_watch watch, folder_watch::on(record.folder));
  FLYWHEEL_TRY(const sockaddr_un address, address_in(folder, segment_socket_name(record)));
  while (true) {
    descriptor socket{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
    if (!socket)
      return error_from_errno(errno, "socket");
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0)
      return socket;
    if (errno != ENOENT && errno != ECONNREFUSED && errno != EINTR && errno != EAGAIN)
      return error_from_errno(errno, "connect to rank 0");
    if (system_clock().mono() >= deadline)
      return error{errc::timed_out, "rank 0 did not come"};
    watch.wait(deadline);
  }
}

/// Waits for rank 0's answer; the file that came with it.
result<descriptor> receive_file(const descriptor& socket, const gang_record& record, mono_time deadline) {
  pollfd event{socket.get(), POLLIN, 0};
  while (::poll(&event, 1, milliseconds_left(deadline, 1000)) <= 0)
    if (system_clock().mono() >= deadline)
      return error{errc::timed_out, "rank 0 has come, but not all others"};
  segment_answer answer;
  iovec part{&answer, sizeof(answer)};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const auto n = ::recvmsg(socket.get(), &message, MSG_CMSG_CLOEXEC);
  descriptor file;
  if (const cmsghdr* c = n >= 0 ? CMSG_FIRSTHDR(&message) : nullptr;
      c != nullptr && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int))) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    file = descriptor{fd};
  }
  if (n == 0 || (n < 0 && errno == ECONNRESET))
    return error{errc::worker_lost, "rank 0 ended while the gang was meeting"};
  if (n != static_cast<ssize_t>(sizeof(answer)) || answer.magic != segment_magic)
    return error{errc::protocol_violation, "rank 0 does not speak this protocol"};
  if (answer.accepted != 1) {
    FLYWHEEL_CHECK(admit_generation(record.gang, answer.generation, record.generation));
    return error{errc::protocol_violation, "rank 0 of generation " + std::to_string(answer.generation) + " refused rank " +
                                               std::to_string(record.rank) + " of generation " + std::to_string(record.generation)};
  }
  if (!file)
    return error{errc::protocol_violation, "rank 0 sent no shared memory"};
  return file;
}

} // namespace

std::string segment_socket_name(const gang_record& record) {
  return record.gang + "-" + std::to_string(record.generation) + ".sock";
}

rank_slot& shared_segment::slot(int rank) const noexcept {
  return *std::launder(reinterpret_cast<rank_slot*>(base_ + slots_offset + static_cast<std::size_t>(rank) * sizeof(rank_slot)));
}
std::atomic<std::uint64_t>& shared_segment::failure_word() const noexcept {
  return *std::launder(reinterpret_cast<std::atomic<std::uint64_t>*>(base_ + failure_word_offset));
}

status shared_segment::map(const descriptor& file) {
  void* at = ::mmap(nullptr, header_.total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file.get(), 0);
  if (at == MAP_FAILED)
    return error_from_errno(errno, "map the gang's shared memory");
  base_ = static_cast<std::byte*>(at);
  ::madvise(at, header_.total_bytes, MADV_HUGEPAGE); // a wish
  return success();
}

status shared_segment::watch_peers(int rank) {
  processes_.resize(header_.ranks);
  for (int r = 0; r < static_cast<int>(header_.ranks); ++r) {
    if (r == rank)
      continue;
    processes_[static_cast<std::size_t>(r)] = descriptor{static_cast<int>(::syscall(SYS_pidfd_open, slot(r).pid, 0))};
    if (exit_fd(r) < 0)
      return error{errc::worker_lost, "rank " + std::to_string(r) + " (process " + std::to_string(slot(r).pid) +
                                          ") ended while the gang was meeting, or is in another PID namespace"};
  }
  return success();
}

result<shared_segment> shared_segment::join(const gang_record& record, mono_time deadline) {
  shared_segment s;
  s.header_ = make_header(record);
  if (record.rank == 0) {
    FLYWHEEL_TRY(const descriptor file, make_file(s.header_.total_bytes));
    FLYWHEEL_CHECK(s.map(file));
    std::memcpy(s.base_, &s.header_, sizeof(s.header_));
    new (s.base_ + failure_word_offset) std::atomic<std::uint64_t>{0};
    for (int r = 0; r < record.size(); ++r)
      new (s.base_ + slots_offset + static_cast<std::size_t>(r) * sizeof(rank_slot)) rank_slot;
    s.slot(0).pid = ::getpid();
    if (record.size() == 1) {
      FLYWHEEL_CHECK(s.watch_peers(0));
      return s;
    }
    FLYWHEEL_TRY(const descriptor folder, open_folder(record.folder));
    const auto name = segment_socket_name(record);
    FLYWHEEL_TRY(descriptor listener, listen_in(folder, name));
    reception door{record, std::move(listener)};
    auto complete = door.wait_for_all(deadline);
    ::unlinkat(folder.get(), name.c_str(), 0);
    FLYWHEEL_CHECK(std::move(complete));
    for (int r = 1; r < record.size(); ++r)
      s.slot(r).pid = door.of(r).pid;
    FLYWHEEL_CHECK(s.watch_peers(0));
    segment_answer yes;
    yes.generation = record.generation;
    yes.accepted = 1;
    for (int r = 1; r < record.size(); ++r)
      if (auto sent = send_answer(door.of(r).socket, yes, &file); !sent)
        return error{errc::worker_lost, "rank " + std::to_string(r) + " ended while the gang was meeting: " + sent.error().what};
    return s;
  }
  FLYWHEEL_TRY(const descriptor socket, connect_to_rank_0(record, deadline));
  segment_hello hello;
  hello.gang = stable_hash(record.gang);
  hello.generation = record.generation;
  hello.rank = record.rank;
  hello.size = record.size();
  if (::send(socket.get(), &hello, sizeof(hello), MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof(hello)))
    return error{errc::worker_lost, "rank 0 ended while the gang was meeting"};
  FLYWHEEL_TRY(const descriptor file, receive_file(socket, record, deadline));
  struct stat about {};
  std::array<std::byte, sizeof(segment_header)> start{};
  if (::fstat(file.get(), &about) != 0 || !S_ISREG(about.st_mode) || ::pread(file.get(), start.data(), start.size(), 0) < 0)
    return error{errc::protocol_violation, "the gang's shared memory: rank 0 sent something that is no file"};
  const auto n = std::min<std::uint64_t>(start.size(), static_cast<std::uint64_t>(about.st_size));
  FLYWHEEL_CHECK(check_segment(std::span{start}.first(n), static_cast<std::uint64_t>(about.st_size), record));
  if ((::fcntl(file.get(), F_GET_SEALS) & seals) != seals)
    return error{errc::protocol_violation, "the gang's shared memory: its size is not sealed"};
  FLYWHEEL_CHECK(s.map(file));
  FLYWHEEL_CHECK(s.watch_peers(record.rank));
  return s;
}

shared_segment::shared_segment(shared_segment&& other) noexcept
    : header_(other.header_), base_(std::exchange(other.base_, nullptr)), processes_(std::move(other.processes_)) {}

shared_segment::~shared_segment() {
  if (base_ != nullptr)
    ::munmap(base_, header_.total_bytes);
}

} // namespace flywheel::nccl
