#include "gpu/device_errors.hpp"

#include <algorithm>
#include <array>

namespace flywheel::gpu {

namespace {

struct entry {
  int number;
  remedy what;
  bool lost;
};

// Numbers of cudaError_t (CUDA Runtime API, "Data types used by CUDA Runtime"), and of cublasStatus_t plus 10,000.
constexpr std::array table{
    entry{0, remedy::none, false},
    entry{2, remedy::smaller_batch, false},  // out of memory
    entry{3, remedy::retry, false},          // initialisation failed
    entry{46, remedy::retry, false},         // devices are unavailable: another process holds them
    entry{35, remedy::stop, false},          // no driver, or one too old
    entry{100, remedy::stop, false},         // no device
    entry{214, remedy::drain_slot, true},    // memory error that could not be corrected
    entry{220, remedy::drain_slot, true},    // link error that could not be corrected
    entry{226, remedy::drain_slot, true},    // contained memory error
    entry{700, remedy::stop, true},          // illegal address
    entry{702, remedy::stop, true},          // a kernel ran too long
    entry{709, remedy::stop, true},          // the context is destroyed
    entry{710, remedy::stop, true},          // an assert in a kernel
    entry{714, remedy::drain_slot, true},    // the device's stack is corrupted
    entry{715, remedy::stop, true},          // illegal instruction
    entry{716, remedy::stop, true},          // misaligned address
    entry{717, remedy::stop, true},          // invalid address space
    entry{718, remedy::stop, true},          // invalid program counter
    entry{719, remedy::stop, true},          // a launch failed
    entry{802, remedy::retry, false},        // the fabric between the devices is not ready
    entry{10'001, remedy::retry, false},     // cuBLASLt not initialised
    entry{10'003, remedy::smaller_batch, false}, // cuBLASLt could not allocate
    entry{10'013, remedy::stop, true},       // cuBLASLt: execution failed
};

const entry* find(int number) {
  const auto at = std::ranges::find(table, number, &entry::number);
  return at == table.end() ? nullptr : &*at;
}

} // namespace

const char* name_of(remedy r) noexcept {
  switch (r) {
  case remedy::none: return "none";
  case remedy::retry: return "retry";
  case remedy::smaller_batch: return "smaller_batch";
  case remedy::drain_slot: return "drain_slot";
  case remedy::stop: return "stop";
  }
  return "stop";
}

remedy remedy_of_cuda(int number) noexcept {
  const entry* e = find(number);
  return e != nullptr ? e->what : remedy::stop;
}

bool process_is_lost(int number) noexcept {
  const entry* e = find(number);
  return e != nullptr && e->lost;
}

error error_of_cuda(int number, const std::string& explained, const std::string& what, const std::string& where) {
  const std::string text = what + ": " + explained + " (CUDA " + std::to_string(number) + ")";
  switch (remedy_of_cuda(number)) {
  case remedy::none: return {errc::ok, {}};
  case remedy::retry: return {errc::no_capacity, text, where, "try again later"};
  case remedy::smaller_batch: return {errc::out_of_memory, text, where, "use a smaller batch"};
  case remedy::drain_slot: return {errc::worker_lost, text, where, "drain this slot and have the device looked at"};
  case remedy::stop: break;
  }
  return {errc::library_failed, text, where, process_is_lost(number) ? "end this process; the device is usable from a new one" : ""};
}

} // namespace flywheel::gpu
