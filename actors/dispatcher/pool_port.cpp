#include "actors/dispatcher/pool_port.hpp"

namespace flywheel {

result<std::unique_ptr<pool_port>> pool_port::open(worker_pool_options options, listener to, const time_source& time) {
  std::unique_ptr<pool_port> port{new pool_port};
  worker_pool_events events;
  events.started = [](const std::string&, int) {};
  events.logged = [](const wire::log&) {};
  events.reported = [a = port->answers_, to](const wire::report& r, std::function<void(bool)> answer) {
    std::uint64_t number = 0;
    {
      const std::lock_guard lock{a->mutex};
      number = ++a->last;
      a->waiting[number] = std::move(answer);
    }
    to.reported(number, r);
  };
  events.ended = to.ended;
  FLYWHEEL_TRY(port->pool_, worker_pool::start(std::move(options), std::move(events), time));
  return port;
}

void pool_port::verdict(std::uint64_t number, bool go_on) {
  std::function<void(bool)> answer;
  {
    const std::lock_guard lock{answers_->mutex};
    const auto i = answers_->waiting.find(number);
    if (i == answers_->waiting.end())
      return;
    answer = std::move(i->second);
    answers_->waiting.erase(i);
  }
  answer(go_on);
}

} // namespace flywheel
