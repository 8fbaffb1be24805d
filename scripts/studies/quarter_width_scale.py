"""The scale of BSSN at a quarter of the authors' width, for 10,000 steps: the setting of `quarter_width`."""

from scripts.studies.bssn_scale import STUDY as BSSN_SCALE
from scripts.studies.quarter_width import STUDY as QUARTER_WIDTH
from scripts.studies.quarter_width_stabilizers import STUDY as STABILIZERS
from scripts.studies.study import CLASSIFIER, FID768, Study

STUDY = Study(
    name="quarter_width_scale",
    question="Which scale of BSSN is best, and how wide is the range of good ones, at twice the width of `bssn_scale` "
    "and after more than six times as many steps?",
    setting=(*QUARTER_WIDTH.setting, "trainer.total_steps=10000", "norm=bssn"),
    cells={name: words for name, words in BSSN_SCALE.cells.items() if name not in ("scale-1.0", "scale-1.4")},
    seeds=2,
    seeds_in_turn=True,
    budget="a core with AVX-512, about twenty minutes a run if nothing shares it, and ten to measure it",
    note="The nets have a quarter of the authors' width and train for 10,000 of their 400,000 steps. The scales 1 and "
    "1.4 are `bsn` and `bssn`: runs of two other studies, which went on to step 16,000 and 30,000 and are the same "
    "at step 10,000 as ones that end there, since nothing depends on the length. By Inception only the four other "
    "scales compare, as those two were measured at their end. Two seeds make no test. The machine was shared: images/s "
    "and wall time compare nothing.",
    evaluations=FID768,
    classifier=CLASSIFIER,
    curves=BSSN_SCALE.curves,
    beside=(QUARTER_WIDTH.only("bssn", seeds=2), STABILIZERS.only("bsn", seeds=2)),
)
