#pragma once
// A device opened for computing: what it can do, and its memory through a pool with a bound.

#include "gpu/memory_pool.hpp"
#include "gpu/operations.hpp"

#include <memory>
#include <string>

namespace flywheel::gpu {

/// One per device and thread; what is made from it (streams, events, tensors) must be gone before it.
class compute_device {
public:
  /// `operations`: host_operations() or *cuda_operations(). `memory_bound`: the most memory that is ever taken, in bytes.
  /// not_found: there is no device `index`.
  static result<std::unique_ptr<compute_device>> open(const operation_table& operations, int index, std::uint64_t memory_bound);

  const operation_table& operations() const noexcept { return operations_; }
  int index() const noexcept { return index_; }
  const std::string& name() const noexcept { return name_; }
  memory_pool& memory() noexcept { return memory_; }
  /// The error to return upward for what a function of the table returned; `what` was being done.
  error error_of(int number, const std::string& what) const;
  /// The same as a status; 0 is success.
  status check(int number, const char* what) const;

private:
  class source final : public memory_source {
  public:
    explicit source(const compute_device& device) : device_(device) {}
    result<void*> take(std::uint64_t bytes) override;
    void give_back(void* memory) override;

  private:
    const compute_device& device_;
  };
  compute_device(const operation_table& operations, int index, std::string name, std::uint64_t bound)
      : operations_(operations), index_(index), name_(std::move(name)), source_(*this), memory_(source_, bound) {}

  const operation_table& operations_;
  int index_;
  std::string name_;
  source source_;
  memory_pool memory_;
};

} // namespace flywheel::gpu
