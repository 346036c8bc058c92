# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Face masks: an honest study of two ResNet34s
#
# Who wears a mask, who wears it wrongly, who wears none? Two networks of the same architecture answer for every face
# in a set of photographs: one written by hand and trained from random weights, one from torchvision that starts from
# pretrained weights. This notebook does the whole study, from the first look at the files to the question whether
# explanations help to find mistakes:
#
# 1. **Does the pretrained network do better**, and by more than chance explains?
# 2. **Which properties of the data go with errors**, and which of them cause errors?
# 3. **Are explanations needed** to find mistakes, or do the probabilities say as much?
#
# Every cell calls the library `maskbench` and shows what it returns; nothing is computed here. Every number stands in a
# table or a figure that was made a moment ago from your data, so the text never says how something came out. It says
# what was done, why, and **what to look for**.

# %% [markdown]
# ## 1 Setup and data
#
# The next code cell is the only one to edit. `quick` gives a result within minutes on two CPU cores where photographs
# are few; the others take longer and say more.
#
# | `PRESET` | input | epochs | runs of each arm |
# | --- | --- | --- | --- |
# | `smoke` | 32 px | 2 | 1: only to see that everything works |
# | `quick` | 64 px | 14 | 1 |
# | `standard` | 96 px | up to 30 | 3 |
# | `paper` | 112 px | up to 60 | 10, each with its own split |

# %% tags=["parameters"]
import os

PACKAGE = ".."  # what pip installs where maskbench is missing: a checkout of the repository, or "git+" and its address
PRESET = os.environ.get("MASKBENCH_NOTEBOOK_PRESET", "quick")
DATA = None  # None: the best that can be had here; or "sample", "kaggle", a folder with images/ and annotations/
NAME = "face-masks"  # files go to results/NAME and plots/NAME in OUT; a second run goes on where the first stopped
OUT = "."
WEIGHTS = "auto"  # of the pretrained arm: ImageNet's where they can be downloaded, else those in the package
SETTINGS = {"interventions.run": ["shrink", "blur", "darken", "shift_box"]}  # single fields laid over the preset
DETECT = False  # True: section 15 too, detectors on whole photographs; takes several times as long
PHOTOGRAPH = None  # a picture of your own for section 17; None: one of the dataset

# %%
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("maskbench") is None:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", PACKAGE], check=True)

# %%
import inspect
import warnings
from pathlib import Path

import pandas as pd
from IPython.display import Code, FileLink, Image, Markdown, display
from PIL.Image import open as open_picture

import maskbench as mb
from maskbench.models.layers import layer_table, layer_totals
from maskbench.models.resnet34 import BasicBlock

warnings.filterwarnings("ignore", message="IProgress not found")  # bars of libraries, without ipywidgets
pd.options.display.max_rows, pd.options.display.max_columns = 40, 20
pd.options.display.max_colwidth, pd.options.display.float_format = 90, "{:.4g}".format

# %% [markdown]
# `mb.find_dataset` takes the dataset that was added to a Kaggle notebook (below `/kaggle/input`); else the public
# dataset `andrewmvd/face-mask-detection`, 853 photographs, where it can be downloaded; else the **sample**: photographs
# of synthetic people that the package draws itself. On the sample everything works, and its results say nothing about
# people.

# %%
source = mb.find_dataset() if DATA is None else DATA
study = mb.load_dataset(source, name=NAME, preset=PRESET, weights=WEIGHTS, settings=SETTINGS, out=OUT, notify=print)
study

# %% [markdown]
# ## 2 Audit: can the files be trusted?
#
# A model learns from whatever the files say, so errors of files come first: annotations without a photograph, boxes
# outside of it or without area, unknown labels, damaged images, and photographs that stand there twice. Copies are
# found by content hash, near-copies by perceptual hash (64 bits that change little when a picture is scaled or
# compressed again) confirmed by the correlation of thumbnails.
#
# **What to look for.** Findings of severity `error` stop the study. `action` says what is done about the others.
# Near-duplicates matter later: one of a pair in training and one in the test would be a question with a known answer.

# %%
audit = mb.audit(study)
audit.tables["audit"]

# %% [markdown]
# Pairs of equal or nearly equal photographs (no rows: none were found), and the first faces as they were read:

# %%
audit.tables["duplicates"]

# %%
study.faces.head(5)

# %% [markdown]
# ## 3 Description: what is in the data?
#
# A description is read for three things: what makes the task hard, what a model could use as a **shortcut** instead of
# the mask, and how much a number measured on so few faces can mean.

