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
        "ac_reals": (
            "discriminator.condition=ac", "penalty=[r1r2_annealed,ac]", "penalty.ac_d.fakes=false",
        ),
        "2c": ("discriminator.condition=2c", "penalty=[r1r2_annealed,2c]"),
        "d2dce": ("discriminator.condition=d2dce", "penalty=[r1r2_annealed,d2dce]"),
        "multihinge": ("discriminator.condition=multihinge", "loss=none", "penalty=[r1r2_annealed,multihinge]"),
        "none": ("discriminator.condition=none",),
    },
    seeds=1,
    budget="about five minutes of one free core a run",
    note="Every generator has class-conditional batch norms. D of the cell `none` sees no labels: chance is 1/16. "
    "Each cell has one seed, so the order of cells may be chance. Runs that are not finished were stopped for lack of "
    "time. In the cell `ac`, D's classifier learns "
    "from fakes, too (equation 3 of arXiv:1610.09585), so that G and D can agree on a code of their own: after 600 "
    "steps the brightness of the corners has a standard deviation of 20 between classes and 16 within one; it is 6 and "
    "39 in the cell `projection` at its end. `ac_reals` leaves fakes out of D's term, as StudioGAN does.",
    pictures={
        "shapes_projection.webp": "The cell `projection` after 1,200 steps: a row is a class, a column a latent.",
        "shapes_ac.webp": "The cell `ac` after 600 steps: the background tells more of the class than the shape does.",
    },
    metric="label_accuracy_shapes",
)  # fmt: skip
