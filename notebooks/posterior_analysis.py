# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What a posterior over dictionaries tells
#
# A fit gives one dictionary. The posterior gives all those that the data allow. This notebook goes through one, of
# handwritten digits: did the chains agree, how many atoms are there, how well are their pictures known, how well the
# codes of a digit and its reconstruction, and does the model produce data like those it was given?

# %%
import os

import matplotlib
import numpy as np

import padl_bayes as pb
from padl_bayes import plots
from padl_bayes.arviz_io import load_arviz

# %matplotlib inline
matplotlib.rcParams["figure.dpi"] = 70
az = load_arviz()  # import arviz, without the notice of its 0.2x generation
QUICK = os.environ.get("PADL_NOTEBOOK_QUICK") == "1"  # toy sizes, for the tests
N, K = (60, 8) if QUICK else (400, 60)
SWEEPS, CHAINS = (20, 2) if QUICK else (400, 4)

# %% [markdown]
# ## From data to draws
#
# 400 of scikit-learn's 8 x 8 digits, at most 60 atoms. Their grey levels are whole numbers from 0 to 16, which a
# continuous model could take as exact: nearly as many atoms as pixels and no noise at all. So each entry gets uniform
# noise of one grey level, the rounding that it came from; its standard deviation is 0.29.
#
# The fit sets the order of the atoms. The chains start at random, each with a number of active atoms of its own, so
# that they can disagree.

# %%
digits = pb.datasets.digits(dtype=np.float32)
rng = np.random.default_rng(0)
X = digits.X[rng.permutation(len(digits.X))[:N]]
X = (X + rng.uniform(-0.5, 0.5, X.shape)).astype(np.float32)
est = pb.PADL(K).fit(X)
data = est.sample_posterior(
    num_warmup=SWEEPS, num_samples=SWEEPS, num_chains=CHAINS, keep_codes="draws", random_state=1
)
posterior = data["posterior"]
print(f"EM: {est.n_active_} atoms, noise {est.noise_scale_:.2f} grey levels of 16")
noise = posterior["noise_scale"].values.mean()
print(f"Gibbs: {CHAINS} chains of {SWEEPS} draws after {SWEEPS} of warm-up, noise {noise:.2f}")

# %% [markdown]
# ## Did the chains agree?
#
# R-hat compares the spread between chains with that within: 1.00 is agreement, above 1.05 something has not mixed. ESS
# is the number of independent draws that the chains are worth. A number that never changes has neither.

# %%
names = ["num_active", "noise_scale", "activation_rate"]
az.summary(data, var_names=[n for n in names if np.ptp(posterior[n].values) > 0], kind="diagnostics")

# %%
plots.trace(posterior["num_active"].values, ylabel="active atoms", xlabel="draw", robust=False).figure

# %% [markdown]
# Of a dictionary only aligned draws can be compared, and of a reconstruction any draws: it does not change when atoms
# change places. Here are both, an R-hat for each of the 64 pixels of ten atoms that are active in nearly all draws, and
# for each pixel of ten reconstructions.

# %%
codes, dictionary = posterior["codes"].values, posterior["dictionary"].values
rebuilt = np.einsum("cdnk,cdkp->cdnp", codes[:, :, :10], dictionary)
probability = posterior["activation_prob"].values.mean(axis=(0, 1))
sure = np.flatnonzero(probability > 0.95)


def r_hats(values):
    """R-hat of each entry behind (chain, draw)."""
    flat = values.reshape(*values.shape[:2], -1)
    return np.array(
        [float(az.rhat(flat[:, :, i])) for i in range(flat.shape[2]) if np.ptp(flat[:, :, i]) > 0]
    )


for name, values in {"atoms": dictionary[:, :, sure[:10]], "reconstructions": rebuilt}.items():
    found = r_hats(values)
    shares = np.quantile(found, [0.5, 0.9, 1.0]) if found.size else [np.nan] * 3
    print(f"R-hat of {name}: median {shares[0]:.2f}, 90% below {shares[1]:.2f}, largest {shares[2]:.2f}")

# %% [markdown]
# ## How many atoms?

# %%
print(f"{np.sum(X.std(axis=0) > 0.35)} of {X.shape[1]} pixels carry ink")
counts, times = np.unique(posterior["num_active"].values, return_counts=True)
for count, share in zip(counts, times / times.sum(), strict=True):
    print(f"{count:3d} atoms: {share:6.1%} {'#' * round(60 * share)}")

# %%
plots.activation_probability(draws=posterior["activation_prob"].values, title="P(active), by atom").figure

# %% [markdown]
# ## How well are the pictures known?
#
# The mean of each atom over the draws in which it is active, and below each the median absolute cosine between those
# draws and the mean: 1 is a picture that is the same in all draws.

