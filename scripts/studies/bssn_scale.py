"""The scale of BSSN, over the range that its authors searched on CIFAR-10 (0.7 to 4.0)."""

from scripts.studies.study import CLASSIFIER, FID768, QUARTER_WIDTH, Study

STUDY = Study(
    name="bssn_scale",
    question="Which scale of BSSN is best, and how wide is the range of good ones?",
    setting=(*QUARTER_WIDTH, "trainer.total_steps=10000", "norm=bssn"),
    cells={f"scale-{c}": (f"norm.scale={c}",) for c in (0.7, 1.0, 1.2, 1.4, 2.0, 4.0)},
    seeds=2,
    budget="about twenty minutes of one core a run, four hours in all",
    note="The nets have a quarter of the authors' width and train for 10,000 of their 400,000 steps.",
    evaluations=FID768,
    classifier=CLASSIFIER,
)
