"""The data of templates/verdict.txt: what follows from the values and tests."""

from collections.abc import Mapping
from typing import Any

from gan_lab.reporting.comparison import Comparison, OverSeeds
from gan_lab.reporting.formatting import decimals_for, duration, fixed, interval, listed, p_value, span
from gan_lab.reporting.runs import FAILED
from gan_lab.reporting.statistics import MOST_SEEDS


def findings(comparison: Comparison) -> dict[str, Any]:
    """Return the data of the verdict: leader, results of its tests, seeds needed, lost runs, and leader at best."""
    metric, tests = comparison.metric, comparison.leaders_tests
    at, best = (
        {r.label: o for r in comparison.recipes if metric is not None and (o := get(r, metric)).n}
        for get in (comparison.at_step, comparison.at_best)
    )
    smallest = comparison.smallest_difference
    chosen = metric is not None and comparison.chosen_from_many(metric)
    return {
        "c": comparison,
        "leader": _described(next(iter(at)), at) if at else None,
        "alone": len(at) == 1,
        "without": [r.label for r in comparison.recipes if r.label not in at],
        "against": _against(comparison),
        "cautious": any(t.reason for t in tests if t.tested),
        "needed": _needed(comparison, None),
        "needed_for_smallest": [] if smallest is None else _needed(comparison, smallest),
        "lost": _lost(comparison),
        "best": _described(metric.leader(_means(best)), best) if metric and len(best) > 1 and chosen else None,
        "kinds": sorted({t.kind for t in tests if t.tested}),
    }


def _means(found: Mapping[str, OverSeeds]) -> dict[str, float]:
    return {label: o.mean for label, o in found.items()}


def _described(label: str, found: Mapping[str, OverSeeds]) -> dict[str, Any]:
    """Format a recipe's mean and interval, with the same decimals for all recipes."""
    decimals, o = decimals_for(_means(found).values()), found[label]
    reach = interval(o.estimate.low, o.estimate.high, decimals)
    mean, numbers = fixed(o.mean, decimals), span(k for other in found.values() for k in other.evaluations)
    if reach:
        over = f"95% interval {reach} over {o.n} seeds"
    elif o.n == 1:
        over = "from one seed, so without an interval"
    else:
        why = "too few for an interval" if o.n < o.fewest else "without spread, so without an interval"
        over = f"over {o.n} seeds, {why}"
    return {"label": label, "mean": mean, "over": over, "figure": f"{mean} {reach}".rstrip(), "of": numbers}


def _against(comparison: Comparison) -> dict[str, list[str]]:
    """Group the other recipes by the result of the leader's test against them, with difference and p value."""
    out: dict[str, list[str]] = {"sure": [], "unsure": [], "too few": [], "no spread": []}
    tests = comparison.leaders_tests
    decimals = decimals_for([abs(float(t.estimate.value)) for t in tests])
    for t in tests:
        p, e, name = p_value(t.adjusted), t.estimate, comparison.label(t.b)
        figures = f"{fixed(e.value, decimals)} {interval(e.low, e.high, decimals)}, p {p if p[0] == '<' else f'= {p}'}"
        figures += f", {t.shared}" if t.shared else ""
        if t.tested:
            out["sure" if t.significant else "unsure"].append(f"{name} ({figures})")
        else:
            out["too few" if t.too_few else "no spread"].append(name)
    return out


def _needed(comparison: Comparison, difference: float | None) -> list[tuple[str, str]]:
    """Return the seeds that a test needs against each recipe whose difference is not significant, and their time.

    The time is "" where it is not known.
    """
    out = []
    for t in comparison.leaders_tests:
        if t.tested and not t.significant:
            n = comparison.seeds_needed(t, difference)
            needed = f"over {MOST_SEEDS:,}" if n is None else f"{n:,}"
            time = None if n is None else comparison.seconds_of(t, n)
            out.append((f"{needed} against {comparison.label(t.b)}", f" ({duration(time)})" if time else ""))
    return out


def _lost(comparison: Comparison) -> list[str]:
    """Return the recipes with failed runs, which their means leave out."""
    failed = {
        r: [f"{n} {status}" for status, n in r.statuses().items() if status in FAILED] for r in comparison.recipes
    }
    return [f"{r.label} ({listed(words)} of {len(r.runs)})" for r, words in failed.items() if words]
