#include "models/gang/gang_training.hpp"

#include "checkpoints/checkpoint_saver.hpp"
#include "cluster/content/digest.hpp"
#include "gpu/denormals.hpp"
#include "gpu/kernels/adamw.hpp"
#include "gpu/models/transformer.hpp"
#include "nccl/communicator.hpp"

#include <array>
#include <bit>
#include <charconv>
#include <cmath>

namespace flywheel {
namespace {

constexpr std::string_view optimiser = "adamw", everything = "transformer";
constexpr nanoseconds join_max{120'000'000'000};
/// As in bench/train_model.hpp, so that losses can be compared with other programs'.
constexpr std::size_t sequences_max = 64, time_max = 2047;

std::uint64_t hashed(std::uint64_t n) {
  std::uint64_t z = n + 0x9E3779B97F4A7C15U;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31);
}

/// Frequent tokens are frequent, as in text.
std::uint32_t token_at(std::uint64_t step, std::size_t sequence, std::size_t t, std::uint32_t vocabulary) {
  const double u = static_cast<double>(hashed((step * sequences_max + sequence) * (time_max + 1) + t) >> 11) * 0x1p-53;
  return static_cast<std::uint32_t>(u * u * vocabulary);
}

std::string hex_of(double x) {
  std::array<char, 32> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), std::bit_cast<std::uint64_t>(x), 16).ptr;
  return {buffer.data(), end};
}

status check(const gang_training_options& o, std::size_t ranks) {
  if (o.shape.consistent() && o.sequences > 0 && o.sequences % ranks == 0 && o.sequences <= sequences_max && o.time > 0 &&
      o.time <= std::min<std::size_t>(time_max, o.shape.context))
    return success();
  return {errc::invalid_argument, std::to_string(o.sequences) + " sequences of " + std::to_string(o.time) + " tokens, width " + std::to_string(o.shape.width) +
                                      ", on " + std::to_string(ranks) + " ranks: sequences must be a multiple of the ranks, at most 64; tokens must fit the "
                                      "context of " + std::to_string(o.shape.context) + "; heads must divide the width"};
}

class training {
public:
  training(const nccl::gang_record& record, const gang_training_options& options, rank_reporter& board)
      : record_(record), options_(options), board_(board), network_(options.shape, options.seed), moment1_(network_.parameters().size()),
        moment2_(network_.parameters().size()) {}

  result<gang_training_result> run() {
    board_.starting();
    auto outcome = run_unreported();
    if (!outcome) {
      const auto failure = comm_ ? comm_->failure() : std::nullopt;
      const bool is_peers = failure && failure->rank != record_.rank &&
                            (failure->kind == nccl::failure_kind::peer_lost || failure->kind == nccl::failure_kind::timed_out ||
                             failure->kind == nccl::failure_kind::aborted);
      board_.failed(is_peers ? rank_fault::peer : rank_fault::own, is_peers ? failure->rank : -1, outcome.error().what);
    } else {
      board_.done();
    }
    return outcome;
  }

private:
  std::uint32_t rank() const { return static_cast<std::uint32_t>(record_.rank); }
  std::uint32_t ranks() const { return static_cast<std::uint32_t>(record_.size()); }
  bool saves() const { return !options_.checkpoints.empty(); }

