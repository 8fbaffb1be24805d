"""The scale of BSSN, over the range that its authors searched on CIFAR-10 (0.7 to 4.0)."""

from scripts.studies.study import CLASSIFIER, QUARTER_WIDTH, Study

STUDY = Study(
    name="bssn_scale",
    question="Which scale of BSSN is best, and how wide is the range of good ones?",
    setting=(*QUARTER_WIDTH, "width=0.125", "trainer.total_steps=1500", "norm=bssn"),
    cells={f"scale-{c}": (f"norm.scale={c}",) for c in (0.7, 1.0, 1.2, 1.4, 2.0, 4.0)},
    seeds=2,
    seeds_in_turn=True,  # so that six runs already compare the six scales
    budget="a core with AVX-512, about four minutes a run",
    note="The nets have an eighth of the authors' width and train for 1,500 of their 400,000 steps. The runs were made "
    "to choose the scale for the study `norms`. Those at the scales 1.0 and 1.4 are the first 1,500 steps of runs "
    "there, `bsn-0`, `bsn-1`, `bssn-0` and `bssn-1`, so they are no further seeds.",
    classifier=CLASSIFIER,
    curves={"logits/real_std": "standard deviation of D's logits of reals, which grows without bound where D has won"},
)
