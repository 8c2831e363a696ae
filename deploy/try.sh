#!/usr/bin/env bash
# From a clone to a model that is served: sets up, builds, runs the example goal, asks the model once.
# The model stays served in the background; the last lines say how to look further and how to stop it.
# $FLYWHEEL_STATE chooses where everything is kept (default: the user's state folder).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

deploy/setup.sh
echo "== building build/release/flywheel"
deploy/build.sh release flywheel

flywheel=build/release/flywheel
echo "== $flywheel run examples/churn/goal.yaml --approve --serve --detach"
"$flywheel" run examples/churn/goal.yaml --approve --serve --detach

echo
echo "== one customer: $flywheel predict churn ..."
"$flywheel" predict churn state=NJ account_length=137 area_code=area_code_415 international_plan=yes \
  total_day_minutes=303.4 total_day_calls=114 total_day_charge=51.58 number_customer_service_calls=4

cat <<TXT

What next:
  $flywheel why churn              why each decision was taken
  $flywheel describe churn         the goal, its steps and the model's lineage
  $flywheel models churn           the versions
  $flywheel predict churn --input examples/churn/churn.csv -o json
  $flywheel --help                 everything else
To stop serving:
  $flywheel serve --stop
TXT