  result<gang_training_result> run_unreported() {
    const gpu::without_denormals quick;
    std::optional<sharded_store> store;
    if (saves()) {
      FLYWHEEL_TRY(store, sharded_store::begin(options_.checkpoints, options_.attempt));
    }
    FLYWHEEL_TRY(comm_, nccl::join_gang(record_, join_max));
    FLYWHEEL_TRY(const auto memory, comm_->allocate(network_.parameters().size() * sizeof(float)));
    gradient_ = {reinterpret_cast<float*>(memory.data()), network_.parameters().size()};
    gang_training_result done;
    if (saves()) {
      FLYWHEEL_TRY(done.resumed_from, resume(done.loss));
      saver_options how;
      how.rank = rank();
      how.ranks = ranks();
      how.copy_threads = 1;
      how.write.threads = 1;
      FLYWHEEL_TRY(saver_, checkpoint_saver::start(*store, parts(), how));
    }
    for (auto step = done.resumed_from; step < options_.steps; ++step) {
      if (step == done.resumed_from)
        board_.working(step);
      FLYWHEEL_TRY(done.loss, make_step(step));
      board_.finished(step, done.loss);
      if (is_asked_to_stop_ && step + 1 < options_.steps) {
        board_.paused();
        done.stopped = true;
        if (saver_) {
          FLYWHEEL_CHECK(save(step + 1, done.loss));
          FLYWHEEL_CHECK(saver_->wait());
        }
        break;
      }
      if (saver_ && options_.checkpoint_every > 0 && (step + 1) % options_.checkpoint_every == 0) {
        board_.paused();
        FLYWHEEL_CHECK(save(step + 1, done.loss));
        board_.working(step + 1);
      }
    }
    board_.paused();
    if (saver_)
      FLYWHEEL_CHECK(saver_->wait());
    FLYWHEEL_CHECK(comm_->barrier(options_.collective_max));
    done.weights = hasher{}.update(std::as_bytes(network_.parameters())).finish().hex();
    return done;
  }

  result<double> make_step(std::uint64_t step) {
    const std::size_t share = options_.sequences / ranks(), first = share * rank();
    std::vector<std::uint32_t> token(share * options_.time), next(token.size());
    for (std::size_t s = 0; s < share; ++s)
      for (std::size_t t = 0; t < options_.time; ++t) {
        token[s * options_.time + t] = token_at(step, first + s, t, options_.shape.vocabulary);
        next[s * options_.time + t] = token_at(step, first + s, t + 1, options_.shape.vocabulary);
      }
    double loss = network_.backward({token, next, share, options_.time}, work_, gradient_);
    board_.waiting(step);
    board_.collective(comm_->sequence() + 1, "all_reduce");
    FLYWHEEL_CHECK(comm_->all_reduce(std::span{gradient_}, nccl::reduction::avg, options_.collective_max));
    std::array<double, 2> told{loss, options_.stop && options_.stop() ? 1.0 : 0.0}; // each element is averaged by itself
    FLYWHEEL_CHECK(comm_->all_reduce(std::span<double>{told}, nccl::reduction::avg, options_.collective_max));
    loss = told[0];
    is_asked_to_stop_ = told[1] > 0;
    if (!std::isfinite(loss))
      return error{errc::training_diverged, "the loss of step " + std::to_string(step) + " is not finite"};
    gpu::adamw<float>(network_.parameters(), gradient_, moment1_.span(), moment2_.span(), options_.rate, 0, step + 1, {0.9, 0.95, 1e-8});
    return loss;
  }

  /// This rank's share of the three arrays, and on rank 0 the position.
  std::vector<tensor_part> parts() const {
    const std::uint64_t elements = network_.parameters().size();
    std::vector<tensor_part> all;
    for (const auto& name : names())
      all.push_back({name, tensor_type::f32, {elements}, even_share(elements, rank(), ranks())});
    if (rank() == 0)
      all.push_back(position_part());
    return all;
  }
  static std::array<std::string, 3> names() {
    return {weight_name(everything), slot_name(optimiser, "m", everything), slot_name(optimiser, "v", everything)};
  }

  status save(std::uint64_t steps_done, double loss) {
    const auto own = even_share(network_.parameters().size(), rank(), ranks());
    const auto part = [&](std::span<const float> of) { return std::as_bytes(of.subspan(own.begin, own.size())); };
    const auto position = position_bytes({.step = steps_done, .sample = steps_done * options_.sequences, .data_seed = options_.seed});
    std::vector<std::span<const std::byte>> state{part(network_.parameters()), part(moment1_.span()), part(moment2_.span())};
    if (rank() == 0)
      state.emplace_back(position);
    return saver_->save(steps_done, "{\"loss_bits\":\"" + hex_of(loss) + "\"}", state);
  }

