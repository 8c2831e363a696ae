"""The peer of bench/run serve: FastAPI on uvicorn answering rows with the same XGBoost model file, written for speed:
orjson, one thread, no validation beyond what the model needs. Environment: MODEL (xgboost file), COLUMNS (JSON)."""
import json
import os

import numpy as np
import orjson
import xgboost
from fastapi import FastAPI, Request, Response

columns = json.load(open(os.environ["COLUMNS"]))
names = [c["name"] for c in columns]
codes = [{text: i for i, text in enumerate(c["categories"])} if c["categories"] else None for c in columns]
booster = xgboost.Booster(model_file=os.environ["MODEL"])
booster.set_param({"nthread": 1})
app = FastAPI()


@app.post("/predict")
async def predict(request: Request):
    row = orjson.loads(await request.body())
    features = np.array(
        [[row[n] if c is None else c.get(row[n], np.nan) for n, c in zip(names, codes)]], dtype=np.float32
    )
    p = float(booster.inplace_predict(features, validate_features=False)[0])
    return Response(
        orjson.dumps(
            {
                "model": "churn",
                "prediction": "yes" if p > 0.5 else "no",
                "probabilities": {"no": 1 - p, "yes": p},
            }
        ),
        media_type="application/json",
    )
