"""Which figures are compared: those of one protocol, measured while training or by `gan-lab evaluate` afterwards."""

from collections.abc import Mapping, Sequence

from gan_lab.config.ranges import is_number
from gan_lab.errors import UserError
from gan_lab.metrics.protocol import ADVICE, protocol_hash, require_same
from gan_lab.reporting.formatting import count
from gan_lab.reporting.recipes import Recipe, make_recipe
from gan_lab.reporting.runs import Run, measured_afterwards

_DRAWN = "fake_labels"
"""The entry of a protocol that says how the classes of fakes were drawn; only generators with classes have it."""


def with_later_figures(runs: Sequence[Run], metric: str | None, separate: bool) -> tuple[list[Run], list[str]]:
    """Return the runs with figures that `gan-lab evaluate` measured, where their own do not do; and a warning of that.

    That is where only later figures have the metric, or where the runs' own protocols differ and one of later
    evaluations is common to all. Sections by protocol (`separate`) need no common one.
    """
    measured = [run for run in runs if len(run.figures.steps)]
    comparable = comparable_protocols(runs)
    own = {comparable[run.protocol_id] for run in measured if run.protocol_id is not None}
    lacking = metric is not None and not any(metric in run.figures.values for run in measured)
    if not lacking and (separate or len(own) < 2):
        return list(runs), []
    ids = [row["protocol"] for run in runs for row in run.later if isinstance(row.get("protocol"), str)]
    having = {i: [run for run in measured if _has(run, i, metric)] for i in dict.fromkeys(reversed(ids))}
    best = max(having, key=lambda i: len(having[i]), default=None)
    if best is None or len(having[best]) < (1 if lacking else len(measured)):
        return list(runs), []
    taken = [run for run in having[best] if run.protocol_id != best or lacking]
    why = f"lack {metric}" if lacking else "have several protocols"
    warning = (
        f"The runs' own evaluations {why}: the figures of {count(len(taken), 'run')} are those of gan-lab evaluate, at "
        "the steps of the checkpoints that it measured."
    )
    return [measured_afterwards(run, best) if run in taken else run for run in runs], [warning]


def _has(run: Run, protocol_id: str, metric: str | None) -> bool:
    """Whether the run has figures under this protocol, with the metric if one is named."""
    if run.protocol_id == protocol_id and (metric is None or metric in run.figures.values):
        return True
    rows = [row for row in run.later if row.get("protocol") == protocol_id]
    return any(metric is None or is_number(row.get(metric)) for row in rows)


def comparable_protocols(runs: Sequence[Run]) -> dict[str | None, str]:
    """Map each protocol's hash to that of the protocol under which its figures are compared.

    It is another one for generators without classes: of runs with classes whose protocol is the same but for how the
    classes of fakes were drawn. A generator without classes has none to draw.
    """
    found: dict[str | None, str] = {run.protocol_id: run.protocol_id for run in runs if run.protocol_id is not None}
    for run in runs:
        if run.protocol_id is not None and _DRAWN in run.protocol:
            found[protocol_hash({key: value for key, value in run.protocol.items() if key != _DRAWN})] = run.protocol_id
    return found


def refuse(by_protocol: Mapping[str, list[Run]]) -> None:
    """Raise UserError that says how the protocols differ."""
    ways = "; or give protocols=separate for one section each"
    a, b = (runs[0] for runs in list(by_protocol.values())[:2])
    try:
        require_same({run.name: run.protocol for run in (a, b)})
    except UserError as error:
        raise UserError(f"{error}{ways}") from None
    raise UserError(
        f"figures of {a.name} and {b.name} cannot be compared, their protocols differ in hash: {a.protocol_id} "
        f"against {b.protocol_id}; {ADVICE}{ways}"
    )


def split(
    recipes: list[Recipe], strays: list[Run], ids: list[str], comparable: Mapping[str | None, str]
) -> dict[str | None, list[Recipe]]:
    """Split recipes by protocol. Runs without evaluations stay with their recipe; recipes of such runs come last."""

    def under(run: Run) -> str | None:
        return comparable.get(run.protocol_id)

    parts: dict[str | None, list[Recipe]] = {i: [] for i in ids}
    for recipe in recipes:
        own = [under(run) for run in recipe.runs if under(run) in parts and len(run.figures.steps)]
        for i, protocol_id in enumerate(dict.fromkeys(own or [None])):
            # One recipe under several protocols (a dataset that changed) becomes a recipe in each comparison.
            runs = [r for r in recipe.runs if under(r) == protocol_id or (i == 0 and under(r) not in own)]
            parts.setdefault(protocol_id, []).append(make_recipe(recipe.label, runs))
    if strays:
        parts.setdefault(None, [])
    return parts