# %%
eda = mb.eda(study)
eda.show("sample_faces")

# %% [markdown]
# ### Photographs: size, shape, quality
#
# **What to look for.** A few sizes that dominate say that the source rescaled its photographs: pixels then say little
# about distance. Suspicious is a format, colour mode or brightness that goes with one class: a model could recognise
# the file instead of the face.

# %%
eda.show("image_sizes", "image_kinds", "image_quality", "image_coverage")

# %% [markdown]
# ### Classes
#
# Let $p_k$ be the share of class $k$ of $K$. The entropy $H=-\sum_k p_k\ln p_k$ is $\ln K$ when all classes are equally
# frequent; $e^{H}$ is the number of equally frequent classes that would be as uncertain. Always answering the
# commonest class is right on $\max_k p_k$ of the faces: any accuracy has to be read against that.
#
# Faces of one photograph resemble one another, so $n$ faces are worth fewer than $n$ independent ones. Intervals
# therefore draw whole **photographs** anew (cluster bootstrap, section 8).
#
# **What to look for.** How many faces has the rarest class? About 15 % of them will be tested: with 18 of them, one
# face moves its recall by more than five points. Do classes stand together in photographs? Then a neighbour's mask
# tells about a face's own.

# %%
eda.tables["class_balance"][["class_name", "faces", "share", "cluster_low", "cluster_high", "photographs"]]

# %%
eda.tables["class_measures"][["measure", "value", "low", "high", "definition"]]

# %%
eda.show("class_balance", "class_cooccurrence", "faces_per_image")

# %% [markdown]
# ### Boxes: size, aspect ratio, place
#
# A **violin** is a density mirrored about its axis; here on a logarithmic scale, since sizes differ by factors. The bar
# inside spans the quartiles, the dot is the median. The aspect ratio is width over height.
#
# **What to look for.** How many faces are smaller than the network's input? They are enlarged and bring no more detail
# with it. Violins of different position mean that size is a cue for the class, and that error rates of classes must be
# compared at equal size. A **heatmap** shows where the faces lie in photographs stretched to a square; a class with a
# place of its own would be a shortcut.
#
# The tests ask whether a quantity has the same distribution in every class (Kruskal and Wallis 1952, on ranks). With
# many faces, tiny differences become significant: read the **effect** ($\varepsilon^2$, Cramér's $V$; 0 none, 1
# complete) with its interval, not the p-value.

# %%
eda.tables["box_summary"][["class_name", "quantity", "unit", "n", "q1", "median", "q3", "minimum", "maximum"]]

# %%
eda.show("box_geometry", "class_by_box_side", "class_by_faces_in_image", "tests", "heatmap_*")

# %% [markdown]
# ## 4 The split
#
# Faces go to three sides: *train* to learn from, *val* for every choice, *test* for the answer, looked at once.
#
# **By photograph.** Faces of one photograph share light, camera, crowd and often people. With some of them in training
# and others in the test, a network can remember the scene; the test then measures memory. Photographs and their
# near-duplicates therefore form groups, the connected components of the pairs, and a group never sits on two sides.
#
# **Stratified.** A random deal of few groups can leave a side without the rarest class. Groups are dealt into folds
# that keep class shares (stratified group k-fold), and of many ways to deal folds to sides the one is taken that comes
# closest to the wanted shares in every class.
#
# **What to look for.** `leakage` must be all zeros. In `proportions`, compare `share` of a class between sides, and how
# many *photographs* the rarest class has in the test: that, not the number of faces, limits what can be known of it.

# %%
split = mb.split(study)
split.tables["proportions"]

# %%
split.tables["leakage"]

