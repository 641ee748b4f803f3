"""Each kind of bad input, given to each public function that takes such input: one error, which says what to do."""

import warnings
from typing import NamedTuple

import numpy as np
import pytest
import scipy.sparse

import padl_bayes as pb
from padl_bayes import inference, tradeoff
from padl_bayes.exceptions import PadlWarning

GOOD = np.random.default_rng(0).normal(size=(6, 4))
ATOMS = np.eye(2, 4)
AT = (np.arange(24) == 6).reshape(6, 4)


class Case(NamedTuple):
    """Data, the error it gets, and what the message says after the argument's name."""

    data: object
    error: type
    message: str


ANY_USE = {
    "wrong ndim": Case(np.ones(4), ValueError, r"must have 2 dimensions .*, found shape \(4,\)"),
    "empty": Case(np.ones((0, 4)), ValueError, r"is empty: found 0 sample\(s\)"),
    "NaN": Case(np.where(AT, np.nan, GOOD), ValueError, r"has 1 NaN or infinite .* at \[1, 2\]; impute"),
    "infinity": Case(np.where(AT, -np.inf, GOOD), ValueError, r"has 1 NaN or infinite .* at \[1, 2\]"),
    "non-numeric": Case([["a", "b"], ["c", "d"]], TypeError, "must hold numbers, found dtype <U1"),
    "complex": Case(1j * GOOD, TypeError, "must be real, found dtype complex128; pass"),
    "integer overflow": Case(np.full((6, 4), 2**60), ValueError, r"holds integers beyond 2\*\*53"),
    "sparse": Case(scipy.sparse.csr_array(GOOD), TypeError, "is a sparse matrix; pass a dense array"),
    "overflow": Case(1e200 * GOOD, ValueError, "squares overflow float64; rescale"),
}  # fmt: skip
TRAINING = {
    "fewer than 2 samples": Case(GOOD[:1], ValueError, r"has 1 sample\(s\); at least 2 are needed"),
    "constant": Case(
        np.full((6, 4), 3.0), ValueError, r"is constant \(every entry is 3\): there is nothing to learn"
    ),
    "one repeated sample": Case(np.tile(GOOD[0], (6, 1)), ValueError, "is one sample repeated 6 times"),
}
OTHER_FEATURES = Case(GOOD[:, :3], ValueError, "has 3 features, (but PADL is expecting|expected) 4")


@pytest.fixture(scope="module")
def em():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PadlWarning)
        return pb.PADL(n_atoms=2, max_iter=8).fit(GOOD)


@pytest.fixture(scope="module")
def map_():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PadlWarning)
        return pb.PADL(n_atoms=2, method="map", alpha=(0.1, 0.1), max_iter=2).fit(GOOD)


TRAINERS = {
    "PADL.fit em": ("X", lambda X: pb.PADL(n_atoms=2).fit(X)),
    "PADL.fit map": ("X", lambda X: pb.PADL(n_atoms=2, method="map").fit(X)),
    "fit_em": ("X", lambda X: inference.fit_em(X, 2)),
    "fit_em_minibatch": ("X", lambda X: inference.fit_em_minibatch(X, 2, batch_size=6)),
    "fit_map": ("X", lambda X: inference.fit_map(X, 2)),
    "sample_gibbs": ("X", lambda X: inference.sample_gibbs(X, 2)),
    "sample_nuts": ("X", lambda X: inference.sample_nuts(X, 2)),
    "fit_svi": ("X", lambda X: inference.fit_svi(X, 2)),
    "calibrate_alpha": ("X", lambda X: pb.calibrate_alpha(X)),
    "frontier": ("data", lambda X: tradeoff.frontier(X)),
    "operating_point": ("data", lambda X: tradeoff.operating_point(X)),
}
PLAIN = {
    "sparse_code": ("X", lambda X: pb.sparse_code(X, ATOMS, 0.1, 0.1)),
    "match": ("dictionary_a", lambda X: pb.match(X, ATOMS)),
}
OF_A_FIT = {
    "transform": ("X", lambda X, fit: fit.transform(X)),
    "score": ("X", lambda X, fit: fit.score(X)),
    "sample_posterior": ("X", lambda X, fit: fit.sample_posterior(X)),
    "compare": ("X_held_out", lambda X, fit: pb.compare(fit, X_held_out=X)),
}


