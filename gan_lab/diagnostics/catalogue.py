"""The catalogue of diagnostics: what every scalar in train.jsonl means, when it is written, and how it is drawn.

The charts of TensorBoard, of the report and of `plot-stability`, and the table in docs/stability.md, are made from it.
`python -m scripts.docs.reference` updates the table.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

ROW_KEYS = ("step", "images_seen", "wall_seconds")
"""What every row of train.jsonl and metrics.jsonl begins with: when it was written, no measurement."""
_PLACEHOLDERS = {"net": "[dg]", "layer": "(?!joint$).+", "name": ".+"}
_WHEN = ("all", "light", "full", "report")
Limits = tuple[float | None, float | None]


@dataclass(frozen=True)
class Diagnostic:
    """A scalar of train.jsonl, or a family of scalars: one per net, layer or name.

    key: for a family it contains `{net}` (d or g), `{layer}` or `{name}`.
    formula: in words or plain mathematics.
    panel: title of its chart, which shows all diagnostics with this panel; the key if empty.
    section: heading over the chart.
    source: arXiv id, and equation or section.
    when: "all" (in every row), "light" (in rows with diagnostics), "full" (these, with monitor=full only), or "report"
        (computed by the report).
    limits: smallest and largest possible value, each None if there is none; None if unknown.
    log: whether the axis is logarithmic; None: the report decides by the values.
    label: name in a legend.
    beside: the key that this one is a reference line for.

    Raises ValueError for a field of the wrong type.
    """

    key: str
    formula: str
    panel: str = ""
    section: str = "Other"
    source: str = ""
    when: str = "light"
    limits: Limits | None = None
    log: bool | None = None
    label: str = ""
    beside: str = ""

    def __post_init__(self) -> None:
        for name in ("key", "formula", "panel", "section", "source", "label", "beside"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"a diagnostic's {name} must be a string, got {getattr(self, name)!r}")
        if not self.key:
            raise ValueError("a diagnostic needs a key")
        if self.when not in _WHEN:
            raise ValueError(f"{self.key}: when must be one of {', '.join(_WHEN)}, got {self.when!r}")
        if not (self.log is None or isinstance(self.log, bool)):
            raise ValueError(f"{self.key}: log must be True, False or None, got {self.log!r}")
        if self.limits is not None:
            object.__setattr__(self, "limits", _checked_limits(self.key, self.limits))

    @property
    def title(self) -> str:
        """The title of its chart."""
        return self.panel or self.key

    @property
    def pattern(self) -> str:
        """A regular expression that matches its keys."""
        parts = re.split(r"\{(net|layer|name)\}", self.key)
        return "".join(f"({_PLACEHOLDERS[part]})" if i % 2 else re.escape(part) for i, part in enumerate(parts))

    def matches(self, key: str) -> bool:
        """Return whether `key` is its key, or one of its family."""
        return re.fullmatch(self.pattern, key) is not None


def _checked_limits(key: str, limits: Any) -> Limits:
    ends = tuple(limits) if isinstance(limits, (list, tuple)) else ()
    known = [end for end in ends if end is not None]
    if len(ends) != 2 or any(isinstance(end, bool) or not isinstance(end, (int, float)) for end in known):
        raise ValueError(f"{key}: limits must be two numbers (None: no limit) or None, got {limits!r}")
    low, high = (None if end is None or math.isinf(end) else end for end in ends)
    return low, high


ANY, POSITIVE, SHARE, SIGN = (None, None), (0, None), (0, 1), (-1, 1)
_LOSSES, _GRADIENTS, _SPECTRA = "Losses and logits", "Gradients", "Spectra and variance"
_SPECTRAL_NORM, _BSN, _ADA = "arXiv:1802.05957, algorithm 1", "arXiv:2009.02773", "arXiv:2006.06676, equation 1"

_logits = partial(Diagnostic, panel="Logits of D", section=_LOSSES, limits=ANY)
_signs = partial(Diagnostic, panel="Signs of logits", section=_LOSSES, limits=SIGN)
_deviations = partial(Diagnostic, panel="Standard deviations of logits", section=_LOSSES, limits=POSITIVE)
_norms = partial(Diagnostic, panel="Gradient norms", section=_GRADIENTS, limits=POSITIVE)
_of_loss = partial(Diagnostic, panel="Gradient of D's loss", section=_GRADIENTS, limits=POSITIVE)
_variance = partial(Diagnostic, panel="Variance of effective weights", section=_SPECTRA, source=f"{_BSN}, figure 5",
                    when="full", limits=POSITIVE)  # fmt: skip
_reference = partial(_variance, beside="variance/{layer}")

CATALOGUE: tuple[Diagnostic, ...] = (
    Diagnostic("loss/{net}", "loss of the net without its penalties; comparable under one loss only", "Losses",
               _LOSSES, when="all", limits=ANY, log=False),
    _logits("logits/gap", "`logits/real` - `logits/fake`", when="report", log=False),
    _logits("logits/real", "mean D(x) of the batches that D trains on", when="all"),
    _logits("logits/fake", "mean D(G(z)) of these batches", when="all"),
    _logits("logits/held_out", "mean D(x) of up to 256 images of the test split"),
    _logits("logits/overfit_gap", "mean D(x) of as many training images, minus `logits/held_out`: grows as D "
            "memorizes; the numerator of r_v", source=_ADA),
    _signs("logits/real_sign", "mean sign of D(x); r_t of ADA", source=_ADA, when="all", log=False),
    _signs("logits/fake_sign", "mean sign of D(G(z))", when="all"),
    _signs("logits/held_out_sign", "mean sign of D(x) on the images of `logits/held_out`"),
    _deviations("logits/real_std", "standard deviation of D(x) within a batch", when="all"),
    _deviations("logits/fake_std", "standard deviation of D(G(z)) within a batch", when="all"),
    Diagnostic("penalty/{name}", "the penalty before its weight, mean over the updates that it is part of", "Penalties",
               _LOSSES, when="all"),
    _norms("grad_norm/{net}", "norm of the gradient that the optimizer is given, penalties included", when="all"),
    _norms("grad/g/joint", "norm of the gradients that this step left in G, penalties included"),
    _of_loss("grad/effective/joint", "|d loss_D / dW| over all layers, without penalties, on this step's reals "
             "and new fakes", source=f"{_BSN}, figure 4", label="effective weights"),
    _of_loss("grad/raw/joint", "the same with respect to what is trained in W's place", label="raw weights"),
    _of_loss("grad/input", "mean over images of |d (an image's own term of loss_D) / dx|",
             label="input (mean over images)"),
    _of_loss("grad/bound", "(mean |x| + mean |G(z)|) sqrt(L) c^(L-1), c the norm's scale: bounds "
             "`grad/effective/joint` of fully connected nets without biases and of spectral norms c, under losses "
             "of slopes up to 1; a line to compare with for convolutions", source=f"{_BSN}, on exploding gradients",
             label="bound for the effective weights", beside="grad/effective/joint"),
    Diagnostic("grad/effective/{layer}", "`grad/effective/joint` by layer", "Gradient of D by effective weights",
               _GRADIENTS, f"{_BSN}, figure 4", "full", POSITIVE, label="effective weight"),
    Diagnostic("grad/raw/{layer}", "`grad/raw/joint` by layer", "Gradient of D by raw weights", _GRADIENTS,
               when="full", limits=POSITIVE, label="raw weight"),
    Diagnostic("update_ratio/{net}", "|w after the step - w before| / |w before| over all parameters, all D "
               "updates of the step in one; left out if a net without a gradient stood still", "Update over weight",
               _GRADIENTS, limits=POSITIVE),
    Diagnostic("grad_cosine/{net}", "cosine between the gradients of this step's last update and the step's before",
               "Cosine of successive gradients", _GRADIENTS, limits=SIGN, log=False),
    Diagnostic("sigma/{layer}", "running estimate of the raw weight's largest singular value, where a spectral norm "
               "keeps one", "Spectral norm, running", _SPECTRA, _SPECTRAL_NORM, "all", POSITIVE,
               label="raw weight, running"),
    Diagnostic("sigma_exact_out/{layer}", "largest singular value of W as (c_out, c_in kh kw)",
               "Spectral norm, exact, by output", _SPECTRA, when="full", limits=POSITIVE,
               label="effective weight, out × (in·k·k), exact"),
    Diagnostic("sigma_exact_in/{layer}", "largest singular value of W as (c_in, c_out kh kw)",
               "Spectral norm, exact, by input", _SPECTRA, _BSN, "full", POSITIVE,
               label="effective weight, in × (out·k·k), exact"),
    Diagnostic("sigma_product", "product over layers of `sigma`, or of `sigma_exact_out` where no spectral norm keeps "
               "one", "Product of spectral norms", _SPECTRA, limits=POSITIVE, log=True),
    _variance("variance/{layer}", "variance of W's entries", label="effective weight"),
    _reference("variance_sn/{layer}", "1/max(m, n) for the m x n matrix (c_out, c_in kh kw), for scale 1; times c^2 "
               "under scale c", label="SN, 1/max(m, n)"),
    _reference("variance_bsn/{layer}", "2/(fan-in + fan-out), that of Xavier's initialization, for scale 1",
               label="BSN, 2/(fan-in + fan-out)"),
    _reference("variance_wn/{layer}", "1/fan-in, that of LeCun's initialization and of filters of length 1",
               label="WN, 1/fan-in"),
    Diagnostic("spread/pixels", "mean distance between the images of 64 fixed z, raw G in evaluation mode, as an RMS "
               "over pixels in [-1, 1]: falls when modes collapse", "Spread of fixed-z samples, pixels",
               limits=POSITIVE),
    Diagnostic("spread/features", "mean distance between these images in the evaluator's features; at monitor=light "
               "only where that is the small classifier", "Spread of fixed-z samples, features", limits=POSITIVE),
    Diagnostic("path_length/mean", "running mean of |J^T y|, J = d image / d w; at monitor=full of any G with "
               "styles, on 16 images", "Path length", source="arXiv:1912.04958, section 3.2", limits=POSITIVE),
    Diagnostic("ada/p", "probability of ADA's transformations", "ADA probability", source="arXiv:2006.06676",
               limits=SHARE),
    Diagnostic("apa/p", "probability that D is shown a fake for a real", "APA probability", source="arXiv:2111.06849",
               limits=SHARE),
    Diagnostic("lr/{net}", "learning rate after schedules", "Learning rates", when="all", limits=POSITIVE),
    Diagnostic("skipped_updates", "updates left out so far because their gradient was not finite", "Skipped updates",
               when="all", limits=POSITIVE),
    Diagnostic("images_per_second", "real images that D saw, per second of training since the row before", "Speed",
               when="all", limits=POSITIVE),
)  # fmt: skip


def find(key: str, extra: Iterable[Diagnostic] = ()) -> Diagnostic | None:
    """Return the entry of the catalogue or of `extra` that a key of train.jsonl belongs to."""
    return next((diagnostic for diagnostic in (*CATALOGUE, *extra) if diagnostic.matches(key)), None)


def panels(extra: Iterable[Diagnostic] = ()) -> dict[str, dict[str, list[Diagnostic]]]:
    """Return section -> title of a chart -> its diagnostics, for the catalogue and `extra`."""
    found: dict[str, dict[str, list[Diagnostic]]] = {}
    sections: dict[str, str] = {}
    for diagnostic in (*CATALOGUE, *extra):
        section = sections.setdefault(diagnostic.title, diagnostic.section)
        found.setdefault(section, {}).setdefault(diagnostic.title, []).append(diagnostic)
    return found


def to_json(diagnostics: Iterable[Diagnostic]) -> list[dict[str, Any]]:
    """Convert to plain values, for diagnostics.json in a run directory."""
    return [asdict(diagnostic) for diagnostic in diagnostics]


def from_json(content: Any) -> list[Diagnostic]:
    """Invert `to_json`. Unknown fields are ignored. ValueError for content of another form."""
    if not (isinstance(content, list) and all(isinstance(entry, dict) for entry in content)):
        raise ValueError("diagnostics must be a list of objects")
    known = {field.name for field in fields(Diagnostic)}
    try:
        return [Diagnostic(**{k: v for k, v in entry.items() if k in known}) for entry in content]
    except TypeError as error:
        raise ValueError(f"a diagnostic lacks something: {error}") from error
