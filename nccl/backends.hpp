#pragma once
// The makers of communicators, one for each backend.

#include "nccl/communicator.hpp"

namespace flywheel::nccl {

/// Only join_gang() calls these: the record is sound and the generation entered. Contract and errors as there.
result<std::unique_ptr<communicator>> join_shared(const gang_record& record, mono_time deadline);
result<std::unique_ptr<communicator>> join_gloo(const gang_record& record, mono_time deadline);
result<std::unique_ptr<communicator>> join_nccl(const gang_record& record, mono_time deadline);

} // namespace flywheel::nccl
