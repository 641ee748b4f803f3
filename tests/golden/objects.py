"""One object of each kind that files hold, made of numbers that every machine and version makes alike.

``python -m tests.golden.objects`` writes those that ``tests/golden`` lacks; files that are there stay as they are.
"""

from pathlib import Path

import jax
import numpy as np

import padl_bayes as pb
from padl_bayes.alignment import Alignment
from padl_bayes.arviz_io import to_arviz
from padl_bayes.inference.gibbs import GibbsDraws
from padl_bayes.inference.gibbs.transition import GibbsState
from padl_bayes.inference.nuts import NutsDraws
from padl_bayes.inference.results import EmFit, MapFit, SaemFit
from padl_bayes.inference.svi import SviFit
from padl_bayes.tradeoff import Calibration, Frontier, Point
from padl_bayes.tradeoff.channel import SpikeSlab
from padl_bayes.tradeoff.sources import Source
from padl_bayes.tradeoff.storage import quantise

FOLDER = Path(__file__).parent
N, K, P = 6, 2, 4


def numbers(*shape, dtype=np.float64):
    """Multiples of 1/16 of either sign."""
    size = int(np.prod(shape))
    return ((np.arange(size) * 7 % 23 - 11) / 16).reshape(shape).astype(dtype)


def atoms(dtype=np.float64):
    return np.repeat(np.eye(2, dtype=dtype), 2, axis=1)[:, :P] * np.sqrt(dtype(0.5))


def codes(n=N):
    return np.where(np.arange(n * K).reshape(n, K) % 3 == 0, 0, numbers(n, K) * 4)


def em(dtype=np.float64):
    history = {"elbo": numbers(3), "n_active": np.array([4, 3, 2]), "stage": np.array(["cool", "fit", "fit"])}
    return EmFit(
        dictionary=atoms(dtype), codes=numbers(N, K, dtype=dtype), probability=np.abs(numbers(N, K, dtype=dtype)),
        code_sd=np.abs(numbers(N, K, dtype=dtype)), usage=np.array([0.5, 0.25], dtype),
        rate=np.array([1.0, 2.0], dtype), activation_log_odds=np.array([np.inf, 3.5], dtype), activation_rate=0.25,
        noise_scale=0.125, coding_noise_scale=0.25, elbo=-1.5, evidence=-np.inf, data_scale=1.0,
        slab="bernoulli_laplace", nonnegative=False, n_atoms=8, history=history, n_iter=3, converged=True,
        status="converged: it was made so",
        wall_time=0.5,
    )  # fmt: skip


def map_fit():
    return MapFit(
        atoms(),
        codes(),
        2.5,
        1e-7,
        (0.125, 0.0),
        0.25,
        np.array([0.5, 0.75]),
        numbers(4),
        3,
        "converged",
        0.5,
    )


def estimator():
    """A `PADL` as `PADL.fit` leaves it."""
    made = pb.PADL(n_atoms=8, random_state=3)
    made._adopt(em())
    made._mask = np.arange(N * P).reshape(N, P) % 5 != 0
    made._X = np.where(made._mask, numbers(N, P), 0)
    made.feature_names_in_ = np.array(["a", "b", "c", "d"], dtype=object)
    return made


def draws(n_samples=N):
    """Draws of a model, under the names of the engines."""
    dictionary = np.broadcast_to(atoms(), (2, 3, K, P)).copy()
    return {
        "dictionary": dictionary,
        "noise_scale": np.abs(numbers(2, 3)),
        "codes": numbers(2, 3, n_samples, K),
    }


def gibbs():
    labels = np.tile(np.arange(K), (2, 3, 1))
    alignment = Alignment(
        draws()["dictionary"], None, labels, np.ones_like(labels), np.ones((2, 3, K)), atoms(), 2, True
    )
    key = jax.random.wrap_key_data(np.array([[1, 2], [3, 4]], np.uint32))
    state = GibbsState(np.array([5, 5]), {"usage": numbers(2, K)}, numbers(2), numbers(2), key)
    settings = {"slab": "bernoulli_laplace", "fixed": [], "reference": None}
    return GibbsDraws(
        draws(), {"lp": numbers(2, 3)}, {"mean": numbers(N, K)}, alignment, state, 1.0, 0, settings
    )


def frontier():
    source = Source(atoms(), SpikeSlab(np.array([0.5, 0.25]), np.array([1.0, 2.0])), 0.125, N, numbers(N, P))
    columns = [np.abs(numbers(3)) for _ in range(8)]
    return Frontier(
        numbers(3, 2), *columns, np.ones((3, K), bool), source, "sampled", np.array([1.0, 3.5, 8.0]), None
    )


def records():
    """By kind."""
    settings = {"model": "l1linf", "fixed": [], "grid": (1, 2.5), "scale": np.float32(0.5), "none": None}
    svi = SviFit(
        draws(), {"lp": numbers(1, 3)}, numbers(5), False, "stopped", np.nan, np.float64(1.5), 0, settings
    )
    saem = SaemFit(
        {"noise_scale": 0.125, "usage": 0.25}, {"noise_scale": np.abs(numbers(4))}, np.array([1, 1, 0.5, 0.25]),
        atoms(), codes(), np.array([2, 3]), "bernoulli_laplace", False, "averaged over 2", 0.5,
    )  # fmt: skip
    found = [
        estimator(), em(), map_fit(), svi, gibbs(), frontier(),
        NutsDraws(draws(), {"diverging": np.array([[False, True]])}, 1.0, 2**70, {"target_accept": 0.8}),
        pb.SparseCode(codes(), 1.5, 0.0, 7, "converged"),
        Point((0.5, 0.25), 1.5, 2, 0.125, 0.25, 800.0, -3.5, np.arange(K), 3.5),
        Calibration(0.5, 2.0, 1.0, numbers(3)),
    ]  # fmt: skip
    found += [found[4].alignment, found[4].state, found[5].source, found[5].source.law, saem]
    return {type(one).__name__: one for one in found}


def stored(nonnegative=False):
    """Codes and atoms rounded, with an atom that is off."""
    amplitudes = np.column_stack([codes(200), np.zeros(200)])
    made = np.abs(amplitudes) if nonnegative else amplitudes
    return quantise(made, np.vstack([atoms(), numbers(1, P)]), 0.125, precision=2.0, nonnegative=nonnegative)


def posterior():
    small = {name: value for name, value in draws().items() if name != "codes"}
    return to_arviz(small, X=numbers(N, P), reference=atoms())


def main():
    folder = FOLDER / "v1"
    folder.mkdir(exist_ok=True)
    made = records() | {
        "stored": stored(),
        "stored_nonnegative": stored(nonnegative=True),
        "posterior": posterior(),
    }
    for name, one in made.items():
        path = folder / f"{name}.padl"
        if not path.exists():
            pb.save(one, path)


if __name__ == "__main__":
    main()
