// Ranks with a GPU each, through NCCL. Arrays are in device memory. A call is put on a stream of this communicator and waited for
// with the deadline: callers see the same blocking call as on the CPU, and overlap comes from the communication thread.
// The caller makes sure that what wrote the array has finished (an event of its own stream).
//
// Parts of different lengths (shard_of) are one group of reduces or broadcasts, one per rank: NCCL runs a group as one operation.
//
// Not yet run on a GPU; what waits for one is listed in docs/gangs.md.

#include "nccl/backends.hpp"
#include "nccl/library_nccl.hpp"
#include "nccl/rendezvous.hpp"

#include <condition_variable>
#include <cstring>
#include <thread>

namespace flywheel::nccl {
namespace {

constexpr std::chrono::microseconds look_again{50}; ///< between two looks at the stream

int type_of(element type) {
  switch (type) {
  case element::f32: return nccl_type::f32;
  case element::f64: return nccl_type::f64;
  case element::bf16: return nccl_type::bf16;
  case element::i64: return nccl_type::i64;
  }
  return nccl_type::f32;
}

int op_of(reduction op) {
  switch (op) {
  case reduction::sum: return nccl_op::sum;
  case reduction::max: return nccl_op::max;
  case reduction::avg: return nccl_op::avg;
  }
  return nccl_op::sum;
}

/// What the joining thread and the (detachable) thread inside NCCL share.
struct joining {
  std::mutex mutex;
  std::condition_variable done;
  bool finished = false;
  int nccl_error = 0, cuda_error = 0;
  nccl_comm comm = nullptr;
  cuda_context context = nullptr;
  cuda_stream stream = nullptr;
  device_address token = 0; ///< one element for barriers
};

void connect(joining& j, const nccl_library& l, const nccl_unique_id& id, int gpu, int rank, int size) {
  int device = 0;
  int cuda = l.cuDeviceGet(&device, gpu);
  cuda = cuda != 0 ? cuda : l.cuDevicePrimaryCtxRetain(&j.context, device);
  cuda = cuda != 0 ? cuda : l.cuCtxSetCurrent(j.context);
  cuda = cuda != 0 ? cuda : l.cuStreamCreate(&j.stream, 1); // CU_STREAM_NON_BLOCKING
  cuda = cuda != 0 ? cuda : l.cuMemAlloc_v2(&j.token, sizeof(float));
  cuda = cuda != 0 ? cuda : l.cuMemsetD8_v2(j.token, 0, sizeof(float));
  nccl_comm comm = nullptr;
  const int code = cuda == 0 ? l.ncclCommInitRank(&comm, size, id, rank) : 0;
  const std::lock_guard lock{j.mutex};
  j.comm = comm;
  j.cuda_error = cuda;
  j.nccl_error = code;
  j.finished = true;
  j.done.notify_all();
}

class communicator_nccl final : public communicator {
public:
  communicator_nccl(const gang_record& r, const nccl_library& l, std::shared_ptr<joining> j)
      : communicator(r), l_(l), j_(std::move(j)) {}
  ~communicator_nccl() override {
    // ncclCommAbort and ncclCommDestroy can hang when a peer is gone. Then the process is about to be ended from outside.
    if (!given_up_ && !failure())
      l_.ncclCommDestroy(j_->comm);
    else if (!given_up_)
      give_up();
    if (!given_up_)
      for (const auto p : allocated_)
        l_.cuMemFree_v2(p);
  }
  memory_space memory() const noexcept override { return memory_space::device; }
  result<std::span<std::byte>> allocate(std::size_t bytes) override;

protected:
  std::optional<gang_failure> run(const collective_call& call, mono_time deadline) override;
  void interrupt(const gang_failure&) noexcept override {
    const std::lock_guard lock{j_->mutex};
    j_->done.notify_all();
  }

private:
  int start(const collective_call& call);
  /// Aborts on a thread that may hang for ever, and touches the communicator no more.
  void give_up() {
    given_up_ = true;
    std::thread{[&l = l_, j = j_] { l.ncclCommAbort(j->comm); }}.detach();
  }
  gang_failure library_failure(std::string what) { return {failure_kind::library, -1, rank(), sequence(), std::move(what)}; }

