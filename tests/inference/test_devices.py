"""Fits and draws do not depend on how many devices and processes the samples are spread over."""

import jax
import numpy as np
import pytest

import padl_bayes as pb
from padl_bayes import _devices
from padl_bayes.inference import fit_em
from padl_bayes.kernels.uniforms import draw_uniforms
from tests.inference import on_devices

# Places for atoms squared, far below the samples of a tile.
ALLOWED = 256


def slow(*settings):
    return pytest.param(*settings, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "devices", "processes"),
    [
        ("em", 4, 1),
        slow("em", 4, 2),
        slow("em", 8, 1),
        slow("em_float32", 8, 1),
        slow("em_masked", 8, 1),
        slow("em_masked", 1, 2),
    ],
)
def test_devices_change_nothing_but_rounding_and_exchange_what_is_sized_by_atoms(
    name, devices, processes, tmp_path, figure
):
    on_devices.check(figure, tmp_path, name, devices, processes, ALLOWED)


@pytest.mark.slow
def test_what_one_device_keeps_for_itself_is_missed(tmp_path):
    found, _ = on_devices.run_on(4, 1, tmp_path, "em", "forgetful")
    assert on_devices.largest_error("em", found) > 1e3


def test_an_exchange_of_samples_is_seen():
    program = """
      ag = f64[2,408]{1,0} all-gather(f64[2,102]{1,0} %x), dimensions={1}
      ar = (f64[16,8]{1,0}, f64[16]{0}) all-reduce(%a, %b), to_apply=%add
      p = f32[7]{0} collective-permute(%x)
      s = f64[] add(%x, %y)
    """
    assert on_devices.exchanged([program]) == [816, 128, 16, 7]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lead", [(), (3,)])
def test_numbers_drawn_apart_are_those_drawn_together(dtype, lead):
    shapes = {"scalar": (), "rows": (3, 50), "few": (7,), "none": (0,), "row": (50,)}
    with jax.enable_x64(dtype == np.float64):
        together, apart = (
            draw_uniforms(jax.random.key(1), shapes, lead, dtype, divided=divided)
            for divided in (False, True)
        )
    for name, shape in shapes.items():
        assert apart[name].shape == (*lead, *shape)
        assert apart[name].dtype == dtype
        np.testing.assert_array_equal(apart[name], together[name])


@pytest.mark.parametrize(
    ("devices", "error", "words"),
    [
        ("gpu", ValueError, "devices must be 'all', a number or a sequence"),
        (0, ValueError, "devices must be at least 1, found 0"),
        (2, ValueError, "devices must be at most 1, which is all there are, found 2"),
        (1.5, TypeError, "devices must be an integer"),
        (True, TypeError, "devices must be an integer"),
        ([], ValueError, "devices must be at least one"),
        (["cpu"], TypeError, "devices must hold JAX devices, found 'cpu'"),
    ],
)
def test_devices_that_cannot_be_used_get_one_clear_error(devices, error, words):
    with pytest.raises(error, match=words):
        fit_em(np.random.default_rng(0).normal(size=(30, 3)), 2, devices=devices)


def test_a_device_twice_gets_one_clear_error():
    with pytest.raises(ValueError, match="all different"):
        _devices.mesh_over(jax.devices()[:1] * 2)


@pytest.mark.parametrize(
    ("engine", "parameters"),
    [("fit_em", {}), ("fit_em_minibatch", {"batch_size": 10}), ("fit_map", {"method": "map"})],
)
def test_the_estimator_names_its_devices(engine, parameters, monkeypatch):
    class Called(Exception):
        pass

    def called(*_, devices, **__):
        raise Called(devices)

    monkeypatch.setattr(f"padl_bayes.estimator.{engine}", called)
    with pytest.raises(Called, match="7"):
        pb.PADL(4, devices=7, **parameters).fit(np.eye(4))
