"""What the figures and tests allow to say, in plain sentences."""

from __future__ import annotations

import dataclasses

from gan_lab.report.groups import Recipe
from gan_lab.report.numbers import count, decimals_for, fixed, listed, p_value
from gan_lab.report.runs import FAILED
from gan_lab.report.sections import Section
from gan_lab.report.statistics import FEWEST_TO_TEST, FEWEST_TO_TRUST, Comparison, Estimate

ALPHA = 0.05
_MOST_NAMED = 6


def verdict(section: Section) -> list[str]:
    """Sentences, the main one first."""
    metric = section.metric
    if metric is None or section.step is None:
        return ["No run has been evaluated yet: there are no figures to compare."]
    with_figures = [r for r in section.recipes if section.at_step(r, metric).n]
    if not with_figures:
        return [f"No run that counts has {metric} at step {section.step:,}: there is nothing to compare."]
    found = of_leader(section)
    return [
        _leader(section, with_figures, metric),
        *_tested(section, [c for c in found if c.tested]),
        *_untested(section, [c for c in found if not c.tested], len(found)),
        *_failures(section),
        *_best(section, with_figures, metric),
        *_method(section, [c for c in found if c.tested]),
    ]


def of_leader(section: Section) -> list[Comparison]:
    """The comparisons of the first recipe with each other one, turned so that the leader is `a`."""
    return [c if c.a == 0 else turned(c) for c in section.comparisons if 0 in (c.a, c.b)]


def turned(c: Comparison) -> Comparison:
    """The same comparison seen from b."""
    e = c.estimate
    return dataclasses.replace(c, a=c.b, b=c.a, estimate=Estimate(-e.value, e.error, e.df, -e.high, -e.low, e.p))


def interval(estimate: Estimate, decimals: int) -> str:
    """`[low, high]`, or nothing where one value has none."""
    if estimate.low != estimate.low:
        return ""
    return f"[{fixed(estimate.low, decimals)}, {fixed(estimate.high, decimals)}]"


def _leader(section: Section, recipes: list[Recipe], metric: str) -> str:
    first = section.at_step(recipes[0], metric)
    decimals = decimals_for([section.at_step(r, metric).mean for r in recipes])
    reach = interval(first.estimate, decimals)
    spread = f", 95% interval {reach} over {first.n} seeds" if reach else ", from one seed, so without an interval"
    figure = f"{fixed(first.mean, decimals)}{spread}"
    if len(recipes) == 1:
        return f"{recipes[0].label} has {metric} {figure}, at step {section.step:,}. There is no other recipe."
    word = "lowest" if section.lower_is_better(metric) else "highest"
    return f"{recipes[0].label} has the {word} mean {metric} at step {section.step:,}: {figure}."


def _tested(section: Section, tested: list[Comparison]) -> list[str]:
    """What the leader's tests say."""
    decimals = decimals_for([abs(float(c.estimate.value)) for c in tested])

    def told(c: Comparison) -> str:
        p = p_value(c.adjusted)
        figures = f"{fixed(c.estimate.value, decimals)} {interval(c.estimate, decimals)}"
        return f"{_other(section, c)} ({figures}, p {p if p.startswith('<') else f'= {p}'})"

    sure = [told(c) for c in tested if _is_sure(c)]
    unsure = [told(c) for c in tested if not _is_sure(c)]
    out = []
    if sure:
        out.append(f"Distinguishable from {_some(sure)}: the difference is more than seeds explain.")
    if unsure:
        out.append(f"Not distinguishable from {_some(unsure)}: no difference can be claimed.")
    return out


def _is_sure(c: Comparison) -> bool:
    return c.adjusted is not None and c.adjusted < ALPHA


def _other(section: Section, c: Comparison) -> str:
    return section.recipes[c.b].label  # type: ignore[call-overload, no-any-return]


def _some(names: list[str]) -> str:
    """The first few, and how many more."""
    rest = len(names) - _MOST_NAMED
    return listed(names[:_MOST_NAMED] + ([f"{rest} more"] if rest > 0 else []))


def _untested(section: Section, skipped: list[Comparison], total: int) -> list[str]:
    """Which comparisons were not tested, and why."""
    out = []
    too_few = [c for c in skipped if c.too_few]
    if too_few:
        whom = "" if len(too_few) == total else f" against {_some([_other(section, c) for c in too_few])}"
        out.append(
            f"Too few seeds to test{whom}: a test needs at least {FEWEST_TO_TEST} per recipe, so no difference can be "
            "claimed there and the order may be chance."
        )
    flat = [_other(section, c) for c in skipped if not c.too_few]
    if flat:
        out.append(f"No test is defined against {_some(flat)}: there is no spread over seeds at all.")
    return out


def _method(section: Section, tested: list[Comparison]) -> list[str]:
    """How was tested, and how far to trust it."""
    if not tested:
        return []
    how = {"paired": "paired by seed", "welch": "Welch"}
    kinds = " and ".join(how[kind] for kind in sorted({c.kind for c in tested}))
    family = sum(c.tested for c in section.comparisons)
    out = [
        f"Tests: t, {kinds}, two-sided; p adjusted by Holm over {count(family, 'comparison')}, intervals for each "
        "difference by itself."
    ]
    if any(c.reason for c in tested):
        out.insert(
            0,
            f"Fewer than {FEWEST_TO_TRUST} seeds: intervals are wide and normality cannot be checked, so take this as "
            "a lead, not a ranking.",
        )
    return out


def _best(section: Section, recipes: list[Recipe], metric: str) -> list[str]:
    """Who leads when every run is taken at its best evaluation."""
    if len(recipes) < 2:
        return []
    cells = {r.label: section.at_best(r, metric) for r in recipes}
    choose = min if section.lower_is_better(metric) else max
    leader = choose(cells, key=lambda label: cells[label].mean)
    cell = cells[leader]
    decimals = decimals_for([c.mean for c in cells.values()])
    numbers = sorted({k for c in cells.values() for k in c.evaluations})
    span = str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    same = "it leads, too" if leader == recipes[0].label else f"{leader} leads"
    return [
        f"With every run at its best of {span} evaluations, {same}: {fixed(cell.mean, decimals)} "
        f"{interval(cell.estimate, decimals)}".rstrip()
        + "; a best of many is flattering and is not tested."
    ]


def _failures(section: Section) -> list[str]:
    """Recipes that lost runs; their means are of the survivors."""
    told = []
    for recipe in section.recipes:
        failed = {s: n for s, n in recipe.statuses().items() if s in FAILED}
        if failed:
            ends = listed([f"{n} {s}" for s, n in failed.items()])
            told.append(f"{recipe.label} ({ends} of {len(recipe.runs)})")
    if not told:
        return []
    return [f"Runs were lost: {_some(told)}. A failed run has no final figure, so these means are of the survivors."]
