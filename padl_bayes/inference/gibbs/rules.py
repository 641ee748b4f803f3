"""What a slab must say for the sampler to work with it."""

from collections.abc import Callable
from typing import NamedTuple


class Rules(NamedTuple):
    """Conditionals of one atom under a slab.

    ``atom`` is a mapping of what belongs to the atom, its direction ``dictionary`` (P,) included; ``shared`` one of
    what all atoms share. ``linear`` (N,) is tau times the correlation of the atom with the residual without it;
    ``uniforms`` are uniform random numbers: for a flip as many as ``n_flip`` says, for codes a mapping that has arrays
    with the names and shapes in ``for_codes``.

    Attributes
    ----------
    flip : callable
        ``(uniforms, linear, tau, atom, active, shared) -> (atom, log_weight, log_odds)``, the atom's codes integrated
        out: what belongs to the atom if it is to be active (as it is where ``active``; what must be proposed anew
        where not); the log evidence of the data with that atom relative to without it, divided by the density of the
        proposal; and the log evidence with the proposed integrated out.
    draw_codes : callable
        ``(uniforms, linear, tau, atom, shared) -> (codes, atom)``: codes (N,) of an active atom.
    draw_atom : callable
        ``(key, codes, active, atom, shared) -> atom``: everything but the direction given the codes, or, where the
        atom is not active, from its prior; what `draw_shared` draws anew may be left as it is.
    draw_shared : callable
        ``(key, z) -> z``: update of what the slabs of all atoms share, given all codes; ends a sweep.
    names : tuple of str
        Names of what belongs to an atom, but for its direction.
    n_flip : int
    for_codes : dict of str to tuple
    """

    flip: Callable
    draw_codes: Callable
    draw_atom: Callable
    draw_shared: Callable
    names: tuple[str, ...]
    n_flip: int
    for_codes: dict
