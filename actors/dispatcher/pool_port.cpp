#include "actors/dispatcher/pool_port.hpp"

#include <map>
#include <mutex>

namespace flywheel {
namespace {

class worker_pool_port final : public pool_port {
public:
  static result<std::unique_ptr<pool_port>> open(worker_pool_options options, const listener& to, const time_source& time) {
    auto port = std::make_unique<worker_pool_port>();
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
    return std::unique_ptr<pool_port>{std::move(port)};
  }

  void submit(worker_task t) override { pool_->submit(std::move(t)); }
  void cancel(const std::string& task, const std::string& reason) override { pool_->cancel(task, reason); }
  void verdict(std::uint64_t number, bool go_on) override {
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

private:
  struct answers {
    std::mutex mutex;
    std::uint64_t last = 0;
    std::map<std::uint64_t, std::function<void(bool)>> waiting;
  };
  std::shared_ptr<answers> answers_ = std::make_shared<answers>();
  std::unique_ptr<worker_pool> pool_;
};

} // namespace

result<std::unique_ptr<pool_port>> open_worker_pool(worker_pool_options options, pool_port::listener to, const time_source& time) {
  return worker_pool_port::open(std::move(options), to, time);
}

} // namespace flywheel