  const nccl_library& l_; ///< lives as long as the process
  std::shared_ptr<joining> j_;
  std::vector<device_address> allocated_;
  bool given_up_ = false;
};

result<std::span<std::byte>> communicator_nccl::allocate(std::size_t bytes) {
  device_address p = 0;
  int code = l_.cuCtxSetCurrent(j_->context);
  code = code != 0 ? code : l_.cuMemAlloc_v2(&p, std::max<std::size_t>(bytes, 1));
  code = code != 0 ? code : l_.cuMemsetD8_v2(p, 0, bytes);
  if (code != 0)
    return error{errc::out_of_memory, std::to_string(bytes) + " bytes of GPU memory (CUDA error " + std::to_string(code) + ")"};
  allocated_.push_back(p);
  return std::span{reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(p)), bytes};
}

/// Puts the call on the stream.
int communicator_nccl::start(const collective_call& call) {
  const auto type = type_of(call.data.type);
  const auto part = [&](int r) { return shard_of(call.data.count, static_cast<std::size_t>(size()), static_cast<std::size_t>(r)); };
  const auto at = [&](const shard& s) { return static_cast<std::byte*>(call.data.data) + s.begin * bytes_of(call.data.type); };
  void* const all = call.data.data;
  switch (call.what) {
  case collective::all_reduce: return l_.ncclAllReduce(all, all, call.data.count, type, op_of(call.op), j_->comm, j_->stream);
  case collective::broadcast: return l_.ncclBroadcast(all, all, call.data.count, type, call.root, j_->comm, j_->stream);
  case collective::reduce_scatter: case collective::all_gather: {
    int code = l_.ncclGroupStart();
    for (int r = 0; r < size() && code == nccl_code::success; ++r) {
      const auto s = part(r);
      if (s.size() == 0)
        continue;
      code = call.what == collective::all_gather
                 ? l_.ncclBroadcast(at(s), at(s), s.size(), type, r, j_->comm, j_->stream)
                 : l_.ncclReduce(at(s), at(s), s.size(), type, op_of(call.op), r, j_->comm, j_->stream);
    }
    const int ended = l_.ncclGroupEnd();
    return code != nccl_code::success ? code : ended;
  }
  case collective::barrier: case collective::join: {
    void* const token = reinterpret_cast<void*>(static_cast<std::uintptr_t>(j_->token));
    return l_.ncclAllReduce(token, token, 1, nccl_type::f32, nccl_op::sum, j_->comm, j_->stream);
  }
  }
  return nccl_code::invalid_argument;
}

std::optional<gang_failure> communicator_nccl::run(const collective_call& call, mono_time deadline) {
  if (const int code = l_.cuCtxSetCurrent(j_->context); code != 0)
    return library_failure("CUDA error " + std::to_string(code));
  if (const int code = start(call); code != nccl_code::success) {
    give_up();
    return library_failure(l_.ncclGetErrorString(code));
  }
  while (true) {
    const int state = l_.cuStreamQuery(j_->stream);
    if (state == 0)
      return {};
    int peers = nccl_code::success;
    const int asked = l_.ncclCommGetAsyncError(j_->comm, &peers);
    const int code = asked != nccl_code::success ? asked : peers;
    if (is_interrupted()) {
      give_up();
      return failure();
    }
    if (code != nccl_code::success && code != nccl_code::in_progress) {
      give_up();
      if (code == nccl_code::remote || code == nccl_code::system)
        return gang_failure{failure_kind::peer_lost, -1, rank(), call.sequence, l_.ncclGetErrorString(code)};
      return library_failure(l_.ncclGetErrorString(code));
    }
    if (state != cuda_not_ready) {
      give_up();
      return library_failure("CUDA error " + std::to_string(state));
    }
    if (system_clock().mono() >= deadline) {
      give_up();
      return gang_failure{failure_kind::timed_out, -1, rank(), call.sequence, "NCCL does not tell which rank is late"};
    }
    std::unique_lock lock{j_->mutex};
    j_->done.wait_for(lock, look_again); // abort() wakes it
  }
}

} // namespace

result<std::unique_ptr<communicator>> join_nccl(const gang_record& record, mono_time deadline) {
  FLYWHEEL_TRY(const nccl_library* const l, nccl_library::find());
  const int gpu = record.members[static_cast<std::size_t>(record.rank)].gpu;
  if (gpu < 0 || gpu >= l->gpus)
    return error{errc::invalid_argument, "rank " + std::to_string(record.rank) + " has GPU " + std::to_string(gpu) + " of " +
                                             std::to_string(l->gpus) + " on this host"};
  const auto key = record.gang + "-" + std::to_string(record.generation) + ".nccl";
  nccl_unique_id id{};
  std::string spread;
  if (record.rank == 0) {
    if (const int code = l->ncclGetUniqueId(&id); code != nccl_code::success)
      return error{errc::library_failed, std::string{"NCCL: "} + l->ncclGetErrorString(code)};
    FLYWHEEL_TRY(spread, put_first(record.folder, key, std::string_view{id.bytes.data(), id.bytes.size()}));
  } else {
    FLYWHEEL_TRY(spread, await_value(record.folder, key, deadline));
  }
  if (spread.size() != id.bytes.size())
    return error{errc::protocol_violation, "the NCCL id of the gang has " + std::to_string(spread.size()) + " bytes"};
  std::memcpy(id.bytes.data(), spread.data(), spread.size());

  // ncclCommInitRank waits for all ranks without a deadline: on a thread that is left behind if they do not come.
  auto j = std::make_shared<joining>();
  std::thread{[j, l, id, gpu, rank = record.rank, size = record.size()] { connect(*j, *l, id, gpu, rank, size); }}.detach();
  std::unique_lock lock{j->mutex};
  const bool came = j->done.wait_for(lock, deadline - system_clock().mono(), [&] { return j->finished; });
  if (!came)
    return error{errc::timed_out, "NCCL did not connect the " + std::to_string(record.size()) + " ranks", {},
                 "end this process: NCCL keeps waiting inside it"};
  if (j->cuda_error != 0)
    return error{errc::library_failed, "GPU " + std::to_string(gpu) + ": CUDA error " + std::to_string(j->cuda_error)};
  if (j->nccl_error != nccl_code::success)
    return error{errc::library_failed, std::string{"NCCL: "} + l->ncclGetErrorString(j->nccl_error)};
  lock.unlock();
  auto joined = std::make_unique<communicator_nccl>(record, *l, std::move(j));
  return std::unique_ptr<communicator>{std::move(joined)};
}

} // namespace flywheel::nccl