# %% [markdown]
# ## 5 Residual learning
#
# **The problem.** More layers can represent more; yet He, Zhang, Ren and Sun (CVPR 2016) saw plain networks of 34
# layers reach a *higher training error* than those of 18. That is not overfitting. A deeper network could copy the
# shallower one and let its additional layers do nothing, but gradient descent does not find that: an identity is hard
# to build from convolutions and ReLUs. They called it the **degradation problem**.
#
# **The idea.** Give the identity for free and let the layers learn what is to be *added* to it:
#
# $$y=\mathrm{ReLU}\bigl(F(x)+x\bigr),\qquad F(x)=\mathrm{BN}\bigl(W_2*\mathrm{ReLU}(\mathrm{BN}(W_1*x))\bigr).$$
#
# "Do nothing" is now $F=0$, which a gain of 0 in the last batch norm gives. Where a stage changes size and channels,
# the shortcut is a projection $W_s*x$ by a 1 × 1 convolution.
#
# **The gradient.** Leave out the ReLU after the sum for a moment (He et al., ECCV 2016): then
# $x_L=x_l+\sum_{i=l}^{L-1}F_i(x_i)$, and for a loss $\mathcal L$
#
# $$\frac{\partial\mathcal L}{\partial x_l}=\frac{\partial\mathcal L}{\partial x_L}
# \Bigl(1+\frac{\partial}{\partial x_l}\sum_{i=l}^{L-1}F_i(x_i)\Bigr).$$
#
# The 1 carries the gradient to every depth undiminished, however small the weights; in a plain network there is only a
# *product* of layers, which vanishes or explodes with depth. With the ReLU it holds where units are active. You can
# watch it in section 7 (gradient flow).
#
# **Batch normalisation** (Ioffe and Szegedy, ICML 2015) normalises each channel over the batch,
# $\hat x=(x-\mu)/\sqrt{\sigma^2+\epsilon}$, then scales and shifts, $\gamma\hat x+\beta$. In use, $\mu$ and $\sigma$
# are the running averages of training, so the answer to a face does not depend on its neighbours in a batch.
#
# **Initialisation** (He et al., ICCV 2015). A ReLU halves the second moment of its input. Weights of variance
# $2/(k^2 C_\text{out})$ make up for it on the way back, so that gradients keep their size through the layers.
#
# **Why 34 layers as 3-4-6-3.** One convolution, four stages of 3, 4, 6 and 3 blocks of two convolutions, one linear
# layer: $1+2\,(3+4+6+3)+1=34$ (projections are not counted). Each stage after the first halves height and width and
# doubles the channels; since the cost of a convolution is $k^2\,C_\text{in}\,C_\text{out}\,H\,W$ multiply-adds, a block
# costs about the same in every stage. Most blocks stand in the third stage; that is a choice of the paper, not a
# theorem.

# %%
Code(inspect.getsource(BasicBlock), language="python")

# %% [markdown]
# The layer table has, for every layer with weights, the size of its output, its parameters and its multiply-adds with
# the formula behind them. **What to look for:** parameters gather in the last stage, while multiply-adds are nearly
# equal from block to block; a projection costs a ninth of a 3 × 3 convolution of the same channels.

# %%
layers = layer_table(mb.build_model("manual", len(study.classes)), study.config.faces.input_size)
layers.loc[
    layers["multiply_adds"] > 0, ["layer", "kernel", "stride", "output_size", "parameters", "formula", "multiply_adds"]
]

# %% [markdown]
# **Two arms, one difference.** `manual-random` is the network above, initialised at random. `torchvision-pretrained` is
# torchvision's own, initialised from weights learned on other images. With equal weights both give equal logits and
# gradients (the package's tests check it), so what separates the arms is the **initialisation**. Their sums must agree:

# %%
theirs = layer_table(mb.build_model("torchvision", len(study.classes)), study.config.faces.input_size)
pd.DataFrame({"manual": layer_totals(layers), "torchvision": layer_totals(theirs)})

# %% [markdown]
# ## 6 The protocol
#
# One protocol for both arms: the same faces in the same order, the same augmentation, the same number of steps.
#
# **Loss.** With $n_k$ training faces of class $k$, weights follow from the effective number of samples (Cui et al.,
# CVPR 2019), scaled to mean 1; $\epsilon$ is label smoothing (Szegedy et al., CVPR 2016):
#
# $$\mathcal L=\frac{\sum_i w_{y_i}\,\ell_i}{\sum_i w_{y_i}},\qquad w_k\propto\frac{1-\beta}{1-\beta^{\,n_k}},\qquad
# \ell_i=-\sum_k q_{ik}\ln p_{ik},\qquad q_{ik}=(1-\epsilon)\,[k=y_i]+\frac{\epsilon}{K}.$$
#
# $\beta=0$ weighs all classes alike, $\beta\to1$ by inverse frequency.
#
# **Optimiser.** AdamW (Loshchilov and Hutter, ICLR 2019):
#
# $$w\leftarrow w-\eta\,\Bigl(\frac{\hat m}{\sqrt{\hat v}+\varepsilon}+\lambda w\Bigr),$$
#
# with running means $\hat m$ of the gradient and $\hat v$ of its square. The decay $\lambda$ acts on the weights
# directly, and not on biases and gains of batch norms. Gradients longer than $c$ are shortened to $c$.
#
# **Schedule.** Linear warm-up, while the running means are still noise, then half a cosine (Loshchilov and Hutter, ICLR
# 2017), with $t$ from 0 to 1 after the warm-up:
# $\eta(t)=\eta_\text{end}+\tfrac12(\eta_\text{max}-\eta_\text{end})(1+\cos\pi t)$.
#
# **Augmentation.** Flip, rotation, zoom, shift, colour, blur, and shrinking to a few pixels and back, which makes small
# faces from large ones.
#
# **Which epoch is kept.** The one with the highest validation macro-F1, as the mean of the last few epochs: with few
# faces of the rarest class, single epochs jump. With `patience` above 0, training stops when it no longer rises. The
# test side is not looked at.

