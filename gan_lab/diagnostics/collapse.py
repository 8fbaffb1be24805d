"""Detection of collapse and divergence from the numbers that a run logs anyway.

A state machine over the rows of train.jsonl and evaluations, without net, random numbers or clock: a resumed run
decides as an uninterrupted one would, and a run's files can be judged again afterwards.
"""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gan_lab.config.messages import nearest
from gan_lab.errors import UserError

DEFAULTS: dict[str, float] = {
    "metric_factor": 1.5,
    "metric_loss": 0.01,
    "metric_gain": 1.5,
    "metric_patience": 3,
    "progress_patience": 4,
    "progress_steps": 2000,
    "spread_factor": 0.3,
    "spread_floor": 2 / 255,
    "still_ratio": 1e-6,
    "measured_patience": 2,
    "separation": 4.0,
    "starve_factor": 0.1,
    "beaten": 3.0,
    "flat_tolerance": 1e-3,
    "vanish_factor": 0.03,
    "explode_factor": 100.0,
    "logit_limit": 1e4,
    "row_patience": 5,
    "warmup_rows": 5,
    "non_finite_patience": 3,
}
"""What `monitor.detection` overrides."""
_WHOLE = ("_patience", "_steps", "_rows")  # endings
_ABOVE_1 = ("metric_factor", "metric_gain", "explode_factor")
_BELOW_1 = ("metric_loss", "spread_factor", "still_ratio", "starve_factor", "vanish_factor")
_STATE = ("rows", "skipped", "streaks", "histories", "metric")
_SCALED = ("loss/d", "loss/g", "logits/real", "logits/fake")
_PERFECT = 0.99  # mean sign of logits that counts as all
_IMPROVES = 1.1  # times better is progress
_KEPT = 128  # values that a history keeps


