"""The same question on the data set that needs no download."""

from scripts.studies.study import Study

STUDY = Study(
    name="shapes_norms",
    question="What do SN and BSSN change on 16 known modes, beside no norm at all and the default recipe?",
    setting=("trainer.threads=1",),
    cells={
        "none": ("norm=none", "loss=hinge", "penalty=none"),
        "sn": ("norm=sn", "loss=hinge", "penalty=none"),
        "bssn": ("norm=bssn", "loss=hinge", "penalty=none"),
        "default": (),
    },
    seeds=5,
    budget="a core with AVX-512, about a minute a run",
    note="The nets, the batch of 24 and the learning rates (0.004 for G, 0.003 for D) are the default's, which were "
    "tuned with its own loss and penalty and not for a norm: at other rates SN and BSSN may end elsewhere, which was "
    "not tried. G is never normalized. It is the second time that these cells and seeds were compared: runs of an "
    "earlier, longer default (in this folder at commit db75fa5) had BSSN before SN, too, but no test claimed it, nor "
    "told the default from no norm. The machine was shared: images/s and wall time compare nothing.",
    pictures={
        "shapes_norms.webp": "Seed 0 of the cells `none`, `sn`, `bssn` and `default` at the end, from left to right: a "
        "row is a class, a column a latent. SN and BSSN leave stripes and dots inside the shapes.",
    },
)
