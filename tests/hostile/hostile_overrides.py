"""Hostile command lines: words of the true configuration, bent by a grammar of nasty values and by mutation."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

from gan_lab.config.compose import GROUPS, compose
from gan_lab.config.options import config_dir
from gan_lab.config.tree import all_keys
from tests.hostile.hostile_sandbox import Case

DANGEROUS = [
    "os.system", "builtins.eval", "builtins.exec", "subprocess.run", "subprocess.Popen", "shutil.rmtree",
    "posix.system", "importlib.import_module", "runpy.run_path", "pathlib.Path.touch", "torch.load", "torch.hub.load",
    "torch.ops.load_library", "pickle.loads", "hydra.utils.instantiate", "gan_lab.config.targets.import_module",
    "gan_lab.builder.instantiate", "gan_lab.build.import_module", "gan_lab.cli.train.os.system",
    "gan_lab.cli.main.main", "gan_lab.data.store.shutil.rmtree", "gan_lab.files.write_atomically",
    "torch.nn.modules.module.OrderedDict", "torch.optim.optimizer.os.system", "gan_lab..os.system", ".os.system",
    "gan_lab.", "torch.nn.", "torch.nn.Linear\n", "gan_lab.data.load.__globals__", "gan_lab.nets.Generator.__class__",
    "gan_lab.nets.Generator.__init__", "torch.nn", "gan_lab.nets.SNGANGenerator.__subclasses__",
    "gan_lab/../os.system", "torch.nn.functional.conv2d", "gan_lab.__main__", "torch.nn.modules.conv.Optional",
    "gan_lab.nets.layers.Tensor", "torch.optim.Adam", "torch.nn.Identity", "gan_lab.\0",
]  # fmt: skip

NASTY = [
    "", "null", "None", "~", "true", "false", "yes", "0", "-0", "-1", "1", "1.5", "1e3", "1e400", "-1e400", "nan",
    "inf", "-inf", ".nan", "1e-400", "0x10", "0b1", "1_000", "9" * 30, "9" * 400, "9" * 5000, "-" + "9" * 320,
    "2147483648", "9223372036854775807", "9223372036854775808", "18446744073709551616", "1/0", "1e", "e", ".", "..",
    "...", "???", "[]", "{}", "[[]]", "[{}]", "{a:1}", "{a:{b:{c:1}}}", "[1,2,3]", "[0.5,nan]", "[null]", "{1:2}",
    "{null:1}", "{true:x}", "{_target_:os.system}", "{_target_:os.system,command:id}",
    "[{_target_:os.system,command:id}]", "{_target_:torch.optim.Adam,_partial_:true}",
    r"'\${oc.create:{_target_:os.system,command:id}}'", "{_target_:null}", "{_target_:[]}", "{_target_:{}}",
    "{_args_:[1]}", "${oc.env:HOME}", "${oc.env:NO_SUCH_VARIABLE}", "${oc.env:}", "${seed}", "${name}", "${.}",
    "${..}", "${...seed}", "${}", "${", "$}", "$", "${a}", "${a.b}", "${${name}}", "${${${seed}}}", "${generator}",
    "${trainer}", "${hydra}", "${hydra:run.dir}", "${hydra:runtime.cwd}", "${hydra.run.dir}", "${trainer.batch_size}",
    "${run_dir}", "${no:such}", "${now:%Y%n}", "${now:%}", "${oc.decode:'[1'}", "${oc.decode:${name}}",
    "${oc.create:{a:1}}", "${oc.select:seed}", "${oc.deprecated:seed}", "${oc.dict.keys:trainer}", "${run_name:}",
    "${run_name:1,2}", "${run_name:a,b,c}", "${job_name:../../x}", "${job_name:null}", "${python_version:}",
    "${python_version:x}", "${oc.dict.values:trainer}", "../x", "/", "/etc/passwd", "~/x", "~nobody-here/x",
    "a/../../b", "..\\x", "C:\\x", "file:///etc", "/dev/zero", "\u00e9", "\u202e\u202d", "\u0000", "\u2028", "\ud800",
    "\U0001f4a5", "\u0660\u0661", "\ufeff", "a\nb", "a\rb", "\t", "\x1b[31mred", "\x7f", "\x85", "n" * 300,
    "n" * 70_000, "a b", "a,b", "a=b", "a:b", "'", '"', "'a", "\\", "\\'", "`id`", "$(id)", "; id", "| id", "%s%n",
    "{0.__class__}", "a\\,b", "'a,b'", "range(1,10)", "range(1,1000000000)", "range(1)", "choice(1,2)", "choice()",
    "interval(0,1)", "glob(*)", "glob([a,*],exclude=b)", "shuffle(1,2)", "sort(3,1)", "int(a)", "int(1.5)",
    "float(x)", "str([1])", "bool(2)", "json_str({a:1})", "extend_list(1)", "tag(a,choice(1))", "cast(", "int(" * 50,
    "[" * 40, "[" * 40 + "]" * 40, "{a:" * 30 + "1" + "}" * 30, "[" * 1500 + "]" * 1500, "(" * 400, "${" * 60,
    "${" * 60 + "}" * 60, "@", "@_global_", "*", "&a", "!!python/object/apply:os.system", "!!python/name:os.system",
]  # fmt: skip

ODD_KEYS = [
    "", ".", "..", "a..b", ".seed", "seed.", "seed.x", "seed.x.y", "trainer", "trainer.", "trainer.x.y.z", "hydra",
    "hydra.x", "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir", "hydra.searchpath",
    "hydra.job.name", "hydra.job.chdir", "hydra.mode", "hydra.verbose", "hydra.launcher._target_",
    "hydra.sweeper._target_", "hydra/launcher", "hydra.callbacks.x._target_", "hydra.callbacks", "hydra.job_logging",
    "hydra.job_logging.formatters.simple.()", "hydra.job_logging.handlers.x.class", "hydra.job_logging.version",
    "hydra.help.template", "hydra.runtime.cwd", "hydra.job.config.override_dirname.exclude_keys",
    "hydra.job.config.override_dirname.kv_sep", "hydra.env", "hydra.job.env_set", "hydra.overrides.task",
    "hydra.defaults", "hydra/sweeper", "hydra/job_logging", "hydra/help", "hydra/env", "hydra/output", "defaults",
    "_self_", "schema", "override", "optional norm", "norm@foo", "norm@generator", "norm@_global_",
    "norm@norm.generator", "loss@loss.d", "penalty@penalty.r1r2", "dataset@", "@", "norm:x", "norm@a:b", "recipe",
    "extensions", "extensions.0", "optimizer.g.betas.0", "optimizer.g.betas.9", "optimizer.g.betas.x",
    "generator._args_", "generator._partial_", "generator._convert_", "generator._recursive_", "generator._call_",
    "__class__", "trainer.__class__", "trainer.__dict__", "generator.__init__", "norm.generator", "penalty.x",
    "penalty.r1r2", "penalty.r1r2.weight.start", "augment", "metrics.x", "a." * 300 + "b", "k" * 300, "\u00e9",
    "\u202e", "a\nb", "a b", "a,b", "a-b", "1", "0x", "null", "true", "'seed'", "${name}", "run_dir", "data_dir",
    "name", "resume", "optimizer.g.lr", "ema.halflife_images", "optimizer.lr_scale", "loss.d", "a=b", "\x1b[31m",
    "\ud800", "%", "*", "/", "/etc/passwd", "../x", "norm/../loss", "norm/sn", "_target_", "_global_",
    "generator.self",
]  # fmt: skip


@cache
def known() -> tuple[list[str], dict[str, list[str]]]:
    """Every key of some configurations, and every group's options, read from the repository itself."""
    keys: set[str] = set()
    for words in ([], ["recipe=stylegan2_ada"], ["recipe=wn_gan"], ["recipe=bssn_resnet"]):
        keys |= all_keys(compose_and_check(words))  # which also imports what a check imports
    return sorted(keys), {g: sorted(p.stem for p in (config_dir() / g).glob("*.yaml")) for g in GROUPS}


