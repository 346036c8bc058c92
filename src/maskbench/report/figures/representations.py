"""Figures of what models see in faces: embeddings, likeness of layers, what each depth knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.style import SEQUENTIAL, colours, linestyles, markers, new_figure, short_name

#: Distance of arms at one depth, in depths.
_APART = 0.22
_METHODS = {"pca": "PCA", "tsne": "t-SNE"}


def representation_figures(
    tables: dict[str, pd.DataFrame], statistics: pd.DataFrame, classes: Sequence[str], arms: Sequence[str]
) -> list[Drawing]:
    """All figures of this kind.

    Args:
        tables: by name, see `schemas.representations.REPRESENTATION_TABLES`.
        statistics: `schemas.representations.LAYER_STATISTICS`.
        classes: class order.
        arms: in order.
    """
    embedding = tables["embedding"]
    drawn = [
        fig_embedding(embedding[embedding["method"] == method], classes, arms)
        for method in _METHODS
        if (embedding["method"] == method).any()
    ]
    drawn.append(fig_explained_variance(tables["explained_variance"], arms))
    if tables["cka"]["cka"].notna().any():
        drawn.append(fig_cka(tables["cka"], list(statistics["depth"].unique())))
    return [
        *drawn, fig_probes(tables["probes"], arms), fig_depths(tables["separation"], statistics, arms)
    ]  # fmt: skip


@styled
def fig_embedding(embedding: pd.DataFrame, classes: Sequence[str], arms: Sequence[str]) -> Drawing:
    """Test faces in two dimensions: arms in rows, coloured by class, by error, by size.

    Args:
        embedding: `schemas.representations.EMBEDDING` of one method.
        classes: class order.
        arms: in order.
    """
    method = str(embedding["method"].iloc[0])
    shown = [arm for arm in arms if (embedding["arm"] == arm).any()]
    figure, axes = new_figure(len(shown), 3, size=(11.5, 3.4 * len(shown) + 0.9))
    for row, arm in enumerate(shown):
        part = embedding[embedding["arm"] == arm]
        _by_class(axes[3 * row], part, classes)
        _by_error(axes[3 * row + 1], part)
        points = axes[3 * row + 2].scatter(
            part["x"], part["y"], c=np.log2(part["box_side_px"].clip(lower=1)), cmap=SEQUENTIAL, s=9, linewidths=0
        )
        bar = figure.colorbar(points, ax=axes[3 * row + 2], pad=0.01)
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{2**value:.0f}")
        bar.set_label("face, px", fontsize=8)
        axes[3 * row].set_ylabel(short_name(arm, 30))
    for column, title in enumerate(("by class", "by error", "by size of the face")):
        axes[column].set_title(title)
    for ax in axes:
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
    handles = [axes[index].get_legend_handles_labels() for index in (0, 1)]
    figure.legend(
        [*handles[0][0], *handles[1][0]], [*handles[0][1], *handles[1][1]], loc="outside lower center", ncols=5
    )
    perplexity = " or ".join(f"{value:.3g}" for value in sorted(embedding["perplexity"].dropna().unique()))
    words = (
        f"Perplexity {perplexity}; only who lies near whom means something, distances between groups and their "
        "sizes do not."
        if method == "tsne"
        else "The two directions of the largest variance; distances mean what they say, as far as two directions show "
        "them."
    )
    return finished(
        figure, f"embedding-{method}",
        f"{_METHODS[method]} of what the head reads" + (f" (perplexity {perplexity})" if method == "tsne" else ""),
        f"{words} Look whether mistakes lie between classes or inside another one. {len(part)} test faces, run "
        f"{int(embedding['seed'].iloc[0])}.",
    )  # fmt: skip


def _by_class(ax: Axes, part: pd.DataFrame, classes: Sequence[str]) -> None:
    paint, shapes = colours(classes), markers(classes)
    for name in classes:
        own = part[part["label"] == name]
        ax.scatter(own["x"], own["y"], s=11, color=paint[name], marker=shapes[name], linewidths=0, alpha=0.75,
                   label=short_name(name))  # fmt: skip


def _by_error(ax: Axes, part: pd.DataFrame) -> None:
    right, wrong = part[part["correct"]], part[~part["correct"]]
    ax.scatter(right["x"], right["y"], s=8, color="#C3C8D0", linewidths=0, label="right")
    ax.scatter(wrong["x"], wrong["y"], s=30, color="#D55E00", marker="X", linewidths=0.4, edgecolors="white",
               label="misclassified")  # fmt: skip


@styled
def fig_explained_variance(variance: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """Cumulative share of the variance on the first principal components.

    Args:
        variance: `schemas.representations.EXPLAINED_VARIANCE`.
        arms: in order.
    """
    figure, (ax,) = new_figure(1, 1, size=(6.2, 3.6))
    paint, styles = colours(arms), linestyles(arms)
    for arm in arms:
        part = variance[variance["arm"] == arm]
        ax.plot(part["component"], part["cumulative"], color=paint[arm], linestyle=styles[arm],
                label=short_name(arm, 30))  # fmt: skip
    ax.set(xlabel="principal components", ylabel="share of the variance", ylim=(0, 1.02))
    ax.legend()
    return finished(
        figure, "explained-variance", "On how many directions the features lie",
        "Where a curve is at once near 1, the features of all faces lie almost on a line or a plane: telling K classes "
        "apart needs K − 1 directions. Penultimate layer, test faces of the first run.",
    )  # fmt: skip


@styled
def fig_cka(cka: pd.DataFrame, depths: Sequence[str]) -> Drawing:
    """Likeness of layers: a map for every two arms, a line for runs of one arm.

    Args:
        cka: `schemas.representations.CKA`.
        depths: from the input to the head.
    """
    arms = cka[(cka["kind"] == "arms") & cka["cka"].notna()]
    pairs = list(arms[["arm_a", "arm_b"]].drop_duplicates().itertuples(index=False, name=None))
    seeds = cka[(cka["kind"] == "seeds") & cka["cka"].notna()]
    panels = len(pairs) + (1 if len(seeds) else 0)
    figure, axes = new_figure(1, panels, size=(4.9 * panels, 4.3))
    image: Any = None
    for ax, (a, b) in zip(axes, pairs, strict=False):
        part = arms[(arms["arm_a"] == a) & (arms["arm_b"] == b)]
        grid = part.pivot_table(index="layer_a", columns="layer_b", values="cka").reindex(index=depths, columns=depths)
        image = ax.imshow(grid, vmin=0, vmax=1, cmap=SEQUENTIAL, origin="lower")
        for (row, column), value in np.ndenumerate(grid.to_numpy()):
            ax.text(column, row, "–" if np.isnan(value) else f"{value:.2f}", ha="center", va="center", fontsize=8,
                    color="white" if value < 0.6 else "black")  # fmt: skip
        ax.set_xticks(range(len(depths)), depths, rotation=30)
        ax.set_yticks(range(len(depths)), depths)
        ax.set(xlabel=short_name(b, 30), ylabel=short_name(a, 30), title="two arms")
        ax.grid(visible=False)
    if image is not None:
        figure.colorbar(image, ax=axes[: len(pairs)], shrink=0.8, label="CKA")
    if len(seeds):
        ax, names = axes[-1], list(seeds["arm_a"].unique())
        paint, shapes = colours(names), markers(names)
        for arm in names:
            means = seeds[seeds["arm_a"] == arm].groupby("layer_a")["cka"].mean().reindex(depths)
            ax.plot(range(len(depths)), means, marker=shapes[arm], color=paint[arm], label=short_name(arm, 30))
        ax.set_xticks(range(len(depths)), depths, rotation=30)
        ax.set(ylim=(0, 1.02), ylabel="CKA", title="two runs of one arm")
        ax.legend()
    notes = ["1: the same but for rotation and scale, 0: unrelated."]
    if pairs and len(seeds):
        notes.append("Compare the diagonal with two runs of one arm: that much comes from chance alone.")
    elif len(seeds):
        notes.append("What is missing to 1 comes from chance alone: initial weights, order, and other training faces.")
    runs, couples = arms["seed_a"].nunique(), len(seeds[["seed_a", "seed_b"]].drop_duplicates())
    means = [f"{runs} run{'s' * (runs > 1)} of two arms"] * bool(pairs)
    means += [f"{couples} pair{'s' * (couples > 1)} of runs of one arm"] * bool(couples)
    notes.append(f"Means over {' and '.join(means)}, on {int(cka['faces'].max())} test faces in common at most.")
    return finished(figure, "cka", "Likeness of what layers see (debiased linear CKA)", " ".join(notes))


@styled
def fig_probes(probes: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """Macro-F1 of simple classifiers on each depth's features.

    Args:
        probes: `schemas.representations.PROBES`.
        arms: in order.
    """
    depths = list(probes["depth"].unique())
    figure, axes = new_figure(1, 2, size=(9.6, 3.7), sharey=True)
    paint, shapes, styles = colours(arms), markers(arms), linestyles(arms)
    titles = {"linear": "linear classifier", "neighbours": "nearest neighbours (cosine)"}
    for ax, (probe, title) in zip(axes, titles.items(), strict=True):
        for place, arm in enumerate(arms):
            part = probes[(probes["arm"] == arm) & (probes["probe"] == probe) & (probes["metric"] == "f1_macro")]
            means = part.groupby("depth")["value"].mean().reindex(depths)
            x = np.arange(len(depths)) + (place - (len(arms) - 1) / 2) * _APART
            ax.plot(x, means, color=paint[arm], marker=shapes[arm], linestyle=styles[arm], markersize=5, linewidth=1.4,
                    label=short_name(arm, 30))  # fmt: skip
            _own_intervals(ax, part, depths, x, paint[arm])
        ax.set_xticks(range(len(depths)), depths)
        ax.set(title=title, xlabel="features of")
    axes[0].set_ylabel("test macro-F1")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(arms), 3))
    runs, level = probes["seed"].nunique(), f"{probes['confidence'].iloc[0]:.0%}"
    shown = (
        f"Curves are means over {runs} runs; each bar is the {level} interval of one run (dash: its value), over its "
        "own test photographs. No bar is an interval of the mean."
        if runs > 1
        else f"Bars: {level} intervals over the test photographs."
    )
    return finished(
        figure, "probes", "What each depth knows of the classes",
        "Simple classifiers fitted on the training faces' features, measured on test faces. Where a curve stops "
        f"rising, deeper layers add nothing to what can be read off. {shown} {_span(probes['faces'])} test faces in "
        f"{_span(probes['images'])} photographs{' a run' * (runs > 1)}.",
    )  # fmt: skip


def _own_intervals(ax: Axes, part: pd.DataFrame, depths: Sequence[str], x: NDArray[np.floating], colour: str) -> None:
    """Every run's value with its own interval, runs beside each other."""
    seeds = sorted(part["seed"].unique())
    several, width = len(seeds) > 1, 0.8 * _APART / max(len(seeds), 2)
    for place, seed in enumerate(seeds):
        run = part[part["seed"] == seed].set_index("depth").reindex(depths)
        at = x + (place - (len(seeds) - 1) / 2) * width
        errors = np.nan_to_num(np.stack([run["value"] - run["low"], run["high"] - run["value"]])).clip(0)
        ax.errorbar(at, run["value"], yerr=errors, color=colour, fmt="_" if several else "none", markersize=4,
                    elinewidth=1.0 if several else 1.4, alpha=0.55 if several else 1)  # fmt: skip