# %%
active = posterior["active"].values == 1
total = np.einsum("cdk,cdkp->kp", active, dictionary)
seen = np.flatnonzero(active.mean(axis=(0, 1)) > 0.05)
mean = total[seen] / np.linalg.norm(total[seen], axis=1, keepdims=True)
cosine = np.einsum("cdkp,kp->cdk", dictionary[:, :, seen], mean)
steadiness = np.array([np.median(np.abs(cosine[:, :, i][active[:, :, k]])) for i, k in enumerate(seen)])
print(f"{np.sum(steadiness > 0.95)} of {len(seen)} atoms have a median cosine above 0.95")
plots.gallery(
    mean, image_shape=(8, 8), labels=steadiness, label_name="median cosine with the mean", title="Mean atoms"
)

# %% [markdown]
# ## How well are the codes of one digit known?
#
# The posterior of a code is a probability that the atom is used at all, and a distribution of its size.

# %%
moments = data["codes_moments"]
plots.code_intervals(
    moments["mean"].values[0],
    sd=moments["sd"].values[0],
    probability=moments["p_used"].values[0],
    title="Codes of the first digit",
).figure

# %% [markdown]
# ## And its reconstruction?

# %%
plots.reconstruction_gallery(X[:10], rebuilt.mean(axis=(0, 1)), rebuilt.std(axis=(0, 1)), (8, 8))

# %%
p_used, size, spread = (moments[name].values for name in ("p_used", "mean", "sd"))
undecided = (p_used > 0.1) & (p_used < 0.9)
print(f"a digit uses {p_used.sum(axis=1).mean():.1f} atoms on average")
print(
    f"of {p_used.shape[1]} atoms, {undecided.sum(axis=1).mean():.1f} have P(used) between 0.1 and 0.9 for a digit"
)
relative = np.median((spread / np.abs(size))[p_used > 0.5])
print(f"sd of a code that is used, over its size: median {relative:.2f}")
print(f"sd of a pixel of a reconstruction: {rebuilt.std(axis=(0, 1)).mean():.2f} grey levels on average")

# %% [markdown]
# ## Does the model produce such data?
#
# Two kinds of replicates. With the codes that the digits have in each draw: are reconstruction and noise right? And
# with fresh codes from the prior: are new samples digits?

# %%
samples = {name: posterior[name].values for name in posterior.data_vars}
again = pb.inference.posterior_predictive(samples, thinning=max(1, SWEEPS // 10))
fresh = pb.inference.posterior_predictive(samples, n_samples=N, thinning=max(1, SWEEPS // 10))


def check(name, statistic):
    """Print a statistic of the data beside the central 95% of it in replicates."""
    line = f"{name:34s} data {statistic(X):7.2f}"
    for label, replicated in (("own codes", again), ("fresh codes", fresh)):
        values = [statistic(x) for x in replicated.reshape(-1, *X.shape)]
        low, high = np.quantile(values, [0.025, 0.975])
        line += f"   {label} {low:7.2f} to {high:7.2f}"
    print(line)


check("standard deviation of an entry", lambda x: x.std())
check("mean ink of a digit", lambda x: x.sum(axis=1).mean())
check("sd of the ink over digits", lambda x: x.sum(axis=1).std())
check("share of entries below -1", lambda x: np.mean(x < -1))
check("share of entries within 0.5 of 0", lambda x: np.mean(np.abs(x) < 0.5))

# %%
strips = np.concatenate([X[:8], again[0, 0, :8], fresh[0, 0, :8]])
title = "Digits; replicates with their own codes; with fresh codes"
plots.gallery(strips, image_shape=(8, 8), columns=8, title=title)

# %% [markdown]
# ## What to conclude
#
# - **Look at R-hat first, and at what it is of.** Most reconstructions agree between chains (median 1.01, 90% below
#   1.18), the noise does not (1.67: run longer before quoting it), the atoms not at all (median 1.8). Each chain has
#   found a dictionary of its own for nearly the same reconstructions.
# - **The count is no finding.** Every draw holds all 60 atoms that are allowed, where the fit stopped at 40: with so
#   many, about as many as there are pixels with ink, the model explains the digits down to the noise that we put in
#   ourselves (0.30; the fit left 1.35). Where the bound binds, raise it or say so.
# - **Every label is active, hardly any picture is known.** One of the 60 labels has the same picture (cosine above
#   0.95) in the median draw. The notebook `activation_probabilities` goes on from here.
# - **Trust reconstructions, not single codes.** A pixel of a reconstruction is known to a quarter of a grey level. The
#   code of a label, which stands for different pictures in different chains, is not: nearly half of the labels have
#   P(used) between 0.1 and 0.9 for a digit.
# - **It is no generator of digits.** Replicates with the digits' own codes have the right size, ink and spread; what
#   they miss is the shape of the noise, uniform here and normal in the model. Fresh samples fail: independent codes of
#   either sign give no ink on average, where digits have 313 grey levels, and entries that spread too far.