# %%
pd.Series(study.config.train.model_dump(exclude={"augment"}), name="train").map(str).to_frame()

# %%
pd.Series(study.config.train.augment.model_dump(), name="augment").map(str).to_frame()

# %% [markdown]
# ## 7 Training
#
# The next cell runs all that is left of the study: it trains the arms (a line per epoch), measures, compares, explains,
# and draws every figure. It takes its time, and is the last one that does. Each section below asks for one stage; what
# is complete and unchanged is read and not computed again. Stop it if you like: run again, it goes on where it stopped,
# to the same result, bit for bit.

# %%
whole = mb.run(study, task="all" if DETECT else "classify")

# %% [markdown]
# **What healthy curves look like.** Both losses fall, the training loss often from above: it is measured on augmented
# faces while the weights still move. Validation macro-F1 rises and levels off; the kept epoch lies where it is flat.
#
# **What is suspicious.** Validation loss that rises while training loss falls (overfitting). Best epochs at the very
# end (not converged: more epochs would help). Accuracy far above macro-F1 (a rare class is being missed). A validation
# loss below the training loss by much more than augmentation explains (leakage). Epochs count from 0 in tables and from
# 1 in figures.

# %%
training = mb.train(study)
training.tables["manual-random/seed0/epochs"].query("metric in ['loss', 'f1_macro']").pivot_table(
    index="epoch", columns=["split", "metric"], values="value"
)

# %%
training.show("loss", "metrics-val", "class-f1-val")

# %% [markdown]
# **Live statistics.** Of the loss $\ell_t$ of each step: running mean and variance within the epoch (Welford 1962), and
# the moving average $a_t=\alpha a_{t-1}+(1-\alpha)\ell_t$, corrected by $1/(1-\alpha^t)$ for its start at 0. A variance
# that does not fall says that batches differ more than the weights still improve.
#
# **Gradient flow.** The norm of the gradient of every layer, and the update ratio
# $\lVert\Delta w\rVert/\lVert w\rVert$: how far one step moves the weights, relative to their size. Healthy: norms of
# the same order over depth, ratios around $10^{-3}$. Suspicious: norms that fall by orders of magnitude towards the
# input (vanishing), columns that flash (unstable steps), a layer whose ratio is 0 (it does not learn). The shortcut's
# "1" of section 5 is what keeps early layers within the gradient's reach.

# %%
training.show("step-loss", "gradient-depth", "gradient-time", "update-ratio")

# %% [markdown]
# **Were the arms treated alike?** `protocol` compares what was saved of both trainings, the order of faces of every
# epoch included. `equal` must be true, else nothing below compares initialisations.

# %%
training.summary["protocol"]

# %% [markdown]
# ## 8 Evaluation
#
# From the confusion matrix $C$ ($C_{jk}$: faces of class $j$ called $k$), for class $k$ with true positives
# $\mathrm{TP}=C_{kk}$, false positives FP, false negatives FN:
#
# | measure | formula | reads as |
# | --- | --- | --- |
# | accuracy | $\sum_k C_{kk}/N$ | share of faces called rightly; common classes decide it |
# | recall | $\mathrm{TP}/(\mathrm{TP}+\mathrm{FN})$ | of faces of the class, how many are called so |
# | precision | $\mathrm{TP}/(\mathrm{TP}+\mathrm{FP})$ | of faces called so, how many are |
# | F1 | $2\,\mathrm{TP}/(2\,\mathrm{TP}+\mathrm{FP}+\mathrm{FN})$ | harmonic mean of both |
# | balanced accuracy | mean recall over classes | every class counts alike |
# | macro-F1 | mean F1 over classes | likewise; **the figure this study is decided by** |
# | ROC AUC | $P(s^+>s^-)+\tfrac12P(s^+=s^-)$ | probability that a face of the class is ranked above another one |
# | average precision | $\sum_i (R_i-R_{i-1})P_i$ | precision over all recalls; chance is the class's share |
#
# What is undefined (the precision of a class never predicted) is NaN with a `reason`, not 0.
#
# **Intervals.** Draw as many test photographs as there are, with replacement, with all their faces; measure; repeat
# $B$ times; the middle 95 % of the values are the interval (percentile bootstrap, Efron and Tibshirani 1993). It says
# how far the figure would move with other photographs of the same kind. It does not cover another training: that takes
# several runs (section 10).
#
# **What to look for.** Intervals first, values second. Which two classes are confused, and in which direction? An AUC
# far better than F1 says that the ranking is good and the threshold is not. ROC curves flatter rare classes, since many
# false alarms are a small share of many negatives: read them beside precision and recall. **Suspicious** is anything
# near 1 on so few faces.

