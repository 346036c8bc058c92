"""Figures of what drives the errors: rates along properties, odds ratios, importances, dependence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from maskbench.comparison.face_errors import property_labels, property_transforms
from maskbench.comparison.factors import FactorTables
from maskbench.report.drawing import Drawing, finished, styled
from maskbench.report.figures.properties import (
    COLUMNS,
    arm_legend,
    by_strength,
    errors_basis,
    fig_property_correlations,
    property_panels,
)
from maskbench.report.style import MUTED, colours, linestyles, markers, new_figure, percent_ticks, short_name, wrapped

#: A share axis ends here at the least, so that a single error does not fill a panel.
_LEAST_RATE = 0.1
_WIDEST_ODDS = 20.0
#: A standard deviation of fewer shufflings is itself too uncertain to be drawn.
_LEAST_REPEATS = 5
#: Panels of the odds ratios.
_ODDS_MODELS = {"together": "All in one model", "alone": "Each alone"}


def factor_figures(tables: FactorTables, arms: Sequence[str]) -> list[Drawing]:
    """All figures of this module, in the report's order.

    Args:
        tables: of `comparison.factors.explain_errors`.
        arms: the study's arms, in order.
    """
    return [
        fig_error_rates(tables.rates, tables.ranking, arms),
        fig_odds(tables.odds, tables.ranking, arms),
        fig_importance(tables.importance, tables.skill, arms),
        fig_partial_dependence(tables.dependence, tables.skill, arms),
        fig_property_correlations(tables.correlations),
    ]


@styled
def fig_error_rates(rates: pd.DataFrame, ranking: pd.DataFrame, arms: Sequence[str], *, most: int = 20) -> Drawing:
    """The error rate along each property, one panel each, the strongest first.

    Args:
        rates: `schemas.factors.ERROR_RATES`.
        ranking: `schemas.factors.FACTOR_RANKING`, for the order.
        arms: the study's arms, in order.
        most: panels at most.
    """
    names = by_strength(ranking, list(rates["property"].unique()))[:most]
    figure, axes = property_panels(len(names), (3.0, 2.45), bottom=0.4)
    labels = property_labels(names)
    for index, (ax, name) in enumerate(zip(axes, names, strict=False)):
        part = rates[rates["property"] == name]
        bins = part.drop_duplicates("bin_index").sort_values("bin_index")["bin"]
        _rate_dots(ax, part, arms, len(bins))
        ax.set_xticks(range(len(bins)), [_bin_label(text) for text in bins], fontsize=6.5)
        ax.set_xlim(-0.5, len(bins) - 0.5)
        row = names[index // COLUMNS * COLUMNS :][:COLUMNS]
        _cut_above(ax, _ceiling(rates[rates["property"].isin(row)]))
        ax.set_title(wrapped(labels[name], 34), fontsize=8.5)
        ax.grid(visible=False, axis="x")
        percent_ticks(ax.yaxis)
        if index % COLUMNS == 0:
            ax.set_ylabel("error rate")
        else:
            ax.tick_params(labelleft=False)
    arm_legend(figure, axes[0], arms)
    basis = errors_basis(rates.groupby(["arm", "property"])[["faces", "errors"]].sum().groupby("arm").max(), arms)
    confidence = f"{rates['confidence'].iloc[0]:.0%} " if len(rates) else ""
    return finished(
        figure, "error-rates", "Error rate along each property, strongest first",
        f"Bins of about equally many faces; {basis}. Each face counts once, with the share of the runs that got it "
        f"wrong. Bars: {confidence}Wilson intervals at the effective number of faces, since faces of one photograph "
        "err together. Look for a slope that the intervals do not cover; a single high bin among many is to be "
        "expected by chance. Panels are sorted by how many measures support the property, then by strength; those of "
        "one row share a scale, and an arrow marks an interval that goes beyond it.",
    )  # fmt: skip


def _bin_label(text: str) -> str:
    """A range over two lines where it is long."""
    low, dash, high = text.partition("–")
    return f"{low}–\n{high}" if dash and len(text) > 8 else wrapped(text, 9)


def _ceiling(rates: pd.DataFrame) -> float:
    """Top of the axis: room for every rate and for all but the longest intervals."""
    tops = rates["high"].fillna(rates["rate"]).dropna().to_numpy(dtype=float)
    if not len(tops):
        return _LEAST_RATE
    return min(1.0, max(_LEAST_RATE, float(rates["rate"].max()) * 1.15, float(np.quantile(tops, 0.85)) * 1.05))


def _cut_above(ax: Axes, ceiling: float) -> None:
    """Set the axis, and mark intervals that leave it with an arrow at their place."""
    for lines in [found for found in ax.collections if isinstance(found, LineCollection)]:
        for segment in lines.get_segments():
            if len(segment) and segment[:, 1].max() > ceiling:
                ax.plot(segment[0, 0], ceiling, marker="^", markersize=4, color=lines.get_color()[0], clip_on=False)
    ax.set_ylim(0, ceiling)
    for line in ax.get_lines():  # a marker at 0 % is drawn whole
        line.set(clip_on=False, in_layout=False)


def _rate_dots(ax: Axes, part: pd.DataFrame, arms: Sequence[str], bins: int) -> None:
    paint, shapes, lines = colours(arms), markers(arms), linestyles(arms)
    for place, arm in enumerate(arms):
        rows = part[part["arm"] == arm].set_index("bin_index").reindex(range(bins))
        x = np.arange(bins) + (place - (len(arms) - 1) / 2) * min(0.22, 0.7 / max(1, len(arms)))
        ax.vlines(x, rows["low"], rows["high"], color=paint[arm], linewidth=1.6, alpha=0.6)
        # Missing values are no point on the scale: no line leads to their bin.
        on_scale = rows["lower"].notna().to_numpy()
        ax.plot(x[on_scale], rows["rate"][on_scale], color=paint[arm], linestyle=lines[arm], linewidth=1.0, alpha=0.8)
        ax.plot(x, rows["rate"], color=paint[arm], marker=shapes[arm], markersize=4, linestyle="none", label=arm)


@styled
def fig_odds(odds: pd.DataFrame, ranking: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """Odds ratios per standard deviation with intervals: all properties together, and each alone.

    Args:
        odds: `schemas.factors.ODDS`.
        ranking: `schemas.factors.FACTOR_RANKING`, for the order.
        arms: the study's arms, in order.
    """
    names = by_strength(ranking, list(odds["property"].unique()))
    missing = {model: _why_not_fitted(odds[odds["model"] == model]) for model in _ODDS_MODELS}
    fitted = [model for model, why in missing.items() if why is None]
    together = odds[odds["model"] == "together"]
    if fitted:
        height = 1.9 + len(names) * max(0.3, 0.13 * len(arms))
        figure, axes = new_figure(1, len(fitted), size=(3.2 + 3.6 * len(fitted), height), sharey=True, sharex=True)
        for ax, model in zip(axes, fitted, strict=True):
            _forest(ax, odds[odds["model"] == model], names, arms)
            ax.set(title=_ODDS_MODELS[model], xlabel="odds ratio of an error per standard deviation")
        _odds_axis(axes[0], odds)
        vif = together.groupby("property")["vif"].max()
        axes[0].set_yticks(range(len(names)), [_odds_label(name, odds, vif) for name in names], fontsize=7.5)
        axes[0].set_ylim(len(names) - 0.5, -0.5)
        arm_legend(figure, axes[0], arms)
    else:
        figure, axes = new_figure(1, 1, size=(7.6, 2.0))
        axes[0].set_axis_off()
        words = [f"{_ODDS_MODELS[model]}: not fitted. {why}" for model, why in missing.items()]
        axes[0].text(0.5, 0.5, "\n\n".join(wrapped(line, 90) for line in words), ha="center", va="center", color=MUTED)
    return finished(
        figure, "error-odds", "Odds of an error per standard deviation of each property",
        f"Of these faces, {errors_basis(together.groupby('arm')[['faces', 'errors']].max(), arms)}. "
        f"{_odds_reading(odds, fitted) if fitted else ''}"
        + "".join(f"{_ODDS_MODELS[model]}: not fitted ({why}). " for model, why in missing.items() if why is not None)
        + "The table has the reason of every odds ratio that is missing.",
    )  # fmt: skip


def _why_not_fitted(part: pd.DataFrame) -> str | None:
    """The commonest reason where a model has no odds ratio at all; None where it has some."""
    if part["log_odds"].notna().any():
        return None
    why = part.loc[part["reason"] != "", "reason"].mode()
    return str(why.iloc[0]) if len(why) else "undefined"


def _odds_reading(odds: pd.DataFrame, fitted: Sequence[str]) -> str:
    """How the panels that are drawn are read."""
    says = {
        "together": "what a property adds beside all others (all in one model)",
        "alone": "what a property goes with by itself (each alone)",
    }
    methods = "; ".join(sorted(set(odds["method"]) - {""}))
    note = " ".join(sorted(set(odds.loc[odds["model"] == "together", "note"]) - {""}))
    together = (
        "VIF is the variance inflation factor: above 5 to 10, a property's odds ratio in one model is hard to tell "
        f"from its companions'. {f'All in one model: {note}. ' if note else ''}"
    )
    return (
        f"Right of 1: higher values go with more errors. Shown is {' and '.join(says[model] for model in fitted)}; "
        f"bars are {odds['confidence'].max():.0%} intervals ({methods}). {together if 'together' in fitted else ''}"
    )


def _odds_label(name: str, odds: pd.DataFrame, vif: pd.Series) -> str:
    rows = odds[odds["property"] == name]
    transform = rows["transform"].iloc[0]
    label = short_name(property_labels([name])[name], 46)
    label = f"1 / {label}" if transform == "reciprocal" else f"log {label}" if transform == "log" else label
    value = float(vif.get(name, np.nan))
    if not np.isnan(value):
        return f"{label}  (VIF {value:.1f})"
    return f"{label}  (left out)" if (rows["determined_by"] != "").any() else label


def _forest(ax: Axes, part: pd.DataFrame, names: Sequence[str], arms: Sequence[str]) -> None:
    paint, shapes = colours(arms), markers(arms)
    ax.axvline(1, color=MUTED, linewidth=1.1, linestyle="--", zorder=1)
    for place, arm in enumerate(arms):
        rows = part[part["arm"] == arm].set_index("property").reindex(list(names))
        y = np.arange(len(names)) + (place - (len(arms) - 1) / 2) * 0.7 / max(1, len(arms))
        # Beyond the axis an interval is cut by the panel's edge, which a bar running into it shows.
        ax.hlines(y, rows["low"].clip(lower=1 / _WIDEST_ODDS**2), rows["high"].clip(upper=_WIDEST_ODDS**2),
                  color=paint[arm], linewidth=1.8, alpha=0.7)  # fmt: skip
        ax.plot(
            rows["odds_ratio"], y, color=paint[arm], marker=shapes[arm], markersize=4.5, linestyle="none", label=arm
        )
    ax.grid(visible=False, axis="y")


def _odds_axis(ax: Axes, odds: pd.DataFrame) -> None:
    """A logarithmic axis, symmetric about 1, with plain numbers."""
    known = odds[["low", "high"]].to_numpy(dtype=float)
    known = known[np.isfinite(known) & (known > 0)]
    reach = float(np.clip(np.exp(np.abs(np.log(known)).max()), 2, _WIDEST_ODDS)) if known.size else 2.0
    ax.set_xscale("log")
    ax.set_xlim(1 / reach / 1.05, reach * 1.05)
    ax.xaxis.set_major_locator(FixedLocator([1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value >= 1 else f"1/{1 / value:.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())


@styled
def fig_importance(importance: pd.DataFrame, skill: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """Permutation importance of each property in the non-linear model, with the model's skill in the title.

    Args:
        importance: `schemas.factors.IMPORTANCE`.
        skill: `schemas.factors.ERROR_MODEL_SKILL`.
        arms: the study's arms, in order.
    """
    means = importance.groupby("property", sort=False)["importance"].mean().dropna()
    names = [str(name) for name in means.sort_values(ascending=False, kind="stable").index]
    if not names:
        names = [str(name) for name in importance["property"].unique()]
    height = 1.9 + len(names) * max(0.28, 0.14 * len(arms))
    figure, axes = new_figure(1, 1, size=(8.6, height))
    ax, paint = axes[0], colours(arms)
    thick = 0.8 / max(1, len(arms))
    repeats = int(importance["repeats"].max()) if len(importance) else 0
    for place, arm in enumerate(arms):
        rows = importance[importance["arm"] == arm].set_index("property").reindex(names)
        y = np.arange(len(names)) + (place - (len(arms) - 1) / 2) * thick
        shown = _skill_of(skill, arm)[1] == "shown"
        ax.barh(y, rows["importance"].fillna(0), height=thick * 0.9, color=paint[arm], alpha=0.85 if shown else 0.25,
                label=arm if shown else f"{arm} (no skill shown)", hatch="" if place % 2 == 0 else "///",
                edgecolor="white", linewidth=0)  # fmt: skip
        ax.hlines(y, rows["low"], rows["high"], color="#374151", linewidth=0.8)
        if repeats >= _LEAST_REPEATS:
            ax.hlines(y, rows["importance"] - rows["sd"], rows["importance"] + rows["sd"], color="#111827",
                      linewidth=2.4)  # fmt: skip
    ax.axvline(0, color=MUTED, linewidth=1)
    ax.set_yticks(range(len(names)), [short_name(label, 40) for label in property_labels(names).values()], fontsize=8)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel("fall of the AUC when the property is shuffled")
    ax.grid(visible=False, axis="y")
    if importance["importance"].isna().all():
        reason = importance["reason"].mode()
        ax.text(0.5, 0.5, wrapped(str(reason.iloc[0]) if len(reason) else "undefined", 60), transform=ax.transAxes,
                ha="center", va="center", color=MUTED)  # fmt: skip
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=min(3, len(arms)))
    some = skill.iloc[0]
    spread = (
        f"Thick lines: ± one standard deviation of {repeats} shufflings, which says how much chance moves a bar and is "
        "no interval"
        if repeats >= _LEAST_REPEATS
        else f"Means of {repeats} shuffling{'s' * (repeats != 1)}, too few to draw their spread"
    )
    # Marked as in the legend: bars are drawn pale for other reasons too, such as an interval that is missing.
    pale = " Pale bars: the model's skill is not shown, so they mean nothing."
    return finished(
        figure, "error-importance", f"What the non-linear model of the errors uses ({_skill_words(skill, arms)})",
        f"{str(some['model']).capitalize()}, {some['folds']} folds of whole photographs; {some['faces']} faces of "
        f"{some['photographs']} photographs. Everything is measured on photographs the model was not fitted on. "
        f"{spread}; {_bootstrap(importance)}.{pale} {_more_skill(skill, arms)}{_why_undefined(skill)}",
    )  # fmt: skip


def _skill_of(skill: pd.DataFrame, arm: str, metric: str = "auc") -> tuple[str, str]:
    """Value with interval as text, and the verdict."""
    rows = skill[(skill["arm"] == arm) & (skill["metric"] == metric)]
    if rows.empty or np.isnan(rows.iloc[0]["value"]):
        return "–", "undefined"
    row = rows.iloc[0]
    span = "no interval" if np.isnan(row["low"]) else f"{row['low']:.2f}, {row['high']:.2f}"
    return f"{row['value']:.2f} [{span}]", str(row["skill"])


def _skill_words(skill: pd.DataFrame, arms: Sequence[str]) -> str:
    return "; ".join(f"{short_name(arm, 26)}: AUC {_skill_of(skill, arm)[0]}" for arm in arms)


def _more_skill(skill: pd.DataFrame, arms: Sequence[str]) -> str:
    parts = []
    for arm in arms:
        rows = skill[(skill["arm"] == arm) & (skill["metric"] == "average_precision")]
        chance = f" (chance {rows.iloc[0]['chance']:.2f})" if len(rows) and not np.isnan(rows.iloc[0]["chance"]) else ""
        precision, brier = (_skill_of(skill, arm, metric)[0] for metric in ("average_precision", "brier_skill"))
        parts.append(f"{arm}: average precision {precision}{chance}, Brier skill {brier}")
    return "; ".join(parts) + "."


def _why_undefined(skill: pd.DataFrame) -> str:
    """Why values or their intervals are missing, in the table's own words."""
    reasons = dict.fromkeys(str(reason) for reason in skill.loc[skill["low"].isna(), "reason"] if reason)
    return f" Missing: {'; '.join(reasons)}." if reasons else ""


