"""What else predicts a latency from the ten columns of a model's shape: general regressors, each given a fair chance.

All see standardised columns and the standardised logarithm of the latency, since errors count as ratios.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

Floats = NDArray[np.float64]

# HAT trains three layers of 400 by Adam on 2000 samples. On 10 to 50, L-BFGS with weight decay came out far better (of
# Adam at two rates and L-BFGS at decays 0.001 to 3), so the network gets that; 150 steps did as well as 500.
REGRESSORS: dict[str, Callable[[], Any]] = {
    "random forest": lambda: RandomForestRegressor(300, random_state=0),
    "gradient boosting": lambda: GradientBoostingRegressor(
        n_estimators=300, learning_rate=0.05, max_depth=2, subsample=0.7, random_state=0
    ),
    "3 x 400 network": lambda: MLPRegressor(
        hidden_layer_sizes=(400, 400, 400), solver="lbfgs", alpha=0.3, max_iter=150, random_state=0
    ),
}


def predicted(name: str, shapes: Floats, latencies: Floats, others: Floats) -> Floats:
    """The latencies of `others` by the regressor `name`, trained on `shapes` and `latencies`."""
    logs = np.log(latencies)
    mean, deviation = logs.mean(), logs.std() or 1.0
    scaler = StandardScaler().fit(shapes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = REGRESSORS[name]().fit(scaler.transform(shapes), (logs - mean) / deviation)
    return np.asarray(np.exp(model.predict(scaler.transform(others)) * deviation + mean))