# %%
evaluation = mb.evaluate(study)
evaluation.tables["intervals"][["arm", "seed", "metric", "class_name", "value", "low", "high", "images", "faces"]]

# %%
evaluation.show("headline-*", "confusion-*", "class-f1-test-*")

# %%
evaluation.show("roc-*", "precision-recall-*")

# %% [markdown]
# ## 9 Calibration
#
# Is a face called with 90 % right nine times of ten? With faces in bins $b$ of confidence, $n_b$ in each,
#
# $$\mathrm{ECE}=\sum_b\frac{n_b}{N}\,\bigl|\mathrm{acc}(b)-\mathrm{conf}(b)\bigr|,\qquad
# \mathrm{Brier}=\frac1N\sum_i\sum_k(p_{ik}-[k=y_i])^2,\qquad\mathrm{NLL}=-\frac1N\sum_i\ln p_{i,y_i}.$$
#
# ECE (Guo et al., ICML 2017) asks for calibration only: the class shares, told for every face, have none of it. It is
# never below 0, so a perfect model shows some by chance on few faces; `…_if_calibrated` says how much. Brier score and
# NLL are proper scores: least, in expectation, for true probabilities.
#
# **Temperature scaling** divides all logits by one number, $p=\mathrm{softmax}(z/T)$, fitted on *validation* faces. It
# changes how sure the model sounds, never what it decides. $T>1$: it was too sure.
#
# **What to look for.** Points below the diagonal are overconfident. A point over few faces says little: look at the
# histogram. Label smoothing and class weights leave a network less sure than it may be, so underconfidence is no
# surprise.

# %%
comparison = mb.compare(study)
comparison.tables["temperatures"][["arm", "seed", "temperature", "low", "high", "nll_raw", "nll_scaled", "reason"]]

# %%
comparison.tables["calibration"].query("metric in ['ece', 'ece_if_calibrated', 'brier', 'nll'] and class_name == ''")[
    ["arm", "calibrated", "metric", "value", "low", "high"]
]

# %%
comparison.show("reliability-*", "calibration-scores-*")

# %% [markdown]
# ## 10 Question 1: does the pretrained network do better?
#
# Both arms answer the same faces, so differences are **paired**: whatever makes a photograph hard is hard for both and
# drops out. Bars of two arms may overlap although their difference is clear.
#
# | method | null hypothesis | statistic |
# | --- | --- | --- |
# | paired bootstrap | – (an interval) | $\Delta^*$ on the same drawn photographs for both arms |
# | permutation | it does not matter which arm answered a photograph | swap the arms' answers on whole photographs at random; $p=\frac{1+\#\{\lvert\Delta^\pi\rvert\ge\lvert\Delta\rvert\}}{1+R}$ (Phipson and Smyth 2010) |
# | McNemar 1947 | of the faces that only one arm gets right, each gets half | $b$, $c$ of them: binomial with ½ on $b+c$ |
# | McNemar by photograph | the same; faces of a photograph may depend on one another | $\frac{I-1}{I}\,\frac{(\sum_i d_i)^2}{\sum_i d_i^2}\sim\chi^2_1$, $d_i$: surplus of an arm on photograph $i$ of $I$ (Obuchowski 1998) |
# | DeLong 1988 | equal AUC | $z=\Delta\mathrm{AUC}/\mathrm{SE}$, SE from each face's share of rightly ranked pairs; also by photograph (Obuchowski 1997) |
#
# **Many tests.** Of 20 tests without any effect one is significant at 5 % on average. Holm's correction (1979) sorts
# the $m$ p-values and takes $\tilde p_{(i)}=\max_{j\le i}\min\bigl(1,(m-j+1)\,p_{(j)}\bigr)$: the chance of *any* false
# alarm among them stays below 5 %.
#
# A difference is called **shown** only where the corrected permutation test and the interval agree. "Not shown" does
# not mean equal: all values in the interval fit the data. With one run of each arm the answer is about these two
# trained models; only several seeds say something about the arms.

