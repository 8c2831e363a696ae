#include "cluster/statistics/distributions.hpp"

#include "cluster/base/assert.hpp"

#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>

#include <algorithm>
#include <cmath>

namespace flywheel {
namespace {
// Far tails round to 0 or infinity instead of throwing.
using no_throw = boost::math::policies::policy<
    boost::math::policies::overflow_error<boost::math::policies::ignore_error>,
    boost::math::policies::underflow_error<boost::math::policies::ignore_error>,
    boost::math::policies::promote_double<false>>;
using normal = boost::math::normal_distribution<double, no_throw>;
using students_t = boost::math::students_t_distribution<double, no_throw>;
using binomial = boost::math::binomial_distribution<double, no_throw>;
} // namespace

double normal_cdf(double z) {
  if (std::isinf(z))
    return z > 0 ? 1 : 0;
  FLYWHEEL_ASSERT(!std::isnan(z), "normal_cdf of a nan");
  return boost::math::cdf(normal{}, z);
}

double normal_quantile(double p) {
  FLYWHEEL_ASSERT(p > 0 && p < 1, "a quantile's level lies between 0 and 1");
  return boost::math::quantile(normal{}, p);
}

double student_t_cdf(double t, double df) {
  FLYWHEEL_ASSERT(df > 0, "degrees of freedom are positive");
  if (std::isinf(t))
    return t > 0 ? 1 : 0;
  FLYWHEEL_ASSERT(!std::isnan(t), "student_t_cdf of a nan");
  return boost::math::cdf(students_t{df}, t);
}

double student_t_quantile(double p, double df) {
  FLYWHEEL_ASSERT(p > 0 && p < 1 && df > 0, "a quantile's level lies between 0 and 1, degrees of freedom are positive");
  return boost::math::quantile(students_t{df}, p);
}

double binomial_cdf(std::uint64_t k, std::uint64_t n, double p) {
  FLYWHEEL_ASSERT(p >= 0 && p <= 1, "a probability lies between 0 and 1");
  if (k >= n)
    return 1;
  return boost::math::cdf(binomial{static_cast<double>(n), p}, static_cast<double>(k));
}

double coin_test(std::uint64_t k, std::uint64_t n) {
  FLYWHEEL_ASSERT(k <= n, "more successes than tosses");
  if (n == 0)
    return 1;
  return std::min(1.0, 2 * binomial_cdf(std::min(k, n - k), n, 0.5));
}

} // namespace flywheel
