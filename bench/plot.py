"""Draws a run of jitp-bench: one PNG for every scenario, beside the results.

    python bench/plot.py bench/results/<run>/results.json

A bar is the median of a peer's rounds, the line on it their range. On the right stands jitp's ratio to the better of the
other brokers. Needs matplotlib (requirements.txt).
"""

import json
import pathlib
import statistics
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {
    "jitp": "#1b6ca8",
    "mosquitto": "#e08a3c",
    "mosquitto-nagle": "#f2c48d",
    "rumqttd": "#7a9e3f",
    "ceiling": "#b8b8b8",
}
BAR = 0.16  # inches


def values(case, peer):
    return [one["value"] for one in case["rounds"] if one["peer"] == peer]


def beside(case):
    """jitp's ratio to the better peer, if it was compared."""
    for comparison in case["comparisons"]:
        if comparison["name"].startswith("jitp / better peer") and "ratio" in comparison:
            bound = comparison.get("target"), comparison.get("at_most")
            aim = f"aim ≥ {bound[0]:g}" if bound[0] is not None else f"aim ≤ {bound[1]:g}"
            return f"{comparison['ratio']:.2f} × {comparison['name'][20:-1]}\n({aim})"
    return ""


def draw(scenario, unit, cases, path):
    peers = [peer for peer in COLOURS if any(values(case, peer) for case in cases)]
    height = 1.2 + len(cases) * (len(peers) + 1) * BAR
    figure, axes = plt.subplots(figsize=(11, height), layout="constrained")
    shown = [value for case in cases for peer in peers for value in values(case, peer) if value > 0]
    if not shown:
        plt.close(figure)
        return False
    for index, case in enumerate(cases):
        for place, peer in enumerate(peers):
            found = values(case, peer)
            at = index * (len(peers) + 1) + place
            if not found:
                absent = any(one["peer"] == peer for one in case.get("absences", []))
                axes.text(min(shown), at, " no number" if absent else "", va="center", fontsize=7, color="#888888")
                continue
            middle = statistics.median(found)
            axes.barh(at, middle, color=COLOURS[peer], label=peer if index == 0 else None)
            axes.plot([min(found), max(found)], [at, at], color="black", linewidth=0.8)
            axes.text(max(found), at, f" {middle:,.0f}" if middle >= 100 else f" {middle:.2f}", va="center", fontsize=7)
        axes.text(
            1.01, index * (len(peers) + 1) + (len(peers) - 1) / 2, beside(case),
            transform=axes.get_yaxis_transform(), va="center", fontsize=8,
        )
    axes.set_yticks(
        [index * (len(peers) + 1) + (len(peers) - 1) / 2 for index in range(len(cases))],
        [case["variant"] for case in cases], fontsize=8,
    )
    axes.invert_yaxis()
    if max(shown) > 20 * min(shown):
        axes.set_xscale("log")
        axes.set_xlim(right=max(shown) * 3)
    else:
        axes.set_xlim(0, max(shown) * 1.15)
    axes.set_xlabel(unit)
    axes.set_title(f"{scenario}: {unit}", loc="left", pad=26)
    handles = [plt.Rectangle((0, 0), 1, 1, color=COLOURS[peer]) for peer in peers]
    axes.legend(handles, peers, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(peers), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return True


def main(results):
    path = pathlib.Path(results)
    report = json.loads(path.read_text())
    figures = {}
    for case in report["cases"]:
        figures.setdefault((case["scenario"], case["unit"]), []).append(case)
    scenarios = [scenario for scenario, _ in figures]
    for (scenario, unit), cases in figures.items():
        # A scenario with several units has a figure of each.
        several = scenarios.count(scenario) > 1
        words = unit.replace("/", " per ").replace(".", "_").split()
        name = "-".join([scenario, *words] if several else [scenario])
        target = path.with_name(f"{name}.png")
        if draw(scenario, unit, cases, target):
            print(target)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