# %%
Markdown(comparison.summary["answers"]["comparison"])

# %%
comparison.tables["differences"][
    ["metric", "class_name", "value", "low", "high", "p_value", "p_holm", "verdict", "reason"]
]

# %%
comparison.tables["tests"][["seed", "test", "metric", "class_name", "value", "b", "c", "p_value", "p_holm", "reason"]]

# %%
comparison.show("comparison-*")

# %% [markdown]
# **What to look for.** Does the interval of the macro-F1 difference exclude 0, and is its filled marker on the same
# side for every class? Which test disagrees with its clustered version? Then faces of a photograph err together, and
# the plain test is too sure. With several seeds: do lines between the arms cross?
#
# **Convergence.** Pretrained weights may also get there sooner: epochs to a share of the best value, and how much of
# the gradient arrives at the input.

# %%
comparison.show("convergence-*", "best-epochs*", "gradient-ratio*", "loss-autocorrelation*")

# %% [markdown]
# ## 11 Question 2: which properties of the data drive errors?
#
# Each test face has its properties: size, place, neighbours, sharpness, light, how rare its class is, how far the
# nearest training face lies. Three looks, from weak to strong:
#
# **Error rates** along each property, in bins of equally many faces, with Wilson's interval at the *effective* number
# of faces. Look for a slope that the intervals do not cover; among many panels some high bin is to be expected.
#
# **Odds ratios.** Logistic regression of the error on standardised properties $z_j$:
#
# $$\ln\frac{P(\text{error})}{1-P(\text{error})}=\beta_0+\sum_j\beta_jz_j,\qquad\mathrm{OR}_j=e^{\beta_j}.$$
#
# $\mathrm{OR}_j=2$: one standard deviation more doubles the odds of an error, all other properties equal. Standard
# errors take faces of a photograph as dependent (GEE, Liang and Zeger 1986). Where properties go together (VIF above 5
# to 10), their odds ratios cannot be told apart.
#
# **A model without straight lines.** A random forest predicts errors of photographs it has not seen. First its AUC:
# where its interval contains 0.5, nothing below it means anything. Then permutation importance (Breiman 2001): how far
# the AUC falls when one property is shuffled among the faces.

# %%
factors = mb.factors(study)
Markdown("\n\n".join(factors.summary["answers"].values()))

# %%
factors.tables["ranking"].query("rank <= 5")[
    ["arm", "property", "rank", "supported", "effect", "log_odds", "importance", "direction", "reason"]
]

# %%
factors.show("error-*", "property-correlations*")

# %% [markdown]
# ### Interventions: from company to cause
#
# A small face is often also blurred, dark and far from the camera; observation cannot say which of it makes the error.
# So change *one* thing on the same faces and ask again: shrink them, blur them, darken them, move their boxes.
# Everything else stays, so a drop of macro-F1 has one cause. It is an answer about faces changed in this way: blur that
# a program adds need not be the blur of a moving camera.
#
# **What to look for.** Curves that fall early. Is what ranks first here also first above? An association without an
# effect of the intervention is a mere companion.

# %%
interventions = mb.intervene(study)
interventions.tables["ranking"][
    ["arm", "rank", "intervention", "level", "unit", "drop", "low", "high", "changed", "reason"]
]

# %%
interventions.show("interventions-*")

# %% [markdown]
# ## 12 Question 3: are explanations needed?
#
# **Grad-CAM** (Selvaraju et al., ICCV 2017) asks which places of a layer's maps $A^k$ speak for a class with logit
# $s_c$:
#
# $$\alpha_k=\frac1Z\sum_{ij}\frac{\partial s_c}{\partial A^k_{ij}},\qquad
# L=\mathrm{ReLU}\Bigl(\sum_k\alpha_kA^k\Bigr).$$
#
# The other methods weigh the same maps otherwise (Grad-CAM++, LayerCAM, HiResCAM, EigenCAM), integrate gradients along
# a path from grey to the face (Sundararajan et al., ICML 2017), or cover parts of the face and watch the answer
# (occlusion, Zeiler and Fergus 2014).
#
# **A map that looks right is no evidence**: a blob in the middle of a cut-out face always looks right. So maps are
# measured, always against two that know nothing of the model, a random map and a blob in the middle:
#
# - *Deletion and insertion* (Petsiuk et al., BMVC 2018): take pixels away in the order of the map, and the probability
#   should fall fast (small area); give them back, and it should rise fast (large area).
# - *Randomisation* (Adebayo et al., NeurIPS 2018): draw all weights anew. A map that stays the same shows the face, not
#   what the model learned.
# - *Pointing game and energy*: does the map lie on the lower half of the face, or on the mask where its outline is
#   known?
# - *Stability*: shift or mirror the face; does the map move with it?

