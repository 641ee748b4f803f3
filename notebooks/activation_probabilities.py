# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Is this atom real?
#
# A dictionary comes with two statements about each of its atoms: what it looks like, and how probable it is that the
# data need it, P(active). This notebook asks what the second one is worth, on handwritten digits, where nobody knows
# the truth. What can be known is whether an atom comes back: in a fit that starts elsewhere, and in a fit of other
# digits.

# %%
import os

import matplotlib
import numpy as np
from scipy.special import expit

import padl_bayes as pb
from padl_bayes import plots

# %matplotlib inline
matplotlib.rcParams["figure.dpi"] = 70
QUICK = os.environ.get("PADL_NOTEBOOK_QUICK") == "1"  # toy sizes, for the tests
N, K = (60, 8) if QUICK else (400, 60)
SWEEPS, CHAINS = (20, 2) if QUICK else (400, 4)
FITS = 2 if QUICK else 4

# %% [markdown]
# ## The data: four times 400 digits
#
# Four disjoint parts of scikit-learn's 8 x 8 digits. Grey levels are whole numbers, so each entry gets uniform noise of
# one grey level, the rounding that it came from. All fits are allowed 60 atoms.

# %%
digits = pb.datasets.digits(dtype=np.float32)
rng = np.random.default_rng(0)
X = (digits.X + rng.uniform(-0.5, 0.5, digits.X.shape)).astype(np.float32)
parts = np.array_split(X[rng.permutation(len(X))[: FITS * N]], FITS)
[part.shape for part in parts]

# %% [markdown]
# ## What variational EM says
#
# Each atom has log odds of being needed at all: the evidence with the atom less the evidence without it, plus the prior
# log odds.

# %%
fits = [pb.PADL(K, random_state=seed).fit(parts[0]) for seed in range(FITS)]
first = fits[0]
print("atoms kept, by seed:", [fit.n_active_ for fit in fits])
print("smallest log odds, by seed:", [round(float(fit.activation_log_odds_.min()), 1) for fit in fits])

# %%
plots.activation_log_odds(first.activation_log_odds_, title="EM, seed 0").figure

# %% [markdown]
# Turned into probabilities these are all next to 1. It is tempting to read them as a promise that another fit finds
# every one of these atoms again. Does it?
#
# ## Do the atoms come back?
#
# `pb.reappearance` pairs the atoms of two fits one to one and counts the fits in which an atom has a partner with an
# absolute cosine above a threshold: 0.95 is the same picture, 0.8 the same idea.

# %%
elsewhere = [pb.PADL(K, random_state=0).fit(part) for part in parts[1:]]
others = {"other seeds, same digits": fits[1:], "same seed, other digits": elsewhere}
for name, group in others.items():
    for threshold in (0.95, 0.8):
        share = pb.reappearance(first, group, threshold=threshold)
        print(f"{name}, cosine > {threshold}: an atom is in {share.mean():.0%} of the fits")

# %%
back = pb.reappearance(first, elsewhere, threshold=0.8)
plots.gallery(
    first.components_,
    image_shape=(8, 8),
    labels=back,
    label_name="share of fits of other digits that hold it (cosine > 0.8)",
    title="EM, seed 0",
)

# %% [markdown]
# ## What the posterior says
#
# Gibbs sampling from scattered starts gives more than one number an atom. P(active) of a label is its activation
# probability, averaged over draws. It says that there is an atom, not that its picture is known: a label may be active
# in every draw and look different in each. `pb.posterior_atoms` also counts the draws that hold an active atom with the
# label's mean picture: P(present).

# %%
draws = pb.inference.sample_gibbs(
    parts[0], K, num_warmup=SWEEPS, num_samples=SWEEPS, num_chains=CHAINS, random_state=0
)
print("active atoms, mean of each chain:", draws.samples["num_active"].mean(axis=1).round(1))
atoms = {threshold: pb.posterior_atoms(draws.samples, threshold=threshold) for threshold in (0.95, 0.8)}
probability = atoms[0.8].probability
for threshold, found in atoms.items():
    print(
        f"cosine > {threshold}: {np.sum(probability > 0.95)} labels have P(active) > 0.95, "
        f"{np.sum(found.presence > 0.95)} have P(present) > 0.95"
    )

# %%
by_label = np.argsort(-atoms[0.8].presence)
plots.gallery(
    atoms[0.8].dictionary[by_label],
    image_shape=(8, 8),
    labels=atoms[0.8].presence[by_label],
    label_name="P(present), cosine > 0.8",
    title="Gibbs: mean pictures of the labels",
)

# %% [markdown]
# ## Which of the three numbers predicts that an atom comes back?
#
# The reliability diagram sets the probability of an atom against the share of fits of other digits that hold it. A
# number that can be taken at its word lies on the diagonal. All of them are judged by the same fits, those of EM to the
# other parts.

# %%
forecasts = {
    "EM, P(active)": (first.components_, expit(first.activation_log_odds_)),
    "Gibbs, P(active)": (atoms[0.8].dictionary, atoms[0.8].probability),
    "Gibbs, P(present)": (atoms[0.8].dictionary, atoms[0.8].presence),
}
found = {
    name: pb.reliability(p, pb.reappearance(dictionary, elsewhere, threshold=0.8), bins=5)
    for name, (dictionary, p) in forecasts.items()
}
for name, score in found.items():
    print(
        f"{name:18s} calibration error {score.ece:.2f} (chance alone {score.ece_calibrated:.2f}), "
        f"Brier score {score.brier:.2f}"
    )
plots.reliability(
    found, xlabel="probability", ylabel="share of fits of other digits", title="cosine > 0.8"
).figure

# %% [markdown]
# ## What to conclude
#
# - **Log odds of activation say that an atom is needed, given the others.** They do not say that another fit would
#   find it. Here all 40 atoms of the first fit are sure (log odds of 15 and more), yet another seed keeps 33 to 49, and
#   an atom has the same picture (cosine above 0.95) in 15% of the fits with other seeds and in 6% of those of other
#   digits, a similar one (above 0.8) in 50% and 22%.
# - **Gibbs's P(active) answers the same question as EM's,** so it is as far off as a forecast of what comes back: all
#   60 labels, as many as are allowed, are above 0.95.
# - **P(present) is the number to look at for one atom.** It asks the posterior for the picture too: one label is sure
#   at a cosine above 0.95, seven are above 0.8. Its calibration error is less than a third of the others', and what it
#   gives no chance no fit of other digits held.
# - **It is still too high for other data.** Of the atoms that nearly all draws hold, fits of other digits held about a
#   third: a posterior speaks of these 400 digits, those fits were made by EM, and four chains are few. When it matters
#   whether an atom is there, fit other data and count: `pb.reappearance`.
