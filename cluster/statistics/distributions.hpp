#pragma once
// The few distribution functions that decisions need, from Boost.Math, behind a header that costs nothing to include.
// All are pure and thread-safe. Arguments outside their domain are a programmer's mistake and abort.

#include <cstdint>

namespace flywheel {

double normal_cdf(double z);
/// 0 < p < 1.
double normal_quantile(double p);
/// df > 0.
double student_t_cdf(double t, double df);
/// 0 < p < 1, df > 0.
double student_t_quantile(double p, double df);
/// P(X <= k) for X ~ Binomial(n, p); 1 if k >= n.
double binomial_cdf(std::uint64_t k, std::uint64_t n, double p);
/// Two-sided p of k successes in n fair coin tosses: min(1, 2 P(X <= min(k, n-k))). 1 if n is 0.
double coin_test(std::uint64_t k, std::uint64_t n);

} // namespace flywheel
