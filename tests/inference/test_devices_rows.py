"""MAP, sparse coding and Gibbs, whose rows of codes go over all samples, on several devices and in processes."""

import pytest

from tests.inference import on_devices

# Places for atoms squared; chains, places and features. Far below the samples of one of eight devices.
ALLOWED = {name: 256 for name in ("sparse", "lasso", "sparse_float32", "maximum", "fixed_map")}
ALLOWED |= {name: 100 for name in ("gibbs", "gibbs_masked", "gibbs_enveloped")}


def slow(*settings):
    return pytest.param(*settings, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "devices", "processes"),
    [
        ("sparse", 4, 1),
        slow("sparse", 2, 2),
        slow("lasso", 8, 1),
        slow("sparse_float32", 8, 1),
        slow("maximum", 8, 1),
        slow("maximum", 2, 2),
        slow("fixed_map", 8, 1),
        slow("gibbs", 8, 1),
        slow("gibbs", 1, 2),
        slow("gibbs_masked", 4, 1),
        slow("gibbs_enveloped", 8, 1),
    ],
)
def test_devices_change_nothing_but_rounding_and_exchange_what_is_sized_by_atoms(
    name, devices, processes, tmp_path, figure
):
    on_devices.check(figure, tmp_path, name, devices, processes, ALLOWED[name])