@dataclass(frozen=True)
class Event:
    """Something a run should not do: when, what, how bad ("warning" or "collapse"), and the evidence."""

    step: int
    kind: str
    severity: str
    message: str
    value: float
    threshold: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON and checkpoints."""
        return asdict(self)


class Detector:
    """Watches a run: `observe` takes each row of train.jsonl, `observe_evaluation` each evaluation's chosen figure.

    Both return the events that begin there. An event is raised when its condition has held for its patience in a
    row, once: it may come again only after the condition has been absent for as long. The kinds:

    - `metric_worse` (collapse): the figure is worse than its best by `metric_factor`. The untrained G is never the
      best, since some random nets score well and the first steps make many recipes worse; a best counts once it beats
      the untrained G by `metric_gain`. More than `metric_loss` of what was gained must be lost, or a figure that
      can come near zero (KID) would be judged by its noise. Evaluations that are worse by more count for more.
    - `no_progress` (collapse): no such best yet, and the figure has not become better by a tenth since it last did.
      Evaluations worse than the untrained G by `metric_factor` count for more. Not before `progress_steps` steps.
    - `spread_lost` (collapse): the images of a fixed batch of z have come together. Their spread in features, or in
      pixels where there are none, is below `spread_factor` of its median over the measurements before; or, in pixels,
      below `spread_floor`, one grey level. That is mode collapse, whatever the losses say.
    - `not_moving` (collapse): a step changes a net by less than `still_ratio` of its norm, which fp32 hardly resolves.
    - `d_saturated` (warning): D tells all reals from all fakes: their logits have opposite signs, or their means lie
      `separation` standard deviations apart, which means the same for every loss (least squares has its fakes at 0,
      relativistic ones only look at differences). With G's gradient below `starve_factor` of its median it is
      `g_starved` (collapse).
    - `d_beaten` (collapse): fakes lie `beaten` standard deviations *above* reals. As long as D learns, even too little,
      it puts reals above; D has stopped and G has walked away from the data.
    - `d_flat` (collapse): D's logits are all the same, up to `flat_tolerance` of their size: nothing reaches G.
    - `gradient_vanished`, `gradient_exploded`: the norm of the raw gradient of a net is below `vanish_factor`, above
      `explode_factor` of its median over the rows before. A collapse for G's vanishing, which leaves it where it
      is; else a warning, since Adam forgives the scale.
    - `out_of_scale` (collapse): a mean logit or a loss is beyond `logit_limit`. Losses saturate near 1, and logits of a
      1-Lipschitz critic differ by at most the diameter of the space of images, 111 at 32 pixels and 3,547 at 1024.
    - `non_finite`: a number is not finite, or updates were skipped for that. A warning, and a collapse when it lasts.

    Patience is `metric_patience` and `progress_patience` evaluations, `measured_patience` measurements,
    `non_finite_patience` rows, else `row_patience` rows, each the mean over a log interval. Medians leave out the
    values that are held against them; those of gradients begin after `warmup_rows` rows.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """`settings` overrides DEFAULTS; UserError for an unknown key or a number that makes no sense."""
        self.settings = {**DEFAULTS, **_checked(settings)}
        self._rows = 0
        self._skipped = 0.0
        self._streaks: dict[str, list[float]] = {}  # bad in a row, good in a row, whether the event was raised
        self._histories: dict[str, dict[str, Any]] = {}
        self._metric: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """A copy, of plain values only."""
        return {name: copy.deepcopy(getattr(self, f"_{name}")) for name in _STATE}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; KeyError if something is missing."""
        for name in _STATE:
            setattr(self, f"_{name}", copy.deepcopy(state[name]))

    def observe(self, step: int, values: Mapping[str, float | None]) -> list[Event]:
        """The events that a row of train.jsonl begins. None stands for a number that was not finite."""
        self._rows += 1
        row = {k: float(v) for k, v in values.items() if v is not None and math.isfinite(v)}
        events = self._non_finite(step, values, row)
        ratios = {side: self._gradient(step, side, row, events) for side in ("d", "g")}
        return [*events, *self._logits(step, row, ratios["g"]), *self._measured(step, row)]

    def observe_evaluation(
        self, step: int, figure: float, lower_is_better: bool, name: str, identity: str = ""
    ) -> list[Event]:
        """The events that an evaluation begins; at step 0 it is of the untrained G, and only remembered.

        identity: what figures can be compared within (protocol and dataset); with another one, all begins anew.
        """
        s, sign = self.settings, 1.0 if lower_is_better else -1.0
        if (self._metric.get("name"), self._metric.get("identity", identity)) != (name, identity):
            self._metric = dict.fromkeys(("untrained", "best", "anchor"))
        self._metric |= {"name": name, "identity": identity}
        if not math.isfinite(figure):
            return self._judge(step, f"non_finite {name}", "collapse", True, 1, figure, 0.0, f"{name} is not finite")
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
        return self._judge(
            step, "metric_worse", "collapse", 0.0 if kept else _weight(ratio, s["metric_factor"], patience), patience,
            figure, best * s["metric_factor"] ** sign,
            f"{name} is {figure:.4g}, {ratio:.2f} times worse than its best, {best:.4g}, and not for the first time",
        )  # fmt: skip

    def _progress(self, step: int, figure: float, sign: float) -> list[Event]:
        """Judges an evaluation as long as no best counts."""
        s, state, patience = self.settings, self._metric, self.settings["progress_patience"]
        untrained, anchor = state["untrained"], state["anchor"]
        if anchor is None or _ratio(anchor, figure, sign) >= _IMPROVES:
            state["anchor"] = figure
        stalled = anchor is not None and state["anchor"] == anchor and step >= s["progress_steps"]
        weight = max(1.0, _weight(_ratio(figure, untrained, sign), s["metric_factor"], patience))
        return self._judge(
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
            *self._judge(step, "non_finite", "warning", number > 0, 1, number, 0.0, text),
            *self._judge(step, "non_finite", "collapse", number > 0, patience, number, 0.0, text),
        ]

    def _gradient(self, step: int, side: str, row: Mapping[str, float], events: list[Event]) -> float:
        """This row's gradient norm over its median so far (1 where there is none yet); events go into the list."""
        key, s = f"grad_norm/{side}", self.settings
        if key not in row or self._rows <= s["warmup_rows"]:
            return 1.0
        norm, median = row[key], self._median(key) or 0.0
        ratio = norm / median if median > 0 else 1.0
        vanished, exploded = norm == 0.0 or ratio < s["vanish_factor"], ratio > s["explode_factor"]
        if not (vanished or exploded):
            self._remember(key, norm)
        text = f"the gradient norm of {side.upper()} is {norm:.3g}, its median so far {median:.3g}"
        for kind, bad, severity, factor in (
            ("gradient_vanished", vanished, "collapse" if side == "g" else "warning", s["vanish_factor"]),
            ("gradient_exploded", exploded, "warning", s["explode_factor"]),
        ):
            events += self._judge(step, f"{kind} {side}", severity, bad, s["row_patience"], norm, median * factor, text)
        return ratio

    def _logits(self, step: int, row: Mapping[str, float], g_ratio: float) -> list[Event]:
        s, k = self.settings, self.settings["row_patience"]
        largest = max((abs(row[name]) for name in _SCALED if name in row), default=0.0)
        far, text = largest > s["logit_limit"], f"a loss or logit of {largest:.3g} has left the scale of its loss"
        events = self._judge(step, "out_of_scale", "collapse", far, k, largest, s["logit_limit"], text)
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
            *self._judge(step, "d_saturated", "warning", saturated, k, apart, s["separation"],
                         f"{text}, their mean signs {2 * signs:.2f}"),
            *self._judge(step, "g_starved", "collapse", starved, k, g_ratio, s["starve_factor"],
                         f"{text} and G's gradient norm is {g_ratio:.2g} of its median"),
            *self._judge(step, "d_beaten", "collapse", apart < -s["beaten"], k, apart, -s["beaten"],
                         f"D puts fakes {-apart:.1f} standard deviations above reals"),
            *self._judge(step, "d_flat", "collapse", flat, k, max(abs(gap), pooled), s["flat_tolerance"] * size,
                         f"D gives every image the logit {row['logits/real']:.4g}"),
        ]  # fmt: skip

    def _measured(self, step: int, row: Mapping[str, float]) -> list[Event]:
        s, k, events = self.settings, self.settings["measured_patience"], []
        for side in (side for side in ("d", "g") if f"update_ratio/{side}" in row):
            ratio, limit = row[f"update_ratio/{side}"], s["still_ratio"]
            text = f"a step changes {side.upper()} by {ratio:.2g} of its norm only"
            events += self._judge(step, f"not_moving {side}", "collapse", ratio < limit, k, ratio, limit, text)
        key = "spread/features" if "spread/features" in row else "spread/pixels"
        if key not in row:
            return events
        spread, pixels, median = row[key], row.get("spread/pixels", math.inf), self._median(key) or 0.0
        share = s["spread_factor"] * median
        lost = spread < share or pixels < s["spread_floor"]
        if not lost:
            self._remember(key, spread)
        value, limit = (spread, share) if spread < share else (pixels, s["spread_floor"])
        text = f"the images of fixed z have come together: {key} is {spread:.3g}, its median so far {median:.3g}"
        return events + self._judge(step, "spread_lost", "collapse", lost, k, value, limit, text)

    def _judge(
        self, step: int, kind: str, severity: str, bad: float, patience: float, value: float, limit: float, text: str
    ) -> list[Event]:
        """Count one observation, a bad one by its weight; the event, if an episode of `kind` (one word) begins here."""
        streak = self._streaks.setdefault(f"{kind} {severity}", [0, 0, 0])
        streak[0], streak[1] = (streak[0] + bad, 0) if bad else (0, streak[1] + 1)
        if streak[1] >= patience:
            streak[2] = 0
        if streak[0] < patience or streak[2]:
            return []
        streak[2] = 1
        return [Event(step, kind.split()[0], severity, text, value, limit)]

    def _median(self, key: str) -> float | None:
        history = self._histories.get(key)
        return statistics.median(history["values"]) if history else None

    def _remember(self, key: str, value: float) -> None:
        """Add to a history that keeps at most _KEPT values, evenly over the whole run: full, it drops every second."""
        history = self._histories.setdefault(key, {"values": [], "every": 1, "seen": 0})
        if history["seen"] % history["every"] == 0:
            history["values"].append(value)
        history["seen"] += 1
        if len(history["values"]) > _KEPT:
            history["values"], history["every"] = history["values"][::2], 2 * history["every"]


