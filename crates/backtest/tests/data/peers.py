"""Values of other programs for the tests: python peers.py > peers.json

Needs numpy, scipy and scikit-learn. Forecasts are drawn here and stored with the values.
Each fit is scipy's: BFGS on the objective as the papers state it, then the root of its
gradient by the method of Powell.
"""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
from scipy.optimize import minimize, root
from scipy.special import log_softmax
from sklearn.metrics import log_loss

K = 5
random = np.random.default_rng(11)
truth = random.normal(0, 1, (160, K))
z = np.round(1.8 * truth + random.normal(0, 0.6, truth.shape), 3)
p_true = np.exp(log_softmax(truth, axis=1))
y = np.array([random.choice(K, p=p) for p in p_true])
log_p = log_softmax(z, axis=1)
p = np.exp(log_p)


def nll(logits):
    return -log_softmax(logits, axis=1)[np.arange(len(y)), y].mean()


def gradient(logits):
    e = np.exp(log_softmax(logits, axis=1))
    e[np.arange(len(y)), y] -= 1
    return e / len(y)


def best(fun, jac, start):
    near = minimize(fun, start, jac=jac, method="BFGS", options={"gtol": 1e-8, "maxiter": 20000})
    found = root(jac, near.x, tol=1e-15)
    assert np.abs(jac(found.x)).max() < 1e-13, np.abs(jac(found.x)).max()
    return found.x


inverse = best(lambda b: nll(z * b), lambda b: [(gradient(z * b) * z).sum()], [1.0])[0]


def vector_logits(t):
    return z * t[:K] + np.append(t[K:], 0)


def vector_gradient(t):
    g = gradient(vector_logits(t))
    return np.concatenate([(g * z).sum(0), g.sum(0)[:-1]])


vector = best(lambda t: nll(vector_logits(t)), vector_gradient, np.append(np.ones(K), np.zeros(K - 1)))

LAMBDA, MU = 0.05, 0.02
off = 1 - np.eye(K)


def parts(t):
    return t[: K * K].reshape(K, K), t[K * K :]


def odir(t):
    w, b = parts(t)
    return nll(log_p @ w.T + b) + LAMBDA * (off * w**2).sum() / (K * (K - 1)) + MU * (b**2).sum() / K


def odir_gradient(t):
    w, b = parts(t)
    g = gradient(log_p @ w.T + b)
    gw = g.T @ log_p + 2 * LAMBDA * off * w / (K * (K - 1))
    return np.concatenate([gw.ravel(), g.sum(0) + 2 * MU * b / K])


dirichlet = best(odir, odir_gradient, np.append(np.eye(K).ravel(), np.zeros(K)))


def bins_error(said, true, bins):
    edges = np.arange(bins + 1) / bins
    error = 0
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (said > low) & (said <= high)
        if inside.any():
            error += inside.mean() * abs(true[inside].mean() - said[inside].mean())
    return error


def ece(bins):
    return bins_error(p.max(1), p.argmax(1) == y, bins)


def classwise(bins):
    return np.mean([bins_error(p[:, k], y == k, bins) for k in range(K)])


def sharpe(r):
    return r.mean(0) / r.std(0, ddof=1)


def overfitting(trials, blocks):
    days = len(trials) // blocks * blocks
    cut = np.split(trials[len(trials) - days :], blocks)
    logits, losses, inside, outside = [], [], [], []
    for half in itertools.combinations(range(blocks), blocks // 2):
        within = sharpe(np.concatenate([cut[b] for b in half]))
        without = sharpe(np.concatenate([cut[b] for b in range(blocks) if b not in half]))
        best_trial = within.argmax()
        rank = (without < without[best_trial]).sum() + 1
        relative = rank / (trials.shape[1] + 1)
        logits.append(np.log(relative / (1 - relative)))
        losses.append(without[best_trial] < 0)
        inside.append(within[best_trial])
        outside.append(without[best_trial])
    return {
        "probability": float(np.mean(np.array(logits) <= 0)),
        "probability_of_loss": float(np.mean(losses)),
        "degradation": float(np.polyfit(inside, outside, 1)[0]),
        "median_logit": float(np.median(logits)),
        "splits": len(logits),
    }


here = Path(__file__).parent
returns = np.loadtxt(here / "strategy_returns.csv", delimiter=",", skiprows=1, usecols=(1, 2))
# Twenty stretches of the two series stand for trials.
trials = np.column_stack([returns[s * 700 : s * 700 + 645, c] for c in (0, 1) for s in range(10)])

json.dump(
    {
        "z": z.tolist(),
        "classes": y.tolist(),
        "temperature": 1 / inverse,
        "temperature_loss": nll(z * inverse),
        "vector": vector.tolist(),
        "vector_loss": nll(vector_logits(vector)),
        "odir": {"lambda": LAMBDA, "mu": MU},
        "dirichlet": dirichlet.tolist(),
        "dirichlet_objective": odir(dirichlet),
        "log_loss": log_loss(y, p, labels=list(range(K))),
        "brier": float(((p - np.eye(K)[y]) ** 2).sum(1).mean()),
        "ece": {str(b): float(ece(b)) for b in (10, 15)},
        "classwise_ece": {str(b): float(classwise(b)) for b in (10, 15)},
        "overfitting": {str(b): overfitting(trials, b) for b in (8, 10)},
    },
    sys.stdout,
)