# %%
explanations = mb.explain(study)
Markdown("\n\n".join(explanations.summary["answers"]["faithfulness"]))

# %%
explanations.tables["faithfulness_summary"].query(
    "measure in ['deletion', 'insertion', 'similarity_random']"
).pivot_table(index="label", columns=["arm", "measure"], values="value", sort=False)

# %%
explanations.show("explained-faces*", "faithfulness*", "deletion-insertion*")

# %% [markdown]
# **Do they find mistakes?** The use of a map is to see when not to believe a model. So features of maps (where the
# evidence lies, how scattered it is, whether methods agree) predict whether a face is misclassified, on photographs
# that the predicting model has not seen. The measure is the AUROC: the probability that a wrong face gets a higher
# score than a right one. The comparison that counts is **probabilities alone against probabilities and maps**; maps
# alone may be good merely because they repeat what the probabilities say.
#
# **What to look for.** In the first figure, intervals of the gain right of 0. Left of it or across: maps add nothing
# that was shown. How many mistakes does it rest on?

# %%
question3 = explanations.summary["answers"]["question3"]
Markdown("\n\n".join([question3["answer"], *question3["evidence"], question3["would_change"]]))

# %%
explanations.tables["mistake_gain"].query("metric == 'auc' and features == 'both'")[
    ["arm", "model", "baseline", "gain", "low", "high", "shown", "mistakes", "faces", "reason"]
]

# %%
explanations.show("mistake-*")

# %% [markdown]
# ## 13 Errors: the faces themselves
#
# Numbers say how often, faces say what. The galleries show the hardest faces (highest loss), the most confident
# mistakes, each mistake beside what lies nearest to it in the features, which classes are taken for which, and labels
# that a weak classifier doubts, which has not seen their photographs (confident learning, Northcutt et al. 2021).
#
# **What to look for.** Is the label wrong, the face unreadable, or the model? Would you have known? Do the neighbours
# of a mistake in the training set share something other than the mask: a pose, a colour? A doubted label is a reason to
# look, not to change it. **Suspicious**: many hard faces from one photograph.

# %%
explanations.tables["confusion_pairs"][["arm", "label", "predicted", "mistakes", "share_of_class", "mean_prob"]]

# %%
explanations.show("hard-*", "confident-*", "confusions-*")

# %%
explanations.show("mistakes-beside-neighbours-*", "prototypes-*", "suspected-labels*")

# %%
explanations.tables["label_issues"].head(10)[["file", "label", "suggested", "quality", "prob_suggested", "split"]]

# %% [markdown]
# ## 14 Representations: what do the layers see?
#
# **PCA** turns the features that the head reads so that the first axes hold most of the variance. It is linear:
# distances mean what they say, as far as two axes show them. **t-SNE** (van der Maaten and Hinton 2008) keeps
# neighbours together and nothing else: sizes of groups and distances between them mean nothing, other seeds and
# perplexities give other pictures, and groups can appear in noise.
#
# **CKA** (Kornblith et al., ICML 2019) compares what two networks see in the same faces. With centred kernels
# $K=XX^\top$ and $L=YY^\top$ of their features,
#
# $$\mathrm{CKA}=\frac{\mathrm{HSIC}(K,L)}{\sqrt{\mathrm{HSIC}(K,K)\,\mathrm{HSIC}(L,L)}},$$
#
# 1 for the same up to rotation and scale, about 0 for unrelated; here with the unbiased estimate of HSIC (Song et al.
# 2012), since the plain one grows with the number of features.
#
# **Probes** fit a simple classifier on each depth's features. Where the curve stops rising, deeper layers add nothing
# that can be read off.
#
# **What to look for.** Do mistakes lie between the classes or inside another one? Are the arms alike in early layers
# and apart in late ones? Filters of the first layer that look like noise have hardly moved from where they started.

# %%
Markdown("\n\n".join(explanations.summary["answers"]["representations"]))

# %%
explanations.show("embedding-*", "explained-variance*", "cka*", "probes*", "depths*")

# %%
explanations.show("first-filters*", "feature-maps-1*")

