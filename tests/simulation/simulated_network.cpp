#include "tests/simulation/simulated_network.hpp"

#include <algorithm>

namespace flywheel::simulation {

using std::chrono::milliseconds;

std::shared_ptr<wire> simulated_network::connect(machine& from, machine& to) {
  const auto w = std::make_shared<wire>();
  w->ends[0] = &from;
  w->ends[1] = &to;
  for (const int side : {0, 1})
    w->ports[side] = make_port(w, side);
  wires_.push_back(w);
  return w;
}

void simulated_network::close(wire& w) {
  if (!w.open)
    return;
  w.open = false;
  for (const int side : {0, 1}) {
    w.under_way[side].clear();
    caf::anon_send_exit(w.ports[side], caf::exit_reason::remote_link_unreachable);
  }
}
void simulated_network::pump(const std::shared_ptr<wire>& w, int to) {
  auto& queue = w->under_way[to];
  while (w->open && !w->stalled[to] && !queue.empty() && queue.front().due <= stage_->now && *w->ends[to]->alive && !w->ends[to]->frozen) {
    gate_frame f{std::move(queue.front().bytes)};
    queue.pop_front();
    cafx::anon_send(w->ports[to], std::move(f));
  }
}
void simulated_network::transmit(const std::shared_ptr<wire>& w, int from, const std::string& bytes) {
  if (!w->open)
    return;
  const int to = 1 - from;
  const auto delay = stage_->chance(40) ? stage_->between(milliseconds{50}, milliseconds{900}) : stage_->between(std::chrono::microseconds{50}, milliseconds{4});
  const auto due = std::max(w->last_due[to], stage_->now + delay);
  w->last_due[to] = due;
  w->under_way[to].push_back({due, bytes});
  stage_->after(due - stage_->now, [this, w, to] { pump(w, to); });
}
caf::actor simulated_network::make_port(const std::shared_ptr<wire>& w, int side) {
  return w->ends[side]->system->spawn([this, w = std::weak_ptr<wire>{w}, side, gate = w->ends[side]->gate](caf::event_based_actor* self) {
    return caf::behavior{[this, self, w, side, gate](const gate_frame& f) {
      if (!self->current_sender())
        cafx::send(self, gate, f); // from the other side
      else if (const auto held = w.lock())
        transmit(held, side, f.bytes);
    }};
  });
}

} // namespace flywheel::simulation