def _value(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.6:
        return rng.choice(NASTY)
    if kind < 0.8:
        return rng.choice(["1", "2", "0.5", "8", "0", "true", "false", "null", "cpu", "sn", "bssn", "1e-4", "[0,0.9]"])
    if kind < 0.9:
        inner = [rng.choice(NASTY)[:60] for _ in range(rng.randint(1, 3))]
        return rng.choice(["[{}]", "{{a:{}}}", "'{}'", "choice({})", "${{{}}}", "{}"]).format(",".join(inner))
    return "".join(chr(rng.choice([rng.randint(0, 127), rng.randint(0, 0x2FFF)])) for _ in range(rng.randint(1, 30)))


def _word(rng: random.Random) -> str:
    keys, groups = known()
    kind = rng.random()
    if kind < 0.15:
        group = rng.choice(list(groups))
        option = rng.choice(groups[group])
        return f"{group}={option if rng.random() < 0.8 else _value(rng)}"
    if kind < 0.3:
        node = rng.choice([
            "generator", "discriminator", "norm", "loss.d", "loss.g", "optimizer.g", "dataset", "metrics",
            "generator.z_dim", "augment", "penalty.x", "ema.halflife_images", "optimizer.g.lr",
        ])  # fmt: skip
        return f"{rng.choice(['', '+', '++'])}{node}._target_={rng.choice(DANGEROUS)}"
    key = rng.choice(keys) if kind < 0.75 else rng.choice(ODD_KEYS)
    if rng.random() < 0.05:
        key = f"{key}.{rng.choice(['x', '_target_', 'start', '0'])}"
    form = rng.random()
    if form < 0.06:
        return f"~{key}"
    return f"{rng.choice(['', '', '', '+', '++', '~']) if form < 0.4 else ''}{key}={_value(rng)}"


def _mutated(rng: random.Random, word: str) -> str:
    """A few characters of the word dropped, doubled, swapped for another or for a special one."""
    letters = list(word[:2000])
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(letters) + 1)
        letters[at : at + rng.randint(0, 2)] = rng.choice(
            [[], [rng.choice("[]{}()$\\'\",=:@~+.!\n\t\0 \u202e%#é")], letters[at : at + 2] * 2]
        )
    return "".join(letters)


def words(rng: random.Random) -> list[str]:
    """One to four words of a command."""
    made = [_word(rng) for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 4]))]
    return [_mutated(rng, word) if rng.random() < 0.2 else word for word in made]


def stray_target(tree: dict[str, Any]) -> str | None:
    """A success that would build something defined neither by gan_lab nor by torch's nets and optimizers."""
    from gan_lab.config.targets import ALLOWED_PREFIXES, locate
    from gan_lab.config.tree import nodes

    extensions = tuple(tree["extensions"])
    for key, node in nodes(tree):
        home = str(getattr(locate(node["_target_"], key, extensions), "__module__", None)) + "."
        if not home.startswith((*ALLOWED_PREFIXES, *extensions)):
            return f"accepted {key}._target_={node['_target_']}, which is defined in {home}"
    return None


def compose_and_check(given: list[str]) -> dict[str, Any]:
    from gan_lab.config.check import check

    return check(compose(*given)).tree()


def make(rng: random.Random, folder: Path) -> Case:
    given = words(rng)
    return Case(repr(given)[:2000], lambda: compose_and_check(given), stray_target)
