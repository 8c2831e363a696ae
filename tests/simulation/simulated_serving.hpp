#pragma once
// Model servers without sockets, and the customers that the evaluator plays. The sink of a rollout.

#include "actors/deployer/deployer_actor.hpp"
#include "actors/evaluator/evaluator_actor.hpp"
#include "tests/simulation/stage.hpp"

#include <map>

namespace flywheel::simulation {

class marketplace {
public:
  explicit marketplace(stage& s) : stage_(&s) {}
  /// For the life of a node; what it opens is gone once `*alive` is false.
  endpoint_opener opener(std::shared_ptr<const bool> alive);
  /// From any node; waits as a request does.
  traffic_sender sender();

private:
  class endpoint;
  stage* stage_;
  std::map<std::uint16_t, std::weak_ptr<endpoint>> open_;
  std::uint16_t ports_ = 20'000;
};

} // namespace flywheel::simulation
