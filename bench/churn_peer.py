"""The peer of bench/churn.sh: histogram boosting from scikit-learn, tuned by random search on the first 3,333 customers
(5 folds, 30 trials, both cores), judged once on the last 1,667. Prints one JSON line."""
import json
import sys
import time

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import RandomizedSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

start = time.monotonic()
data = pd.read_csv(sys.argv[1])
x, y = data.drop(columns="churn"), (data["churn"] == "yes").to_numpy()
words = [c for c in x.columns if x[c].dtype == object]
encode = make_column_transformer((OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan), words),
                                 remainder="passthrough")
space = {
    "histgradientboostingclassifier__learning_rate": [0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2],
    "histgradientboostingclassifier__max_leaf_nodes": [7, 15, 31, 63],
    "histgradientboostingclassifier__min_samples_leaf": [5, 10, 20, 40],
    "histgradientboostingclassifier__l2_regularization": [0.0, 0.1, 1.0, 10.0],
    "histgradientboostingclassifier__max_iter": [100, 200],
}
search = RandomizedSearchCV(make_pipeline(encode, HistGradientBoostingClassifier(random_state=1)), space, n_iter=30,
                            cv=StratifiedKFold(5, shuffle=True, random_state=1), n_jobs=2, random_state=int(sys.argv[2]))
search.fit(x[:3333], y[:3333])
print(json.dumps({"accuracy": float((search.predict(x[3333:]) == y[3333:]).mean()), "cross_validated": float(search.best_score_),
                  "seconds": time.monotonic() - start}))
