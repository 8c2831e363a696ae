#include "nccl/gradient_buckets.hpp"

#include "cluster/base/assert.hpp"

#include <algorithm>

namespace flywheel::nccl {

result<std::unique_ptr<gradient_buckets>> gradient_buckets::make(communication_thread& thread, std::span<const std::size_t> sizes,
                                                                 std::size_t bucket_bytes, bucket_reduction how, nanoseconds timeout) {
  if (thread.over().memory() != memory_space::host)
    return error{errc::unsupported, "gradient buckets in device memory: the layers of gpu/ do not run on a GPU yet"};
  FLYWHEEL_TRY(auto plan, plan_buckets(sizes, std::max<std::size_t>(1, bucket_bytes / sizeof(float))));
  FLYWHEEL_TRY(const auto bytes, thread.over().allocate(plan.elements * sizeof(float)));
  const std::span<float> flat{reinterpret_cast<float*>(bytes.data()), plan.elements}; // zeroed, aligned to a page
  return std::unique_ptr<gradient_buckets>{new gradient_buckets{thread, std::move(plan), flat, how, timeout}};
}

gradient_buckets::gradient_buckets(communication_thread& thread, bucket_plan plan, std::span<float> flat, bucket_reduction how,
                                   nanoseconds timeout)
    : thread_(thread), plan_(std::move(plan)), flat_(flat), how_(how), timeout_(timeout), is_ready_(plan_.parameters.size()),
      missing_(plan_.parameters_in), under_way_(plan_.buckets.size()) {}

gradient_buckets::~gradient_buckets() {
  for (const auto& h : under_way_)
    (void)h.wait().ok();
}

std::span<float> gradient_buckets::gradient(std::size_t parameter) const {
  const auto& at = plan_.parameters[parameter];
  return flat_.subspan(at.begin, at.count);
}

void gradient_buckets::ready(std::size_t parameter) {
  const std::lock_guard lock{mutex_};
  FLYWHEEL_ASSERT(parameter < is_ready_.size() && !is_ready_[parameter], "a gradient is ready once a step");
  is_ready_[parameter] = true;
  --missing_[plan_.bucket_of[parameter]];
  for (; next_ < missing_.size() && missing_[next_] == 0; ++next_) {
    const auto& b = plan_.buckets[next_];
    const array_view all{flat_.subspan(b.begin, b.count)};
    under_way_[next_] = how_ == bucket_reduction::all_ranks ? thread_.all_reduce(all, reduction::avg, timeout_)
                                                            : thread_.reduce_scatter(all, reduction::avg, timeout_);
  }
}

status gradient_buckets::finish() {
  {
    const std::lock_guard lock{mutex_};
    FLYWHEEL_ASSERT(next_ == missing_.size(), "every gradient is ready before the step is finished");
  }
  status first;
  for (const auto& h : under_way_)
    if (auto outcome = h.wait(); !outcome && first)
      first = std::move(outcome);
  const std::lock_guard lock{mutex_};
  std::fill(is_ready_.begin(), is_ready_.end(), false);
  missing_ = plan_.parameters_in;
  next_ = 0;
  return first;
}

} // namespace flywheel::nccl