def _ratio(figure: float, reference: float, sign: float) -> float:
    """How many times worse a figure is than a reference (below 1: better); sign 1 where lower is better, else -1.

    Nothing is a multiple of zero or less, which KID can be: then it is infinitely worse or, with 0, not worse.
    """
    small, large = (reference, figure) if sign > 0 else (figure, reference)
    if min(small, large) > 0:
        return large / small
    return math.inf if large > small else 0.0


def _weight(ratio: float, factor: float, patience: float) -> float:
    """What an evaluation `ratio` times worse counts for: 0 below `factor`, 1 at it, 2 at its square.

    Half of the patience is the most, so that no single evaluation decides.
    """
    if ratio < factor * (1 - 1e-12):
        return 0.0
    return max(1.0, min(math.log(ratio, factor) if ratio < math.inf else 1.0, patience / 2))


def _checked(settings: Mapping[str, Any]) -> dict[str, float]:
    for name, number in settings.items():
        key = f"monitor.detection.{name}"
        if name not in DEFAULTS:
            raise UserError(f"unknown key '{key}'{nearest(name, DEFAULTS)}")
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not (0 < number < math.inf):
            raise UserError(f"{key}={number!r}: must be a number above 0")
        if name.endswith(_WHOLE) and number != int(number):
            raise UserError(f"{key}={number!r}: must be a whole number")
        if (name in _ABOVE_1 and number <= 1) or (name in _BELOW_1 and number >= 1):
            raise UserError(f"{key}={number!r}: must be {'above' if name in _ABOVE_1 else 'below'} 1")
    return {name: float(number) for name, number in settings.items()}
