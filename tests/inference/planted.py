"""Errors planted in the Gibbs sampler, for tests that must find them."""

from padl_bayes.inference.gibbs import sweep, two_level


def learning_while_off(monkeypatch):
    """Usage of an inactive atom drawn as if no sample had wanted it, instead of from its prior."""
    rules = two_level.rules

    def wrong(*args):
        found = rules(*args)

        def draw_atom(key, codes, active, atom, shared):
            return found.draw_atom(key, codes, True, atom, shared)

        return found._replace(draw_atom=draw_atom)

    monkeypatch.setattr(two_level, "rules", wrong)


def wrong_noise_power(monkeypatch, powers=1):
    """So many factors of the noise scale too many in its conditional."""
    slice_sample = sweep.slice_sample
    monkeypatch.setattr(
        sweep, "slice_sample", lambda key, f, x, w: slice_sample(key, lambda v: f(v) - powers * v, x, w)
    )
