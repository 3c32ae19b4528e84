"""A logistic model under an L1 penalty, fitted to probabilities: Newton steps with coordinate descent."""

from __future__ import annotations

from dataclasses import dataclass

from moa_graph.extras import needing

with needing("eval"):
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["STRENGTHS", "Array", "Rows", "chosen_strength", "fit", "probabilities"]

Array = NDArray[np.float64]

STRENGTHS = tuple(float(value) for value in np.logspace(-4, 4, 10))
"""The weights C of the data that cross-validation chooses from."""
_FOLDS = 5
_TOLERANCE = 1e-9
_STEPS = 100
_SWEEPS = 50
"""Sweeps of coordinate descent in one Newton step, which need not be exact: another step follows."""
_RIDGE = 1e-12
"""Added to the curvature, so that a column of zeros does not divide by zero."""


@dataclass(frozen=True)
class Rows:
    """Hold what is fitted: features (rows, columns), target probabilities (rows,), weights (rows,)."""

    features: Array
    target: Array
    weight: Array

    def at(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Rows:
        """Return some of the rows, by a mask or by indices that may repeat."""
        return Rows(self.features[which], self.target[which], self.weight[which])

    def and_(self, other: Rows) -> Rows:
        """Return these rows and the other ones below them."""
        return Rows(
            np.concatenate([self.features, other.features]),
            np.concatenate([self.target, other.target]),
            np.concatenate([self.weight, other.weight]),
        )

    def loss(self, beta: Array, strength: float) -> float:
        """Return ‖β‖₁ + C·Σ weight·crossentropy(target, logistic(features·β))."""
        scores = self.features @ beta
        entropy = np.logaddexp(0.0, scores) - self.target * scores
        return float(np.abs(beta).sum() + strength * (self.weight @ entropy))


def probabilities(features: Array, beta: Array) -> Array:
    """Return 1 / (1 + exp(-features·β)), one for each row."""
    return np.exp(-np.logaddexp(0.0, -(features @ beta)))


def fit(rows: Rows, strength: float, *, start: Array | None = None) -> Array:
    """Return the β of the least `rows.loss(β, strength)`, one for each column.

    The penalty has a corner at 0, so each Newton step solves its quadratic model by coordinate descent with
    soft thresholds (Friedman et al. 2010, J. Stat. Softw. 33), and is halved until the loss falls.
    """
    beta = np.zeros(rows.features.shape[1]) if start is None else start.copy()
    loss = rows.loss(beta, strength)
    for _ in range(_STEPS):
        found = probabilities(rows.features, beta)
        gradient = strength * (rows.features.T @ (rows.weight * (found - rows.target)))
        curvature = strength * (rows.features.T * (rows.weight * found * (1 - found))) @ rows.features
        step = _newton_step(gradient, curvature + _RIDGE * np.eye(len(beta)), beta)
        while (after := rows.loss(beta + step, strength)) > loss and np.abs(step).max() > _TOLERANCE:
            step /= 2
        if after > loss:
            break  # the loss is as low as its numbers can tell
        beta, loss = beta + step, after
        if np.abs(step).max() < _TOLERANCE:
            break
    return beta


def chosen_strength(rows: Rows, strengths: tuple[float, ...] = STRENGTHS) -> float:
    """Return the strength whose predictions of rows left out are best: five folds, row i in fold i mod 5."""
    fold = np.arange(len(rows.target)) % _FOLDS
    likelihoods = np.zeros(len(strengths))
    for left_out in range(_FOLDS):
        kept, tested = rows.at(fold != left_out), rows.at(fold == left_out)
        beta = np.zeros(rows.features.shape[1])
        for place, strength in enumerate(strengths):
            beta = fit(kept, strength, start=beta)
            scores = tested.features @ beta
            logs = tested.target * scores - np.logaddexp(0.0, scores)
            likelihoods[place] += float(np.mean(tested.weight * logs))
    return strengths[int(np.argmax(likelihoods))]


def _newton_step(gradient: Array, curvature: Array, beta: Array) -> Array:
    """Return the step that minimises the quadratic model of the loss, the penalty included."""
    step = np.zeros(len(beta))
    for _ in range(_SWEEPS):
        before = step.copy()
        for place in range(len(beta)):
            steep = curvature[place, place]
            slope = gradient[place] + curvature[place] @ step - steep * step[place]
            wanted = beta[place] - slope / steep
            step[place] = np.sign(wanted) * max(abs(wanted) - 1 / steep, 0.0) - beta[place]
        if float(np.abs(step - before).max()) < _TOLERANCE / 1000:
            break
    return step
