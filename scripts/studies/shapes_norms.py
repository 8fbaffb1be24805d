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
    budget="under four minutes of processor time a run, an hour and a quarter in all",
)
