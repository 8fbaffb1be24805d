"""SN, BSSN and no norm at a quarter of the authors' width, for 30,000 steps: three times as long as `norms`."""

from scripts.studies.norms import STUDY as NORMS
from scripts.studies.study import CLASSIFIER, FID768, QUARTER_WIDTH, Study

STUDY = Study(
    name="quarter_width",
    question="Does the score of spectral normalization decay as training goes on, does that of BSSN not, and does BSSN "
    "end better, at twice the width of `norms` and three times as many steps?",
    setting=(*QUARTER_WIDTH, "trainer.total_steps=30000"),
    cells={name: NORMS.cells[name] for name in ("sn", "bssn", "none")},
    seeds=3,
    seeds_in_turn=True,  # so that the first three runs already compare the cells
    budget="a core with AVX-512, about an hour a run if nothing shares it",
    note="The nets have a quarter of the authors' width and train for 30,000 of their 400,000 steps. The classifier "
    "was trained for this study (0.847 of 1,000 test images right), so its FID compares only with that of studies "
    "beside this one. The machine was shared: images/s and wall time compare nothing.",
    evaluations=FID768,
    classifier=CLASSIFIER,
    curves=NORMS.curves,
    pictures={"quarter_width.webp": "Seed 0 of the cells `sn` (left), `bssn` and `none` at step 30,000."},
)
