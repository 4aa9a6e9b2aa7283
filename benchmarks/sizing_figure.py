"""The figure of sizing.py: cumulative distributions of a few cases, and the distance of each method from the truth in all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import estimators
import numpy as np
import slab
from samples import Case

if TYPE_CHECKING:
    from sizing import Results

SHOWN = ("A 100", "A 100+150", "A 60+120+300", "A EV", "A EV+mv+apo", "B EV")
SEEDS = range(5)
GROUPS = {"A": "A: hard slab, nothing missed", "B": "B: soft light, missed and false detections"}
RANGE_NM = (25, 2500)
TICKS_NM = (30, 100, 300, 1000)
# Okabe & Ito's colours, told apart by colour-blind eyes; shapes tell them apart in grey
LOOK = {
    "nta": ("#0072B2", "o", "nta"),
    "saspt": ("#CC79A7", "D", "saspt (state arrays)"),
    "Walker": ("#009E73", "s", "Walker 2012, blur and errors known"),
    "NanoTrackJ": ("#009E73", "s", "the same as in NanoTrackJ"),
    "raw MLE": ("#E69F00", "^", "histogram of maximum-likelihood sizes"),
    "MSD, 2 lags": ("#D55E00", "v", "histogram of MSD sizes, 2 lags"),
}
HOLLOW = "NanoTrackJ"
CURVES = ("MSD, 2 lags", "raw MLE", "Walker", "nta")
STYLE = {"font.size": 8, "axes.titlesize": 8, "axes.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False}


def draw(path: Path, results: Results) -> None:
    """Write the figure."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = [case for case in results.cases if case.key in SHOWN]
    judged = [*results.judged("A"), *results.judged("B")]
    with plt.rc_context(STYLE):
        rows = -(-len(shown) // 3)
        figure = plt.figure(figsize=(7.2, 1.75 * rows + 0.21 * len(judged) + 1.6), layout="constrained")
        above, below = figure.subfigures(2, 1, height_ratios=[1.75 * rows + 0.3, 0.21 * len(judged) + 1.3])
        axes = above.subplots(rows, 3, sharex=True, sharey=True, squeeze=False)
        for axis, case in zip(axes.flat, shown, strict=False):
            _curves(axis, case)
        for axis in axes.flat[len(shown) :]:
            axis.remove()
        above.supxlabel("diameter, nm", fontsize=8)
        above.supylabel("number fraction below", fontsize=8)
        _distances(below.subplots(), judged, results)
        handles, labels = _legend()
        below.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=7, columnspacing=1.2)
        figure.savefig(path, dpi=200)
    plt.close(figure)


def _curves(axis: Any, case: Case) -> None:
    """Draw the cumulative curves of a case: the sample, and for a few seeds what each method says."""
    found = {name: [] for name in CURVES}
    for seed in SEEDS:
        shot = slab.shoot(case.draw, case.scene, case.n_tracks, seed)
        distribution = slab.size(shot)[2]
        found["nta"].append((distribution.edges_nm, np.append(0.0, np.cumsum(distribution.weight))))
        sets = {
            "raw MLE": estimators.Sizes.within_limits(distribution.raw_nm),
            "Walker": estimators.walker(estimators.Products.of(shot)),
            "MSD, 2 lags": estimators.line(*estimators.mean_squares(shot), 2),
        }
        for name, sizes in sets.items():
            order = np.argsort(sizes.nm)
            found[name].append((sizes.nm[order], np.cumsum(sizes.weight[order])))
    nm, weight = case.truth
    below = np.cumsum(weight)
    # a staircase for exact sizes; of many draws every hundredth is enough
    some = slice(None, None, max(1, len(nm) // 2000))
    stairs = np.r_[RANGE_NM[0], nm[some], RANGE_NM[1]], np.r_[0.0, below[some], 1.0]
    axis.step(*stairs, where="post", color="black", lw=2.2, alpha=0.85)
    for name in CURVES:
        for x, y in found[name]:
            axis.plot(x, y, color=LOOK[name][0], lw=0.9, alpha=0.7)
    axis.set(xscale="log", xlim=RANGE_NM, ylim=(-0.03, 1.03), title=_title(case))
    axis.set_xticks(TICKS_NM, [str(nm) for nm in TICKS_NM])
    axis.minorticks_off()


def _distances(axis: Any, cases: list[Case], results: Results) -> None:
    """Draw the mean distance of each method in each case, the floor as a bar across."""
    first = {case.group: i for i, case in reversed(list(enumerate(cases)))}
    # a line for the name of each group
    level = np.array([-i - 1.2 * sorted(first).index(case.group) for i, case in enumerate(cases)])
    for group, i in first.items():
        axis.text(1.0, level[i] + 0.45, GROUPS[group], ha="right", va="bottom", fontsize=7.5, color="0.3")
    for name, (colour, shape, _) in reversed(LOOK.items()):
        far = [results.w1(case, name) for case in cases]
        fill = {"facecolor": "none", "edgecolor": colour, "linewidth": 1.0} if name == HOLLOW else {"color": colour, "edgecolor": "white"}
        style = {"linewidth": 0.4, "marker": shape, "s": 34 if name == "nta" else 22, "zorder": 4 if name in ("nta", HOLLOW) else 3}
        axis.scatter(far, level, **(style | fill))
    floor = np.array([results.w1(case, "floor") for case in cases])
    known = floor > 1e-4  # particles of one size are known exactly
    axis.scatter(floor[known], level[known], marker="|", s=90, color="black", linewidth=1.4, zorder=5)
    axis.hlines(level, 0.005, 1.0, color="0.9", lw=0.6, zorder=0)
    axis.set(xscale="log", xlim=(0.005, 1.0), xlabel="mean Wasserstein distance to the sample in ln d", ylim=(level.min() - 0.6, 1.4))
    axis.set_xticks([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0], ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"])
    axis.minorticks_off()
    axis.set_yticks(level, [_title(case)[3:] for case in cases])
    axis.tick_params(axis="y", length=0)


def _title(case: Case) -> str:
    """Return how a case is called in print: group, and units where there are sizes."""
    name = f"{case.name.replace('+', ' + ')} nm" if case.sizes_nm and ":" not in case.name else case.name.replace("+", " + ")
    return f"{case.group}: {name}"


def _legend() -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color="black", lw=2.2), Line2D([], [], color="black", marker="|", ms=9, mew=1.4, lw=0)]
    for name, (colour, shape, _) in LOOK.items():
        fill = "none" if name == HOLLOW else colour
        handles.append(Line2D([], [], color=colour, marker=shape, ms=5, markerfacecolor=fill, lw=1.0 if name in CURVES else 0))
    return handles, ["sample", "floor: particles seen, at their true sizes", *(label for _, _, label in LOOK.values())]