def _span(counts: pd.Series) -> str:
    """`12`, or `10–12` where runs differ."""
    low, high = int(counts.min()), int(counts.max())
    return f"{low}" if low == high else f"{low}–{high}"


@styled
def fig_depths(separation: pd.DataFrame, statistics: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """Separation of classes and use of channels by depth.

    Args:
        separation: `schemas.representations.SEPARATION`.
        statistics: `schemas.representations.LAYER_STATISTICS`.
        arms: in order.
    """
    panels = [
        (separation, "silhouette", "silhouette of the classes"),
        (separation, "scatter_ratio", "scatter between ÷ within classes"),
        (statistics, "sparsity", "share of activations that are 0"),
        (statistics, "effective_rank", "effective rank of the features"),
    ]
    depths = list(statistics["depth"].unique())
    figure, axes = new_figure(1, 4, size=(13.5, 3.5))
    paint, shapes, styles = colours(arms), markers(arms), linestyles(arms)
    for ax, (table, column, title) in zip(axes, panels, strict=True):
        for arm in arms:
            means = table[table["arm"] == arm].groupby("depth")[column].mean().reindex(depths)
            ax.plot(range(len(depths)), means, color=paint[arm], marker=shapes[arm], linestyle=styles[arm],
                    markersize=5, linewidth=1.4, label=short_name(arm, 30))  # fmt: skip
        ax.set_xticks(range(len(depths)), depths, rotation=30)
        ax.set_title(title, fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(arms), 3))
    dead = statistics.groupby("arm", sort=False)["dead_channels"].mean()
    told = ", ".join(f"{arm} {dead[arm]:.0f}" for arm in arms if arm in dead.index)
    return finished(
        figure, "depths", "Separation of classes and use of channels, by depth",
        "Silhouette and scatter: how far apart the classes lie among the test faces. Sparsity and effective rank: how "
        f"many channels answer, and in how many directions. Channels that never answer, mean over depths: {told}. "
        f"{_span(separation['faces'])} test faces.",
    )  # fmt: skip