def check(case, name, call, *arguments):
    with pytest.raises(case.error, match=f"^{name}.* ?{case.message}"):
        call(case.data, *arguments)


@pytest.mark.parametrize("kind", {**ANY_USE, **TRAINING})
@pytest.mark.parametrize("function", TRAINERS)
def test_data_to_learn_from(function, kind):
    name, call = TRAINERS[function]
    case = {**ANY_USE, **TRAINING}[kind]
    if function == "fit_em_minibatch":
        # it reads chunk by chunk, and knows how many there were at the end
        others = {"empty": r"has 0 sample\(s\); at least 2", "constant": "is one sample repeated 6 times"}
        case = case._replace(message=others.get(kind, case.message))
    check(case, name, call)


def test_files_that_cannot_be_read(tmp_path):
    np.save(tmp_path / "whole.npy", GOOD)
    (tmp_path / "half.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:150])
    np.save(tmp_path / "objects.npy", np.array([{}, None]), allow_pickle=True)
    for fit in (lambda X: pb.PADL(2, batch_size=6).fit(X), lambda X: inference.fit_em_minibatch(X, 2)):
        with pytest.raises(FileNotFoundError, match=r"^X: file .*none\.npy' does not exist"):
            fit(str(tmp_path / "none.npy"))
        for name in ("half.npy", "objects.npy"):
            with pytest.raises(ValueError, match=f"^X: file .*{name}' is no readable .npy file"):
                fit(tmp_path / name)
        with pytest.raises(ValueError, match=r"^X must name a \.npy file, found '.*\.csv'"):
            fit("data.csv")


def test_an_output_path_that_exists(em, tmp_path):
    from padl_bayes.report import check_folder

    (tmp_path / "file").write_text("", encoding="utf-8")
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(FileExistsError, match="exists"):
            check_folder(path)
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "mine.txt").write_text("", encoding="utf-8")
    with pytest.raises(FileExistsError, match="checkpoint"):
        inference.sample_gibbs(GOOD, 2, checkpoint=tmp_path / "held", num_warmup=0, num_samples=1)


@pytest.mark.parametrize("kind", ANY_USE)
@pytest.mark.parametrize("function", PLAIN)
def test_data_of_a_function_that_needs_no_fit(function, kind):
    name, call = PLAIN[function]
    check(ANY_USE[kind], name, call)


@pytest.mark.parametrize("kind", [*ANY_USE, "another feature count"])
@pytest.mark.parametrize("function", OF_A_FIT)
def test_data_for_a_fit(function, kind, em, map_):
    name, call = OF_A_FIT[function]
    for fit in (em, map_):
        if kind == "another feature count":
            wrong = OTHER_FEATURES._replace(message=r".*(has 3 features|X_held_out has 3)")
            with pytest.raises(wrong.error, match=wrong.message):
                call(wrong.data, fit)
        else:
            check(ANY_USE[kind], name, call, fit)


@pytest.mark.parametrize("kind", [k for k in ANY_USE if k not in ("wrong ndim", "overflow")])
def test_draws_to_align(kind):
    draws = ANY_USE[kind].data
    draws = draws if scipy.sparse.issparse(draws) else np.asarray(draws)[None]
    message = (
        ANY_USE[kind]
        .message.replace(r" found 0 sample\(s\)", " found shape")
        .replace(r"\[1, 2\]", r"\[0, 1, 2\]")
    )
    with pytest.raises(ANY_USE[kind].error, match=f"^draws {message.split('; impute')[0]}"):
        pb.align(draws)


@pytest.mark.parametrize("function", ["PADL.fit em", "PADL.fit map", "fit_em", "fit_em_minibatch", "fit_map",
                                      "sample_gibbs", "sample_nuts", "fit_svi", "frontier"])  # fmt: skip
