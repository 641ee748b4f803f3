"""What `sample_gibbs` promises beside the right law: resuming, moments, and clear refusals."""

from types import SimpleNamespace

import numpy as np
import pytest

from padl_bayes.datasets import synthetic_a
from padl_bayes.inference import Gibbs, sample_gibbs
from padl_bayes.inference.gibbs import gibbs_nbytes
from padl_bayes.inference.gibbs.chains import Chains
from padl_bayes.inference.gibbs.checkpoint import Checkpoint
from padl_bayes.inference.gibbs.parts import join, make_part

DATA = synthetic_a(0.1, n_samples=20, n_features=5, n_atoms=3, usage=0.5, seed=0)
X = DATA.X.astype(np.float32)
INIT = SimpleNamespace(dictionary=DATA.dictionary, codes=DATA.codes, noise_scale=DATA.noise_scale)
RUN = dict(fixed={"dictionary": DATA.dictionary}, num_chains=2, keep_codes="draws")


def test_a_run_that_is_resumed_is_one_longer_run_to_the_bit():
    whole = sample_gibbs(X, num_warmup=5, num_samples=60, **RUN)
    first = sample_gibbs(X, num_warmup=5, num_samples=20, **RUN)
    rest = sample_gibbs(X, num_samples=40, resume=first, **RUN)
    assert whole.samples["codes"].shape == (2, 60, 20, 3)
    for name, draws in whole.samples.items():
        np.testing.assert_array_equal(
            np.concatenate([first.samples[name], rest.samples[name]], axis=1), draws
        )
    assert not np.array_equal(whole.samples["codes"][0], whole.samples["codes"][1])
    codes = whole.samples["codes"].reshape(-1, 20, 3)
    np.testing.assert_allclose(whole.codes_moments["mean"], codes.mean(0), atol=1e-5)
    np.testing.assert_allclose(whole.codes_moments["sd"], codes.std(0), atol=1e-3)
    np.testing.assert_allclose(whole.codes_moments["p_used"], (codes != 0).mean(0), atol=1e-6)


@pytest.mark.parametrize(("asked", "each"), [((0, 60), (0, 60)), (0, (0, 0)), (60, (60, 60))])
def test_chains_start_with_as_many_atoms_as_asked(asked, each, monkeypatch):
    class Seen(Exception):
        pass

    def start(chains, random_state, init, n_active):
        np.testing.assert_array_equal(n_active, each)
        raise Seen

    monkeypatch.setattr(Chains, "start", start)
    with pytest.raises(Seen):
        sample_gibbs(X, 60, start_active=asked, num_chains=2)


def test_the_first_state_has_as_many_atoms_as_asked():
    counts = np.array([0, 4, 60])
    state = Chains(Gibbs(60), X, None, 3, None).start(0, None, counts)
    np.testing.assert_array_equal(state.z["active"].sum(1), counts)
    assert not np.array_equal(state.z["dictionary"][0], state.z["dictionary"][1])


def test_atoms_that_the_reference_lacks_keep_their_labels_from_part_to_part():
    rng = np.random.default_rng(0)
    atoms = np.linalg.qr(rng.normal(size=(5, 5)))[0][:4]
    orders = np.array([rng.permutation(4) for _ in range(12)]).reshape(2, 6, 4)
    z = {
        "dictionary": atoms[orders],
        "active": np.ones((2, 6, 4), int),
        "activation_prob": np.ones((2, 6, 4)),
    }
    z["codes"] = np.broadcast_to(orders[:, :, None] + 1.0, (2, 6, 3, 4))
    saved = Checkpoint(None, {})
    saved.save_reference(atoms[:1])
    state = Chains(Gibbs(4), X, None, 2, None).start(0, None)
    for first in (0, 2, 4):
        part = {name: values[:, first : first + 2] for name, values in z.items()}
        saved.save(state, make_part(Gibbs(4), saved.reference, "moments", part, {}))
    _, _, moments, alignment = join(saved.parts)
    np.testing.assert_allclose(alignment.dictionary, np.broadcast_to(alignment.reference, (2, 6, 4, 5)))
    np.testing.assert_allclose(alignment.reference[0], atoms[0])
    np.testing.assert_allclose(np.sort(moments["mean"][0]), [1, 2, 3, 4])
    np.testing.assert_allclose(moments["sd"], 0, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (dict(), ValueError, "n_atoms must be given"),
        (dict(n_atoms=0), ValueError, "n_atoms must be at least 1"),
        (dict(n_atoms=2, slab="laplace"), ValueError, "slab must be one of"),
        (dict(n_atoms=2, fixed={"weight": 1.0}), ValueError, "fixed must be one of"),
        (dict(n_atoms=2, fixed={"noise_scale": -1.0}), ValueError, "noise_scale"),
        (dict(n_atoms=2, start_active=3), ValueError, "start_active must be at most n_atoms = 2, found 3"),
        (dict(n_atoms=2, start_active=-1), ValueError, "start_active must be at least 0"),
        (dict(n_atoms=2, start_active=(1, 2)), ValueError, "one number a chain, 4, found 2"),
        (dict(n_atoms=2, start_active=1.5), TypeError, "start_active must be an integer"),
        (dict(init=INIT, start_active=1), ValueError, "start_active is for scattered starts"),
        (dict(n_atoms=2, num_samples=10, thinning=20), ValueError, "thinning must be at most num_samples"),
        (dict(n_atoms=2, keep_codes="all"), ValueError, "keep_codes must be one of"),
        (dict(n_atoms=64, num_samples=10**8), ValueError, r"GiB.*keep moments"),
        (dict(n_atoms=2, fixed={"dictionary": DATA.dictionary}), ValueError, "n_atoms must agree"),
    ],
)
def test_bad_input(settings, error, message):
    with pytest.raises(error, match=message):
        sample_gibbs(X, **settings)


def test_a_long_run_on_digits_fits_in_a_gigabyte_without_its_codes():
    sizes = dict(n_samples=1797, n_features=64, n_atoms=64, n_draws=1000, n_chains=4, dtype=np.float32)
    codes = 4 * 1000 * 1797 * 64 * 4
    assert gibbs_nbytes(**sizes) < 2**30
    assert 2 * codes < gibbs_nbytes(**sizes, keep_codes="draws") < 2.5 * codes
