"""A Newton step of sparse coding: the minimum over codes whose signs, zeros and clipped entries stay as they are.

On that face of the problem the objective is quadratic in the free codes and the levels of the rows. What a sweep
leaves certifies codes only to the square root of how good they are; the residual of this minimum is, near the solution,
as good a dual point as the codes are. Steps from face to face, each where the prox of the last one points, end after a
few at the solution itself once few entries are on a wrong face (semismooth Newton, or primal-dual active sets:
Hintermueller, Ito & Kunisch, SIAM J. Optim. 2002; Li, Sun & Toh, SIAM J. Optim. 2018).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .reference import shrink
from .row_sweep import matmul

MOST_STEPS = 30
TOLERANCE = 1e-3


class Face(NamedTuple):
    """Where codes are; all (W, N)."""

    sign: jax.Array
    free: jax.Array
    """Neither zero nor at the row's level."""
    clipped: jax.Array


def face_of(codes, alpha2):
    """The face of the problem that codes are on."""
    size = jnp.abs(codes)
    used = size > 0
    clipped = used & (size == jnp.max(size, axis=1, keepdims=True)) & (alpha2 > 0)
    return Face(jnp.sign(codes), used & ~clipped, clipped)


class _Point(NamedTuple):
    """Free codes (W, N) and levels (W,)."""

    codes: jax.Array
    levels: jax.Array


def _dot(a, b):
    return jnp.sum(a.codes * b.codes) + jnp.sum(a.levels * b.levels)


def _add(a, scale, b):
    return jax.tree.map(lambda x, y: x + scale * y, a, b)


def newton_step(rows, correlations, codes):
    """Change of the codes to the minimum over their face, by conjugate gradients.

    Parameters
    ----------
    rows : Rows
    correlations : Array, shape (W, N)
        Of the atoms with the residual.
    codes : Array, shape (W, N)

    Returns
    -------
    Array, shape (W, N)
        Nothing keeps signs as they were or free codes below their level.
    """
    face = face_of(codes, rows.alpha2)
    signed = face.sign * face.clipped
    count = jnp.sum(face.clipped, axis=1)
    gram = matmul(rows.atoms, rows.atoms.T)

    def restrict(values):
        return _Point(jnp.where(face.free, values, 0), jnp.sum(signed * values, axis=1))

    def expand(point):
        return point.codes + signed * point.levels[:, None]

    def precondition(point):
        return point._replace(levels=point.levels / jnp.maximum(count, 1))

    def step(state):
        x, r, p, rz, n = state
        image = restrict(matmul(gram, expand(p)))
        size = _dot(p, image)
        length = jnp.where(size > 0, rz / size, 0)
        x, r = _add(x, length, p), _add(r, -length, image)
        z = precondition(r)
        new = _dot(r, z)
        return x, r, _add(z, new / jnp.where(rz > 0, rz, 1), p), new, n + 1

    downhill = restrict(correlations - rows.alpha1 * face.sign)
    downhill = downhill._replace(levels=downhill.levels - jnp.where(count > 0, rows.alpha2, 0))
    start = precondition(downhill)
    first = _dot(downhill, start)
    state = jax.tree.map(jnp.zeros_like, downhill), downhill, start, first, 0
    state = lax.while_loop(lambda s: (s[3] > TOLERANCE**2 * first) & (s[4] < MOST_STEPS), step, state)
    return expand(state[0])


def next_face(rows, codes, change, correlations, *, nonnegative):
    """Where the prox of each entry by itself takes codes after a Newton step: to the face that they belong on.

    Parameters
    ----------
    rows : Rows
    codes, change : Array, shape (W, N)
        Before the step, and the step.
    correlations : Array, shape (W, N)
        Of the atoms with the residual after the step: past ``alpha1`` at a zero, its code enters; short of it at a
        clipped one, its code comes free.
    nonnegative : bool

    Returns
    -------
    Array, shape (W, N)
        The codes after the step where their face is the right one.
    """
    moved = codes + change
    clipped = face_of(codes, rows.alpha2).clipped
    level = jnp.max(jnp.where(clipped, jnp.abs(moved), 0), axis=1, keepdims=True)
    target = moved + correlations
    size = shrink(target, rows.alpha1, nonnegative=nonnegative)
    size = jnp.where(rows.alpha2 > 0, jnp.minimum(size, level), size)
    return jnp.where(target < 0, -size, size)


def crossed(codes, moved, alpha2):
    """How many entries changed faces between two sets of codes, and how many the first has in use."""
    before, after = face_of(codes, alpha2), face_of(moved, alpha2)
    used = before.free | before.clipped
    same = (used == (after.free | after.clipped)) & (before.clipped == after.clipped) & (codes * moved >= 0)
    return jnp.sum(~same), jnp.sum(used)