@pytest.mark.parametrize(("n_atoms", "error", "message"), [
    (0, ValueError, "n_atoms must be at least 1, found 0"),
    (-3, ValueError, "n_atoms must be at least 1, found -3"),
    (2.5, TypeError, "n_atoms must be an integer, found 2.5"),
    ("2", TypeError, "n_atoms must be an integer, found '2'"),
    (10**30, ValueError, r"n_atoms must be at most 2\*\*63 - 1"),
    (10**15, ValueError, "GiB are there: .*atoms"),
])  # fmt: skip
def test_number_of_atoms(function, n_atoms, error, message):
    calls = {
        "PADL.fit em": lambda: pb.PADL(n_atoms=n_atoms).fit(GOOD),
        "PADL.fit map": lambda: pb.PADL(n_atoms=n_atoms, method="map", alpha=(0.1, 0.1)).fit(GOOD),
        "fit_em": lambda: inference.fit_em(GOOD, n_atoms),
        "fit_em_minibatch": lambda: inference.fit_em_minibatch(GOOD, n_atoms),
        "fit_map": lambda: inference.fit_map(GOOD, n_atoms, alpha=(0.1, 0.1)),
        "sample_gibbs": lambda: inference.sample_gibbs(GOOD, n_atoms),
        "sample_nuts": lambda: inference.sample_nuts(GOOD, n_atoms),
        "fit_svi": lambda: inference.fit_svi(GOOD, n_atoms),
        "frontier": lambda: tradeoff.frontier(GOOD, n_atoms=n_atoms),
    }
    with pytest.raises(error, match=message):
        calls[function]()


@pytest.mark.parametrize(("call", "message"), [
    (lambda: pb.PADL(2, "map", alpha=(-0.1, 0.1)).fit(GOOD), r"alpha\[0\] must be finite and at least 0, found -0.1"),
    (lambda: inference.fit_map(GOOD, 2, alpha=(0.1, -1)), r"alpha\[1\] must be finite and at least 0, found -1"),
    (lambda: pb.sparse_code(GOOD, ATOMS, -0.1, 0.1), "alpha1 must be finite and at least 0, found -0.1"),
    (lambda: pb.sparse_code(GOOD, ATOMS, 0.1, -0.1), "alpha2 must be finite and at least 0, found -0.1"),
    (lambda: pb.sparse_code_path(GOOD, ATOMS, [(0.1, -0.1)]), r"alphas\[0, 1\] must be finite and at least 0"),
    (lambda: pb.PADL(2, "map", alpha=("rmse", -1)).fit(GOOD), "alpha 'rmse' must be finite and above 0, found -1"),
])  # fmt: skip
def test_negative_weights(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_negative_weights_of_a_frontier(em):
    with pytest.raises(ValueError, match="alpha must hold pairs of weights at least zero"):
        tradeoff.frontier(em, alpha=[(0.1, -1.0)])


@pytest.mark.parametrize("call", [
    lambda fit: fit.transform(GOOD), lambda fit: fit.inverse_transform(np.ones((2, 2))), lambda fit: fit.score(GOOD),
    lambda fit: fit.sample_posterior(), lambda fit: fit.get_feature_names_out(),
])  # fmt: skip
def test_an_estimator_that_is_not_fitted(call):
    with pytest.raises(pb.NotFittedError, match=r"this PADL is not fitted: call fit\(X\) first"):
        call(pb.PADL())
    with pytest.raises(ValueError, match=r"is a PADL that is not fitted: call fit\(X\) first"):
        pb.compare(pb.PADL(), X_held_out=GOOD)


@pytest.mark.parametrize(("option", "value", "error", "message"), [
    ("nonnegative", "yes", TypeError, "nonnegative must be True or False, found 'yes'"),
    ("random_state", 2**32, ValueError, "random_state must be at most 4294967295, found 4294967296"),
    ("random_state", None, TypeError, "random_state must be an integer, found None"),
])  # fmt: skip
def test_options_that_many_functions_share(option, value, error, message, em):
    wrong = {option: value}
    calls = [
        lambda: pb.PADL(n_atoms=2, **wrong).fit(GOOD),
        lambda: inference.fit_em(GOOD, 2, **wrong),
        lambda: inference.fit_em_minibatch(GOOD, 2, **wrong),
        lambda: inference.fit_map(GOOD, 2, alpha=(0.1, 0.1), **wrong),
        lambda: inference.sample_gibbs(GOOD, 2, **wrong),
        lambda: inference.sample_nuts(GOOD, 2, **wrong),
        lambda: inference.fit_svi(GOOD, 2, **wrong),
        lambda: pb.calibrate_alpha(GOOD, **wrong),
    ]
    if option == "nonnegative":
        calls.append(lambda: pb.sparse_code(GOOD, ATOMS, 0.1, 0.1, **wrong))
    else:
        calls.append(lambda: pb.compare(em, X_held_out=GOOD, **wrong))
        calls.append(lambda: tradeoff.frontier(em, X=GOOD, **wrong))
    for call in calls:
        with pytest.raises(error, match=message):
            call()
