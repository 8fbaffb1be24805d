"""Hydra takes a quarter of a second for a configuration, and the tests compose thousands from a few hundred choices."""

import copy

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from gan_lab.config.compose import GROUPS, config_dir


def composing_choices_once(hydra_compose):
    """Return a `hydra.compose` that composes each choice of options once, and applies values to a copy of the result.

    Hydra itself applies values at the end, by the same function. Words that are anything else are left to Hydra.
    """
    known = {}

    def compose(primary, overrides, return_hydra_config):
        def by_hydra(words):
            return hydra_compose(primary, words, return_hydra_config=return_hydra_config)

        try:
            parsed = OverridesParser.create().parse_overrides(overrides)
        except (HydraException, ValueError, RecursionError):
            return by_hydra(overrides)
        options = [o.input_line for o in parsed if o.key_or_group in GROUPS]
        values = [o for o in parsed if o.key_or_group not in GROUPS]
        key = (primary, config_dir(), return_hydra_config, *options)
        # A search chooses plugins, which may be missing; a search path brings files that may change.
        special = any(o.key_or_group == "hydra.searchpath" or "search" in o.input_line for o in parsed)
        if primary != "config" or special or any(o.is_delete() or o.is_sweep_override() for o in parsed):
            return by_hydra(overrides)
        if key not in known:
            known[key] = by_hydra(options)
        cfg = copy.deepcopy(known[key])
        if not all(o.key_or_group.split(".")[0] in cfg and o.key_or_group != "hydra" for o in values):
            return by_hydra(overrides)  # a group of Hydra's, or a key that does not exist
        ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
        return cfg

    return compose