def _bootstrap(importance: pd.DataFrame) -> str:
    """What the thin lines are, if there are any."""
    if importance["low"].isna().all():
        return "no intervals over photographs"
    return f"thin lines: {importance['confidence'].iloc[0]:.0%} bootstrap over photographs"


@styled
def fig_partial_dependence(dependence: pd.DataFrame, skill: pd.DataFrame, arms: Sequence[str]) -> Drawing:
    """The model's mean predicted error rate along its most important properties.

    Args:
        dependence: `schemas.factors.PARTIAL_DEPENDENCE`.
        skill: `schemas.factors.ERROR_MODEL_SKILL`.
        arms: the study's arms, in order.
    """
    names = [str(name) for name in dependence["property"].unique()]
    figure, axes = property_panels(len(names), (3.3, 2.6), columns=3, bottom=0.4)
    labels = property_labels(names)
    top = max(_LEAST_RATE, float(np.nanmax(dependence["high"].to_numpy(dtype=float), initial=0)) * 1.05)
    for index, (ax, name) in enumerate(zip(axes, names, strict=False)):
        _dependence_panel(ax, dependence[dependence["property"] == name], name, arms)
        ax.set_title(wrapped(labels[name], 36), fontsize=8.5)
        ax.set_ylim(0, min(1.0, top))
        percent_ticks(ax.yaxis)
        if index % 3 == 0:
            ax.set_ylabel("predicted error rate")
    if names:
        arm_legend(figure, axes[0], arms)
    else:
        axes[0].set_axis_on()
        axes[0].set(xticks=[], yticks=[])
        axes[0].text(0.5, 0.5, "no model: too few errors", transform=axes[0].transAxes, ha="center", va="center",
                     color=MUTED)  # fmt: skip
    some = skill.iloc[0]
    return finished(
        figure, "error-dependence", "Predicted error rate along the most important properties",
        f"Partial dependence of the {some['model'].split(',')[0]} on held-out faces: the mean prediction if every face "
        "had the property's value, all else as it is; bands span the models of the "
        f"{some['folds']} folds, marks are where it was computed. Read the shape, not small steps, and only if the "
        f"model has skill ({_skill_words(skill, arms)}). Where properties go together, curves show combinations that "
        f"hardly occur. {some['faces']} faces of {some['photographs']} photographs.{_why_undefined(skill)}",
    )  # fmt: skip


def _dependence_panel(ax: Axes, part: pd.DataFrame, name: str, arms: Sequence[str]) -> None:
    paint, shapes, lines = colours(arms), markers(arms), linestyles(arms)
    for arm in arms:
        rows = part[(part["arm"] == arm) & np.isfinite(part["value"])].sort_values("value")
        ax.fill_between(rows["value"], rows["low"], rows["high"], color=paint[arm], alpha=0.15, linewidth=0)
        ax.plot(rows["value"], rows["error_rate"], color=paint[arm], linestyle=lines[arm], marker=shapes[arm],
                markersize=2.8, linewidth=1.4, label=arm)  # fmt: skip
    values = part["value"].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    transform = property_transforms([name])[name]
    spread = values.max() / values.min() if len(values) and values.min() > 0 else 1.0
    if spread > 5 and (transform == "log" or (transform is None and spread > 50)):
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    elif len(np.unique(values)) == 2 and set(np.unique(values)) <= {0.0, 1.0}:
        ax.set_xticks([0, 1], ["no", "yes"])