  /// Rank 0 says from which checkpoint, so that all take the same one. Returns the steps done; 0 if there is none.
  result<std::uint64_t> resume(double& loss) {
    std::array<std::int64_t, 3> choice{}; // attempt, step, or an error's code
    std::optional<error> failed;
    if (rank() == 0) {
      auto found = find_newest_sharded(options_.checkpoints);
      if (!found) {
        failed = found.error();
        choice[2] = 1;
      } else if (found->newest) {
        choice[0] = static_cast<std::int64_t>(found->newest->contents().id.attempt);
        choice[1] = static_cast<std::int64_t>(found->newest->contents().id.step);
      }
    }
    FLYWHEEL_CHECK(comm_->broadcast(std::span<std::int64_t>{choice}, 0, options_.collective_max));
    if (failed)
      return *std::move(failed);
    if (choice[2] != 0)
      return error{errc::cancelled, "rank 0 cannot read the checkpoints"};
    if (choice[0] == 0)
      return std::uint64_t{0};
    const checkpoint_id id{static_cast<std::uint64_t>(choice[0]), static_cast<std::uint64_t>(choice[1])};
    FLYWHEEL_TRY(const auto c, sharded_checkpoint::open(options_.checkpoints / id.folder_name()));
    static constexpr std::array<std::string_view, 2> slots{"m", "v"};
    FLYWHEEL_CHECK(check_resumable(c.contents(), optimiser, slots));
    FLYWHEEL_TRY(const auto position, read_position(c));
    if (position.data_seed != options_.seed)
      return error{errc::invalid_argument, "the checkpoint is of seed " + std::to_string(position.data_seed) + ", this training of seed " + std::to_string(options_.seed),
                   (options_.checkpoints / id.folder_name()).string()};
    const auto n = names();
    const element_range whole{0, network_.parameters().size()};
    const std::array<read_request, 3> requests{{{n[0], whole, std::as_writable_bytes(network_.parameters())},
                                                {n[1], whole, std::as_writable_bytes(moment1_.span())},
                                                {n[2], whole, std::as_writable_bytes(moment2_.span())}}};
    FLYWHEEL_CHECK(c.read(requests, 1));
    const auto& attributes = c.contents().attributes;
    constexpr std::string_view key = "\"loss_bits\":\"";
    std::uint64_t bits = 0;
    if (const auto at = attributes.find(key); at != std::string::npos)
      std::from_chars(attributes.data() + at + key.size(), attributes.data() + attributes.size(), bits, 16);
    loss = std::bit_cast<double>(bits);
    return position.step;
  }

  const nccl::gang_record& record_;
  const gang_training_options& options_;
  rank_reporter& board_;
  gpu::transformer<float> network_;
  gpu::transformer_workspace<float> work_;
  gpu::host_array<float> moment1_, moment2_;
  std::unique_ptr<nccl::communicator> comm_;
  std::span<float> gradient_;
  std::unique_ptr<checkpoint_saver> saver_;
  bool is_asked_to_stop_ = false;
};

} // namespace

gpu::transformer_shape gang_training_options::small_shape() {
  gpu::transformer_shape s;
  s.vocabulary = 512, s.context = 64, s.layers = 2, s.width = 128, s.heads = 4, s.kv_heads = 2, s.hidden = 256;
  return s;
}

result<gang_training_result> train_in_gang(const nccl::gang_record& record, const gang_training_options& options, rank_reporter& board) {
  FLYWHEEL_CHECK(nccl::check(record));
  if (auto fits = check(options, record.members.size()); !fits) {
    board.failed(rank_fault::own, -1, fits.error().what);
    return std::move(fits).error();
  }
  return training{record, options, board}.run();
}

} // namespace flywheel
