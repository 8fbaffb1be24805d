"""What a resumed run may change: one table of all settings.

What is computed must not change without a word. How long, how often, where to and where from may.
"""

from typing import Any

from gan_lab.config.schema import Config
from gan_lab.config.targets import known_parameters
from gan_lab.config.tree import flatten

COMPUTED = "what is computed"
LENGTH = "how long"
INTERVAL = "how often"
MEASURED = "what is measured"
PLACE = "where to and where from"
MACHINE = "on what"
MOST_LISTED = 8  # changes in a message

DECIDES = {
    "seed": COMPUTED,
    "name": PLACE,
    "data_dir": PLACE,
    "resume": PLACE,
    "width": COMPUTED,
    "run_dir": PLACE,
    "stop_on_collapse": LENGTH,
    "extensions": PLACE,  # what they define counts where a _target_ names it
    "recipe": MEASURED,  # a name; its settings count
    "dataset": COMPUTED,
    "dataset.path": PLACE,  # a checkpoint holds the sha256 of the pixels and classes
    "dataset.max_unreadable": PLACE,
    "generator": COMPUTED,
    "discriminator": COMPUTED,
    "norm": COMPUTED,
    "loss": COMPUTED,
    "penalty": COMPUTED,
    "augment": COMPUTED,
    "optimizer": COMPUTED,
    "ema": COMPUTED,
    "metrics": MEASURED,  # each evaluation names its protocol, and the best checkpoint belongs to one
    "monitor": MEASURED,
    "tracker": PLACE,
    "trainer.total_steps": LENGTH,  # see `whole_run_schedules`
    "trainer.batch_size": COMPUTED,
    "trainer.n_dis": COMPUTED,
    "trainer.fake_labels": COMPUTED,
    "trainer.eval_every_steps": INTERVAL,
    "trainer.checkpoint_every_steps": INTERVAL,
    "trainer.sample_every_steps": INTERVAL,
    "trainer.log_every_steps": INTERVAL,
    "trainer.progress_gif": PLACE,
    "trainer.keep_checkpoints": PLACE,
    "trainer.keep_every_steps": PLACE,
    "trainer.device": MACHINE,
    "trainer.precision": COMPUTED,
    "trainer.accelerate": MACHINE,
    "trainer.deterministic": COMPUTED,
    "trainer.devices": MACHINE,
    "trainer.sync_batchnorm": COMPUTED,
    "trainer.rank_timeout_seconds": MACHINE,
    "trainer.max_skipped_updates": LENGTH,
    "trainer.threads": MACHINE,
}
"""Setting, or section of settings -> what it decides. A resumed run may change all but what is computed."""

RUNTIME_SETTINGS = frozenset(
    key for key, what in DECIDES.items() if what in (PLACE, MACHINE) and not key.startswith(("dataset.", "extensions"))
)
"""Settings of where and on what: runs that differ only there are runs of one recipe."""


def decides(key: str) -> str:
    """Return what a setting decides, by the longest entry of DECIDES that it is or lies in."""
    while key not in DECIDES and key:
        key = key.rpartition(".")[0]
    return DECIDES.get(key, COMPUTED)


def whole_run_schedules(tree: dict[str, Any], extensions: tuple[str, ...] = ()) -> dict[str, int]:
    """Return `key.over_images` of every schedule that leaves it out, and spans all images of the run.

    For these `trainer.total_steps` changes what is computed.
    """
    trainer = _set_values(Config().tree()) | _set_values(tree)
    images = trainer["trainer.total_steps"] * trainer["trainer.batch_size"] * trainer["trainer.n_dis"]
    found = known_parameters(tree, extensions)
    return {f"{key}.over_images": images for key, node, takes in found if "over_images" in takes.keys() - node.keys()}


def changed_settings(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """List `key: old -> new` for each setting that differs and decides what is computed.

    `trainer.total_steps` is among them where a schedule spans the whole run.
    """
    changes = _changes(old, new)
    computed = {key: text for key, text in changes.items() if decides(key) == COMPUTED}
    if any(key.endswith(".over_images") for key in computed) and "trainer.total_steps" in changes:
        computed = {"trainer.total_steps": changes["trainer.total_steps"], **computed}
    return list(computed.values())


def allowed_changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """List `key: old -> new` for each setting that differs and decides how long, how often or what is measured.

    Those of `changed_settings` are not repeated.
    """
    listed = changed_settings(old, new)
    changes = _changes(old, new).items()
    return [text for key, text in changes if decides(key) in (LENGTH, INTERVAL, MEASURED) and text not in listed]


def _changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, str]:
    """Return key -> "key: old -> new". What an earlier version of gan_lab did not have counts as its default."""
    extensions = tuple(new.get("extensions", ()))
    known = _set_values(Config().tree())
    for key, _, parameters in known_parameters(new, extensions):
        known |= {f"{key}.{n}": p.default for n, p in parameters.items() if p.default is not p.empty}
    before, after = (known | _set_values(tree) | whole_run_schedules(tree, extensions) for tree in (old, new))
    absent = "(not set)"
    pairs = {key: (before.get(key, absent), after.get(key, absent)) for key in sorted(before.keys() | after.keys())}
    return {key: f"{key}: {was} -> {now}" for key, (was, now) in pairs.items() if was != now}


def _set_values(tree: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in flatten(tree).items() if value != {}}  # an empty mapping sets nothing


def refusal(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """Say which settings changed what is computed, and what can be done; None if none did."""
    changes = changed_settings(old, new)
    if not changes:
        return None
    listed = "; ".join(changes[:MOST_LISTED])
    more = f" and {len(changes) - MOST_LISTED} more" if len(changes) > MOST_LISTED else ""
    spans = whole_run_schedules(old, tuple(new.get("extensions", ())))
    kept = [f"+{key}={images}" for key, images in sorted(spans.items()) if f"{key}: {images} -> " in listed]
    hint = f"; a schedule without over_images spans trainer.total_steps, {' '.join(kept)} keeps it" if kept else ""
    return f"other settings, which change what is computed ({listed}{more}){hint}"
