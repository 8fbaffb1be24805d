"""Detect collapse and divergence from the rows of train.jsonl and the evaluations, and from nothing else.

So a resumed run raises the same events as an uninterrupted one, and files can be checked again later.
"""

import copy
import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gan_lab.diagnostics.advice import advise
from gan_lab.diagnostics.thresholds import DEFAULTS, checked

_STATE = ("rows", "skipped", "streaks", "histories", "metric", "rates")
_EARLIER: dict[str, Any] = {"rates": {}}  # what states of earlier versions lack
_SCALED = ("loss/d", "loss/g", "logits/real", "logits/fake")
_PERFECT = 0.99  # a mean sign of logits above it counts as 1
_IMPROVES = 1.1  # a figure better by this factor counts as progress
_KEPT = 128  # the most values in a history


@dataclass(frozen=True)
class Event:
    """A sign of instability: what happened and what to try (message), and the value that passed a threshold."""

    step: int
    kind: str
    severity: str  # "warning" or "collapse"
    message: str
    value: float
    threshold: float

    def as_dict(self) -> dict[str, Any]:
        """Convert to plain values, for JSON and checkpoints."""
        return asdict(self)

    def markdown(self) -> str:
        """The line that TensorBoard shows."""
        return f"**{self.kind}** ({self.severity}): {self.message}"


