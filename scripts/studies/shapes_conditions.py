"""Conditions of D against each other on the data set that needs no download."""

from scripts.studies.study import Study

STUDY = Study(
    name="shapes_conditions",
    question="How often is a sample of the class that the generator was asked for, by the condition of D, on 16 known "
    "classes?",
    setting=(
        "dataset=shapes", "generator.conditional=true", "trainer.total_steps=1200", "trainer.eval_every_steps=300",
        "trainer.checkpoint_every_steps=600", "trainer.sample_every_steps=300", "trainer.log_every_steps=20",
        "trainer.threads=1", "trainer.device=cpu", "metrics.kid=false", "metrics.precision_recall=false",
        "+metrics.extra.labels._target_=gan_lab.metrics.LabelAccuracy",
    ),
    cells={
        "projection": ("discriminator.condition=projection",),
        "ac": ("discriminator.condition=ac", "penalty=[r1r2_annealed,ac]"),
        "2c": ("discriminator.condition=2c", "penalty=[r1r2_annealed,2c]"),
        "d2dce": ("discriminator.condition=d2dce", "penalty=[r1r2_annealed,d2dce]"),
        "multihinge": ("discriminator.condition=multihinge", "loss=none", "penalty=[r1r2_annealed,multihinge]"),
        "none": ("discriminator.condition=none",),
    },
    seeds=1,
    budget="at most ten minutes of one core a run",
    note="Every generator has class-conditional batch norms. D of the cell `none` sees no labels: chance is 1/16.",
    metric="label_accuracy_shapes",
)  # fmt: skip
