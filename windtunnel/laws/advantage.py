"""What pre-training on unlabelled data is worth: excess risk from the numbers of unlabelled and labelled examples.

Ge et al. 2023 (arXiv:2303.01566) prove that, where the representation is informative of the labels, the excess risk after pre-training
on m unlabelled examples and fitting a head on n labelled ones is of order C / m + H / n, against S / n for training on the labels alone.
Here the bound is a diagnostic: the three constants are fitted to measured risks, with a part of the risk that no amount of either
removes. Pre-training pays while C / m + H / n + floor < S / n. A floor above zero, or H no smaller than S, says that what was learned is
not about the labels. ``windtunnel law advantage`` prints what :func:`advantage` finds; :func:`planted_risk` measures it in a factor model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from windtunnel.core.errors import UserError
from windtunnel.laws.fitting import LawForm, Variables, fitted
from windtunnel.laws.forecast import DRAWS, Bounds, LawResult
from windtunnel.laws.table import check_count, read_table


def predict(laws: np.ndarray, variables: Variables) -> np.ndarray:
    """[problems, points] for laws [problems, (unlabelled, labelled, supervised, floor, m_power, n_power)]; variables m (0: none) and n."""
    c, h, s, floor, a, b = (laws[:, [place]] for place in range(6))
    with_it = variables["m"] > 0
    by_m, by_n = np.where(with_it, variables["m"], 1.0) ** -a, variables["n"] ** -b
    return np.where(with_it, c * by_m + h * by_n + floor, s * by_n)


def _begin(variables: Variables, risk: np.ndarray) -> list[list[float]]:
    alone = variables["m"] == 0
    s = float(np.median(risk[alone] * variables["n"][alone]))
    h = float(np.median(risk[~alone] * variables["n"][~alone]))
    c = float(np.median(risk[~alone] * variables["m"][~alone]))
    return [[c * share, h * share, s, risk.min() * part + 1e-9, 1.0, 1.0] for share in (0.3, 1.0) for part in (0.01, 0.5)]


ADVANTAGE = LawForm(
    formula="risk = unlabelled / m^m_power + labelled / n^n_power + floor with pre-training, supervised / n^n_power without",
    bounds={name: (1e-9, 1e12) for name in ("unlabelled", "labelled", "supervised")}
    | {"floor": (1e-12, 1e6), "m_power": (0.2, 3), "n_power": (0.2, 3)},
    predict=predict,
    begin=_begin,
    delta=0.3,
)


def advantage(
    path: str | Path,
    *,
    unlabelled: str,
    labelled: str,
    risk: str,
    powers: bool = False,
    where: Mapping[str, str] | None = None,
    draws: int = DRAWS,
) -> LawResult:
    """The law of risks in a table.

    Args:
        path: of the table, a row a measurement.
        unlabelled: column of unlabelled examples; 0 where training was on labels alone.
        labelled: column of labelled examples.
        risk: column of the excess risk, above the best that could be had.
        powers: fit the powers of m and n too, which the bound says are 1.
        where: only rows whose cell in a column says this.
        draws: bootstrap samples.

    Returns:
        the three constants and the floor; ``ratio``, labelled over supervised, is below 1 where pre-training can pay.

    Raises:
        UserError: for a table that cannot be read, without both kinds of rows, or with too few amounts.
    """
    table = read_table(Path(path), {"m": unlabelled, "n": labelled, "risk": risk}, where=where)
    check_count(table, "n", 1, "labelled examples")
    check_count(table, "risk", 0, "excess risks")
    m, n, y = (table.numbers[name] for name in ("m", "n", "risk"))
    if not (m == 0).any() or not (m > 0).any():
        raise UserError(f"{path}: rows with and without unlabelled examples are needed (column {unlabelled!r} 0 where there were none)")
    if len(np.unique(m[m > 0])) < 2 or min(len(np.unique(n[m == 0])), len(np.unique(n[m > 0]))) < 2:
        raise UserError(f"{path}: two amounts of each kind are needed; measure at four times as many labelled and unlabelled examples")
    hold = {} if powers else {"m_power": 1.0, "n_power": 1.0}
    found = fitted(ADVANTAGE, {"m": m, "n": n}, y, largest="n", hold=hold, warnings=table.warnings, draws=draws)
    covariance = found.covariance
    logs = {name: np.log(found.parameters[name].value) for name in ("labelled", "supervised")}
    spread = covariance["log labelled"]["log labelled"] + covariance["log supervised"]["log supervised"]
    spread -= 2 * covariance["log labelled"]["log supervised"]
    middle = logs["labelled"] - logs["supervised"]
    reach = 1.96 * np.sqrt(max(spread, 0.0))
    ratio = Bounds(value=float(np.exp(middle)), low=float(np.exp(middle - reach)), high=float(np.exp(middle + reach)))
    found.parameters["ratio"] = ratio
    if ratio.low >= 1:
        found.warnings.append("labels teach a head no faster after pre-training than they teach a whole model: it does not pay here")
    floor = found.parameters["floor"].low
    if floor > 0.2 * float(np.median(y[m > 0])):
        found.warnings.append("a large part of the risk stays whatever is added: what was learned is not informative of these labels")
    return found


def planted_risk(unlabelled: int, labelled: int, *, informative: bool = True, seed: int = 0, width: int = 40, factors: int = 3) -> float:
    """The excess risk of a linear head in a factor model x = A z + noise whose label depends on z, or else on the noise.

    Args:
        unlabelled: examples from which the factors are learned (principal components); 0: least squares on all of x.
        labelled: examples from which the head is learned.
        informative: whether the label depends on the factors.
        seed: of all that is drawn.
        width: of x.
        factors: of z.
    """
    random = np.random.default_rng(seed)
    loading = np.linalg.qr(random.standard_normal((width, factors)))[0] * 3.0

    def sample(count: int) -> tuple[np.ndarray, np.ndarray]:
        z, noise = random.standard_normal((count, factors)), random.standard_normal((count, width))
        return z @ loading.T + noise, z if informative else noise[:, :factors]

    head = random.standard_normal(factors)
    x, hidden = sample(labelled)
    y = hidden @ head + 0.3 * random.standard_normal(labelled)
    if unlabelled:
        pool, _ = sample(unlabelled)
        basis = np.linalg.eigh(pool.T @ pool)[1][:, -factors:]
    else:
        basis = np.eye(width)
    found = np.linalg.lstsq(x @ basis, y, rcond=None)[0]
    # The risk of basis @ found, less that of the best linear head on x, in closed form.
    covariance = loading @ loading.T + np.eye(width)
    cross = loading @ head if informative else np.concatenate([head, np.zeros(width - factors)])
    best = np.linalg.solve(covariance, cross)
    apart = basis @ found - best
    return float(apart @ covariance @ apart)


def planted_table(unlabelled: Sequence[int], labelled: Sequence[int], seeds: Sequence[int]) -> str:
    """A table of planted risks, each the mean over ``seeds``, for labels that depend on the factors and for labels that do not.

    Amounts of unlabelled examples are those of :func:`planted_risk`, so 0 is training on the labels alone.
    """
    lines = ["informative,unlabelled,labelled,risk"]
    for informative in (True, False):
        for m in unlabelled:
            for n in labelled:
                risk = float(np.mean([planted_risk(m, n, informative=informative, seed=seed) for seed in seeds]))
                lines.append(f"{'yes' if informative else 'no'},{m},{n},{risk:.6g}")
    return "\n".join(lines) + "\n"