class Detector:
    """Watch a run: `observe` takes each row of train.jsonl, `observe_evaluation` the chosen figure of each evaluation.

    Both return new events. A condition raises its event once it has held for `patience` observations in a row. It can
    raise it again only after it has been absent for as many. The kinds of events:

    - `metric_worse` (collapse): the figure is worse than its best by `metric_factor`. A best counts only if it beats
      the untrained G by `metric_gain`: some untrained nets score well, and the first steps make many recipes worse. The
      loss must exceed `metric_loss` of the gain, so that noise of a figure near zero (KID) raises nothing.
    - `no_progress` (collapse): after `progress_steps` steps there is no such best, and no progress by a tenth.
    - `spread_lost` (collapse): the images of fixed z have become alike (mode collapse). Their spread in features, else
      in pixels, is below `spread_factor` of its median so far, or in pixels below `spread_floor` (one grey level).
    - `not_moving` (collapse): a step changes a net by less than `still_ratio` of its norm, near the resolution of fp32.
      The limit falls with both learning rates. Below `still_ratio` of the largest so far, or where the net's own is 0,
      nothing is said. Or D's gradient is exactly zero for 2 `row_patience` rows.
    - `d_saturated` (warning): D separates all reals from all fakes: their logits have opposite signs, or their means
      differ by `separation` standard deviations. The latter also holds for least squares and relativistic losses.
    - `g_starved` (collapse): `d_saturated`, and G's gradient norm is below `starve_factor` of its median.
    - `d_beaten` (collapse): the mean logit of fakes is `beaten` standard deviations *above* that of reals.
    - `d_flat` (collapse): all logits of D are equal, up to `flat_tolerance` of their size, so G gets no signal.
    - `gradient_vanished`, `gradient_exploded`: the norm of a net's raw gradient is below `vanish_factor`, or above
      `explode_factor`, of its median so far. A vanished gradient of G is a collapse; the others are warnings, since
      Adam is invariant to the scale.
    - `out_of_scale` (collapse): a mean logit or a loss exceeds `logit_limit`. Losses saturate near 1, and logits of a
      1-Lipschitz critic differ by at most the diameter of the image space, 111 at 32 pixels and 3,547 at 1024.
    - `non_finite`: a number is not finite, or updates were skipped for that. A warning; a collapse if it persists.

    Patience is `metric_patience` and `progress_patience` evaluations, `measured_patience` measurements,
    `non_finite_patience` rows, and else `row_patience` rows (means over a log interval). An evaluation that is worse by
    more than `metric_factor` (for `no_progress`: than the untrained G) counts more, up to half the patience. Medians
    exclude values that failed their check. Those of gradients start after `warmup_rows` rows.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """settings: overrides of DEFAULTS. UserError for an unknown key or a value out of range."""
        self.settings = {**DEFAULTS, **checked(settings)}
        self._rows = 0
        self._skipped = 0.0
        self._streaks: dict[str, list[float]] = {}  # bad, good in a row; event raised
        self._histories: dict[str, dict[str, Any]] = {}
        self._metric: dict[str, Any] = {}
        self._rates: dict[str, float] = {}  # the largest so far

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the state, as plain values."""
        return {name: copy.deepcopy(getattr(self, f"_{name}")) for name in _STATE}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a `state_dict`. KeyError if something is missing."""
        for name in _STATE:
            setattr(self, f"_{name}", copy.deepcopy({**_EARLIER, **state}[name]))

    def observe(self, step: int, values: Mapping[str, float | None]) -> list[Event]:
        """Return new events for a row of train.jsonl, in which None stands for a value that was not finite."""
        self._rows += 1
        row = {k: float(v) for k, v in values.items() if v is not None and math.isfinite(v)}
        events = self._non_finite(step, values, row)
        ratios = {side: self._gradient(step, side, row, events) for side in ("d", "g")}
        return [*events, *self._logits(step, row, ratios["g"]), *self._measured(step, row)]

    def observe_evaluation(
        self, step: int, figure: float, lower_is_better: bool, name: str, identity: str = ""
    ) -> list[Event]:
        """Return new events for an evaluation. At step 0 it is of the untrained G, and only stored.

        identity: protocol and dataset; a change resets what is known of the figure.
        """
        s, sign = self.settings, 1.0 if lower_is_better else -1.0
        if (self._metric.get("name"), self._metric.get("identity", identity)) != (name, identity):
            self._metric = dict.fromkeys(("untrained", "best", "anchor"))
        self._metric |= {"name": name, "identity": identity}
        if not math.isfinite(figure):
            return self._track(step, f"non_finite {name}", "collapse", True, 1, figure, 0.0, f"{name} is not finite")
        untrained, best = self._metric["untrained"], self._metric["best"]
        if step == 0:
            self._metric["untrained"] = figure
            return []
        if best is None or sign * figure < sign * best:
            self._metric["best"] = figure
        if best is None or (untrained is not None and _ratio(untrained, best, sign) < s["metric_gain"]):
            return [] if untrained is None else self._progress(step, figure, sign)
        ratio, patience = _ratio(figure, best, sign), s["metric_patience"]
        kept = untrained is not None and sign * (figure - best) <= s["metric_loss"] * abs(untrained - best)
        return self._track(
            step, "metric_worse", "collapse", 0.0 if kept else _weight(ratio, s["metric_factor"], patience), patience,
            figure, best * s["metric_factor"] ** sign,
            f"{name} is {figure:.4g}, {ratio:.2f} times worse than its best, {best:.4g}, and not for the first time",
        )  # fmt: skip

    def _progress(self, step: int, figure: float, sign: float) -> list[Event]:
        """Check for progress as long as no best counts."""
        s, state, patience = self.settings, self._metric, self.settings["progress_patience"]
        untrained, anchor = state["untrained"], state["anchor"]
        if anchor is None or _ratio(anchor, figure, sign) >= _IMPROVES:
            state["anchor"] = figure
        stalled = anchor is not None and state["anchor"] == anchor and step >= s["progress_steps"]
        weight = max(1.0, _weight(_ratio(figure, untrained, sign), s["metric_factor"], patience))
        return self._track(
            step, "no_progress", "collapse", weight if stalled else 0.0, patience, figure,
            untrained / s["metric_gain"] ** sign,
            f"{state['name']} is {figure:.4g}, of the untrained G it was {untrained:.4g}, and it does not get better",
        )  # fmt: skip

    def _non_finite(self, step: int, values: Mapping[str, float | None], row: Mapping[str, float]) -> list[Event]:
        names, skipped = [name for name in values if name not in row], row.get("skipped_updates", self._skipped)
        new, self._skipped = max(skipped - self._skipped, 0.0), skipped
        text = f"not finite: {', '.join(names) or 'gradients'}; {new:.0f} updates skipped"
        number, patience = len(names) + new, self.settings["non_finite_patience"]
        return [
            *self._track(step, "non_finite", "warning", number > 0, 1, number, 0.0, text),
            *self._track(step, "non_finite", "collapse", number > 0, patience, number, 0.0, text),
        ]

    def _gradient(self, step: int, side: str, row: Mapping[str, float], events: list[Event]) -> float:
        """Return this row's gradient norm over its median so far (1 without a median). Appends to `events`."""
        key, s = f"grad_norm/{side}", self.settings
        if key not in row or self._rows <= s["warmup_rows"]:
            return 1.0
        norm, median = row[key], self._median(key)
        ratio = norm / median if median > 0 else 1.0
        vanished, exploded = norm == 0.0 or ratio < s["vanish_factor"], ratio > s["explode_factor"]
        if not (vanished or exploded):
            self._remember(key, norm)
        text = f"the gradient norm of {side.upper()} is {norm:.3g}, its median so far {median:.3g}"
        for kind, bad, severity, factor in (
            ("gradient_vanished", vanished, "collapse" if side == "g" else "warning", s["vanish_factor"]),
            ("gradient_exploded", exploded, "warning", s["explode_factor"]),
        ):
            events += self._track(step, f"{kind} {side}", severity, bad, s["row_patience"], norm, median * factor, text)
        return ratio

    def _logits(self, step: int, row: Mapping[str, float], g_ratio: float) -> list[Event]:
        s, k = self.settings, self.settings["row_patience"]
        largest = max((abs(row[name]) for name in _SCALED if name in row), default=0.0)
        far, text = largest > s["logit_limit"], f"a loss or logit of {largest:.3g} has left the scale of its loss"
        events = self._track(step, "out_of_scale", "collapse", far, k, largest, s["logit_limit"], text)
        if not row.keys() >= {"logits/real", "logits/fake", "logits/real_std", "logits/fake_std"}:
            return events
        gap = row["logits/real"] - row["logits/fake"]
        size = max(abs(row["logits/real"]), abs(row["logits/fake"]))
        pooled = math.hypot(row["logits/real_std"], row["logits/fake_std"]) / math.sqrt(2)
        flat = max(abs(gap), pooled) <= s["flat_tolerance"] * size
        apart = gap / pooled if pooled > 0 and not flat else 0.0  # none within a batch of one image
        signs = 0.5 * (row.get("logits/real_sign", 0.0) - row.get("logits/fake_sign", 0.0))
        saturated = apart > s["separation"] or signs > _PERFECT
        starved = saturated and g_ratio < s["starve_factor"]
        text = f"D's logits of reals and fakes lie {apart:.1f} standard deviations apart"
        return [
            *events,
            *self._track(step, "d_saturated", "warning", saturated, k, apart, s["separation"],
                         f"{text}, their mean signs {2 * signs:.2f}"),
            *self._track(step, "g_starved", "collapse", starved, k, g_ratio, s["starve_factor"],
                         f"{text} and G's gradient norm is {g_ratio:.2g} of its median"),
            *self._track(step, "d_beaten", "collapse", apart < -s["beaten"], k, apart, -s["beaten"],
                         f"D puts fakes {-apart:.1f} standard deviations above reals"),
            *self._track(step, "d_flat", "collapse", flat, k, max(abs(gap), pooled), s["flat_tolerance"] * size,
                         f"D gives every image the logit {row['logits/real']:.4g}"),
        ]  # fmt: skip

    def _still(self, step: int, row: Mapping[str, float]) -> list[Event]:
        s, events, share = self.settings, [], self._share_of_rates(row)
        for side in ("d", "g"):
            ratio, limit = row.get(f"update_ratio/{side}"), s["still_ratio"] * share
            if ratio is None or share <= s["still_ratio"] or row.get(f"lr/{side}") == 0:
                continue
            text, kind = f"a step changes {side.upper()} by {ratio:.2g} of its norm only", f"not_moving {side}"
            events += self._track(step, kind, "collapse", ratio < limit, s["measured_patience"], ratio, limit, text)
        if "grad_norm/d" in row:  # G's is a collapse already when it vanishes
            zero, text = row["grad_norm/d"] == 0, "the gradient of D is exactly zero, row after row"
            events += self._track(step, "not_moving zero", "collapse", zero, 2 * s["row_patience"], 0.0, 0.0, text)
        return events

    def _share_of_rates(self, row: Mapping[str, float]) -> float:
        """Return what is left of the largest learning rates so far: that of the net whose rate has fallen least.

        A schedule that ends at 0 lowers both; one net that is frozen while the other trains on is a fault.
        """
        rates = {key: row[key] for key in ("lr/d", "lr/g") if key in row}
        self._rates |= {key: max(rate, self._rates.get(key, 0.0)) for key, rate in rates.items()}
        return max((rate / (self._rates[key] or 1.0) for key, rate in rates.items()), default=1.0)

    def _measured(self, step: int, row: Mapping[str, float]) -> list[Event]:
        s, k, events = self.settings, self.settings["measured_patience"], self._still(step, row)
        key = "spread/features" if "spread/features" in row else "spread/pixels"
        if key not in row:
            return events
        spread, pixels, median = row[key], row.get("spread/pixels", math.inf), self._median(key)
        share = s["spread_factor"] * median
        value, limit = (spread, share) if spread < share else (pixels, s["spread_floor"])
        if not (lost := value < limit):
            self._remember(key, spread)
        text = f"the images of fixed z have come together: {key} is {spread:.3g}, its median so far {median:.3g}"
        return events + self._track(step, "spread_lost", "collapse", lost, k, value, limit, text)

    def _track(
        self, step: int, kind: str, severity: str, bad: float, patience: float, value: float, limit: float, text: str
    ) -> list[Event]:
        """Count one observation of `kind`. bad: its weight, 0 if all is well. Returns the event if one starts here."""
        streak = self._streaks.setdefault(f"{kind} {severity}", [0, 0, 0])
        streak[0], streak[1] = (streak[0] + bad, 0) if bad else (0, streak[1] + 1)
        if streak[1] >= patience:
            streak[2] = 0
        if streak[0] < patience or streak[2]:
            return []
        streak[2] = 1
        return [Event(step, kind.split()[0], severity, f"{text}; {advise(kind.split()[0])}", value, limit)]

    def _median(self, key: str) -> float:
        """Return the median of a history, 0 if there is none."""
        return statistics.median(self._histories[key]["values"]) if key in self._histories else 0.0

    def _remember(self, key: str, value: float) -> None:
        """Add to a history of at most _KEPT values, evenly spaced over the run: a full one drops every second value."""
        history = self._histories.setdefault(key, {"values": [], "every": 1, "seen": 0})
        if history["seen"] % history["every"] == 0:
            history["values"].append(value)
        history["seen"] += 1
        if len(history["values"]) > _KEPT:
            history["values"], history["every"] = history["values"][::2], 2 * history["every"]


def _ratio(figure: float, reference: float, sign: float) -> float:
    """Return how many times worse a figure is than a reference (below 1: better). sign: 1 if lower is better, else -1.

    If one of them is 0 or negative, as KID can be, return infinity for worse and 0 for not worse.
    """
    small, large = (reference, figure) if sign > 0 else (figure, reference)
    if min(small, large) > 0:
        return large / small
    return math.inf if large > small else 0.0


def _weight(ratio: float, factor: float, patience: float) -> float:
    """Return the weight of an evaluation that is `ratio` times worse: 0 below `factor`, 1 at it, 2 at its square.

    It is at most half of the patience, so that no single evaluation decides.
    """
    if ratio < factor * (1 - 1e-12):
        return 0.0
    return max(1.0, min(math.log(ratio, factor) if ratio < math.inf else 1.0, patience / 2))
