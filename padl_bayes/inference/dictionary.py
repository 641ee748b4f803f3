"""Dictionary updates: exact block coordinate descent over unit-norm atoms, one cycle."""

import jax
import jax.numpy as jnp

from .._devices import over_samples


def second_moments(codes, x, mesh=None):
    """``R.T @ R`` (K, K) and ``R.T @ X`` (K, P) of codes (tiles, K, n) and samples (tiles, P, n).

    Tile after tile: to contract both axes at once XLA copies all tiles into one array.
    """

    def run(tiles, _):
        def add(sums, tile):
            codes, x = tile
            return (sums[0] + codes @ codes.T, sums[1] + codes @ x.T), None

        n_atoms, n_features = codes.shape[1], x.shape[1]
        none = jnp.zeros((n_atoms, n_atoms), codes.dtype), jnp.zeros((n_atoms, n_features), codes.dtype)
        sums, _ = jax.lax.scan(add, none, tiles)
        return jax.tree.map(lambda a: a[None], sums)

    gram, cross = over_samples(mesh, run)((codes, x), ())
    return gram.sum(axis=0), cross.sum(axis=0)


def update_dictionary(gram, cross, dictionary):
    """Minimise ``1/2 ||X - R D||^2`` over each row of D on the unit sphere in turn.

    Parameters
    ----------
    gram : array, shape (K, K)
        ``R.T @ R``.
    cross : array, shape (K, P)
        ``R.T @ X``.
    dictionary : array, shape (K, P)

    Returns
    -------
    array, shape (K, P)
        Unit-norm rows; a row without codes is left as it is.
    """

    def update(k, dictionary):
        target = cross[k] - gram[k] @ dictionary + gram[k, k] * dictionary[k]
        norm = jnp.linalg.norm(target)
        unit = target / jnp.where(norm > 0, norm, 1)
        return dictionary.at[k].set(jnp.where(norm > 0, unit, dictionary[k]))

    return jax.lax.fori_loop(0, dictionary.shape[0], update, dictionary)


def minimise_on_sphere(curvature, linear, fallback):
    """Minimiser of ``1/2 sum(curvature d^2) - linear @ d`` over unit vectors d (P,).

    ``d = linear / (curvature + mu)``, with mu the root of a one-dimensional secular equation found by bisection.
    Where the flattest direction has no slope and the others cannot fill the unit norm, the rest of it goes there
    at no cost (the hard case of trust regions), on the side of ``fallback``; ``fallback`` itself comes back where
    ``linear`` vanishes.
    """
    norm = jnp.linalg.norm(linear)
    flattest = jnp.argmin(curvature)
    low = -curvature[flattest]

    def halve(_, bracket):
        low, high = bracket
        middle = 0.5 * (low + high)
        too_long = jnp.sum((linear / (curvature + middle)) ** 2) > 1
        return jnp.where(too_long, middle, low), jnp.where(too_long, high, middle)

    _, mu = jax.lax.fori_loop(0, 60, halve, (low, low + norm))
    shifted = curvature + mu
    solution = linear / jnp.where(shifted > 0, shifted, 1)
    missing = 1 - jnp.sum(solution**2)
    steep = solution[flattest]
    side = jnp.where(jnp.where(steep == 0, fallback[flattest], steep) < 0, -1, 1)
    filled = solution.at[flattest].set(side * jnp.sqrt(steep**2 + jnp.maximum(missing, 0)))
    # a shortfall by rounding is spread over all directions
    solution = jnp.where(missing > jnp.finfo(linear.dtype).eps ** 0.75, filled, solution)
    length = jnp.linalg.norm(solution)
    return jnp.where(norm > 0, solution / jnp.where(length > 0, length, 1), fallback)


def update_dictionary_masked(residual, observed, codes, square, dictionary):
    """The same where entries are missing: curvature differs from feature to feature, so the data are passed over.

    Parameters
    ----------
    residual, observed : array, shape (tiles, P, n)
        Residuals of the posterior means, zero where unobserved, and 1.0 where observed.
    codes, square : array, shape (tiles, K, n)
        E r and E r^2.
    dictionary : array, shape (K, P)

    Returns
    -------
    array, shape (K, P)
    """

    def update(residual, one):
        atom, code, square = one
        curvature = jnp.einsum("tn,tpn->p", square, observed)
        energy = jnp.einsum("tn,tpn->p", code * code, observed)
        linear = jnp.einsum("tn,tpn->p", code, residual) + energy * atom
        new = minimise_on_sphere(curvature, linear, atom)
        residual = residual - observed * (new - atom)[None, :, None] * code[:, None, :]
        return residual, new

    inputs = (dictionary, codes.transpose(1, 0, 2), square.transpose(1, 0, 2))
    return jax.lax.scan(update, residual, inputs)[1]