# %% [markdown]
# ## 15 Whole photographs (optional: `DETECT = True`)
#
# So far boxes were given. A detector finds faces itself. Here each arm's ResNet34 carries a **feature pyramid** (FPN,
# Lin et al., CVPR 2017): late, coarse, meaningful maps are enlarged and added to early, fine ones, at strides 4 to 64
# px. **FCOS** (Tian et al., ICCV 2019) lets every place of every map say: which class (focal loss, since nearly all
# places are background), the distances $l,t,r,b$ to the box's sides, and how central it is,
# $\sqrt{\frac{\min(l,r)}{\max(l,r)}\cdot\frac{\min(t,b)}{\max(t,b)}}$, by which off-centre boxes lose score.
#
# A box finds a face if their **intersection over union** is large enough,
# $\mathrm{IoU}=\lvert A\cap B\rvert/\lvert A\cup B\rvert$. Sorting boxes by score gives precision and recall as the
# score falls; **AP** is the area below, in COCO's way at 101 recalls, averaged over IoU 0.50, 0.55, …, 0.95 and
# classes; AP50 is that at 0.50. For small faces, one pixel more or less moves the IoU far.
#
# **What to look for.** AP far below AP50: faces are found, boxes are inexact. What is lost to *finding*, what to
# *naming*? Which kind of error costs most AP (TIDE, Bolya et al., ECCV 2020)? A frequent kind need not be a costly one.

# %%
if DETECT:
    mb.detect_train(study).show("detector-training")

# %%
if DETECT:
    detection = mb.detect_evaluate(study)
    display(
        detection.tables["detection_metrics"].query(
            "band == 'all' and metric in ['ap', 'ap50'] and class_name in ['', 'any face']"
        )[["arm", "pipeline", "metric", "class_name", "value", "low", "high", "faces"]]
    )
    detection.show("detection-*", "badly-placed-*")

# %%
if DETECT:
    losses = mb.detect_factors(study)
    display(losses.tables["losses"][["arm", "pipeline", "outcome", "count", "share", "low", "high"]])
    losses.show("detection-losses*", "missed-error-rates*")

# %% [markdown]
# ## 16 The report
#
# Everything above and more, in one file that opens without network: every figure with its caption, the tables,
# versions, commands. It shows faces of the dataset: do not publish it if the photographs may not be.

# %%
FileLink(mb.report(study).report)

# %% [markdown]
# ## 17 A photograph of your own
#
# `explain` takes any picture and any checkpoint: both arms stand beneath each other. Without boxes the whole picture is
# taken for one face, so cut it close. A picture of the dataset, which is shown if you gave none, may be one that the
# arms have learned from: it is an example, not a test.

# %%
picture = PHOTOGRAPH or study.root / study.images.query("faces > 0").sort_values("faces")["file"].iloc[0]
answer = mb.explain(
    study.results,
    images=[picture],
    method=["grad_cam", "integrated_gradients"],
    annotations=None if PHOTOGRAPH else study.root / "annotations",
    out=Path(OUT) / "explained",
)
display(*(Image(Path(OUT) / "explained" / name) for name in answer["overlay"].unique()[:3]))
answer[["face", "arm", "predicted", "prob_predicted"]]

# %% [markdown]
# With detectors, `Predictor` finds the faces itself:

# %%
study.checkpoints()

# %%
if DETECT:
    predictor = mb.Predictor(study.checkpoints().query("task == 'detect'")["path"].iloc[-1])
    display(predictor(picture).plot(open_picture(picture)))

# %% [markdown]
# ## 18 Limits, and responsible use
#
# - **Few faces.** Look how many test faces the rarest class has, and in how many photographs. Read the intervals; where
#   there is none, there are too few photographs for one.
# - **One source.** All photographs come from one collection. Other cameras, countries, light and masks are other data:
#   figures do not carry over.
# - **Labels are opinions.** "Worn incorrectly" has no sharp border; section 13 says which labels deserve a second look.
# - **Seeds.** One run of each arm compares two trained models, not two ways of training. `PRESET = "standard"` and
#   above repeat the training.
# - **Association is not cause** (section 11), a convincing map is not an explanation (section 12), and "no difference
#   shown" is not "equal" (section 10).
# - **The sample is drawn, not photographed.** It shows that the software works and nothing about people.
#
# **Use.** For study and research. The photographs show people who were not asked. Do not use the models to decide about
# people: not to admit, fine, or watch them. Errors need not be spread evenly over people, and nothing here measures
# over whom.
#
# **To go on.** `PRESET = "standard"` for three runs of each arm; `SETTINGS = {"experiments.run": ["leakage"]}` to see
# what a split by face would have promised (in the report); the labels of your own photographs in Pascal VOC format as
# `DATA`.
