#pragma once
// The ranks of one attempt on this node: a rank_launcher on a thread of its own, so that the actor that orders never waits for it.

#include "actors/dispatcher/gang_table.hpp"
#include "cluster/worker/lease_page.hpp"

#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace flywheel {

/// What was seen, until it is taken: nothing is lost, but of looks at a rank only the newest is kept, so that it stays small
/// however long nobody takes it. A plain value.
class gang_outbox {
public:
  struct entry {
    gang_observation what;
    mono_time at;
  };
  void put(gang_observation o, mono_time now);
  /// What was taken could not be told: it comes first again, unless newer looks have taken its place.
  void put_back(std::vector<entry> taken);
  std::vector<entry> take() { return std::exchange(entries_, {}); }
  bool empty() const noexcept { return entries_.empty(); }

private:
  std::vector<entry> entries_;
};

struct gang_hands_options {
  std::string node;                        ///< the ranks seated there are started
  std::vector<std::string> keeper_command;
  std::shared_ptr<lease_page> lease;       ///< the keeper ends everything when it is over; may be null
  std::function<void()> ready;             ///< from the thread: there is something to take; once until it is taken. Must not block
};

class gang_hands {
public:
  /// Begins to start the ranks; everything else is told by observations, also that it could not be begun.
  gang_hands(gang_attempt attempt, gang_hands_options options);
  /// Kills what is left and reaps it.
  ~gang_hands();
  gang_hands(const gang_hands&) = delete;
  gang_hands& operator=(const gang_hands&) = delete;

  /// SIGKILL: everything, and host_cleared follows. Others: to the ranks.
  void signal(int number);
  std::vector<gang_outbox::entry> take();
  void put_back(std::vector<gang_outbox::entry> taken);
  /// host_cleared was told, and taken: this can be destroyed.
  bool over() const;

private:
  void run();
  void put(gang_observation o);

  gang_attempt attempt_;
  gang_hands_options options_;
  int wakeup_ = -1;
  mutable std::mutex mutex_;
  gang_outbox outbox_;
  std::vector<int> signals_;
  bool notified_ = false, ended_ = false, closing_ = false;
  std::thread thread_;
};

/// A TCP port that is free on this machine now.
result<int> free_tcp_port();
/// The address of this machine from which `host`:`port` is reached; nothing is sent.
result<std::string> address_towards(const std::string& host, std::uint16_t port);

} // namespace flywheel
