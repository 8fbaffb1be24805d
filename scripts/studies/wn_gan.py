"""WN-GAN's comparison (arXiv:1704.03971): its weight norm against BatchNorm and no norm, by reconstruction."""

from scripts.studies.study import BY_CLASSIFIER, CLASSIFIER, Study

_NO_WEIGHT_NORM = ("norm=none", "norm.generator=none", "generator.init_factor=1")
_BATCH = ("generator.activation_norm=batch", "discriminator.activation_norm=batch")

STUDY = Study(
    name="wn_gan",
    question="How near does G come to unseen images with WN-GAN's weight normalization, with BatchNorm and without a "
    "norm, on the same nets?",
    setting=(
        "recipe=wn_gan",
        "dataset=cifar10",
        "width=0.25",
        "trainer.total_steps=3000",
        "trainer.threads=1",
        "trainer.eval_every_steps=1000",
        "trainer.checkpoint_every_steps=1000",
        "trainer.sample_every_steps=1000",
        *BY_CLASSIFIER,
    ),
    cells={
        "wn": ("norm=wn_strict", "norm.generator=wn_strict"),
        "batch": (*_NO_WEIGHT_NORM, *_BATCH),
        "none": _NO_WEIGHT_NORM,
    },
    seeds=3,
    seeds_in_turn=True,
    budget="a core with AVX-512, about four minutes a run",
    note="The size is ours: CIFAR-10 at 32 px, nets a quarter as wide as the recipe's, 3,000 steps of 32 images. The "
    "nets without weight norm have the same shifted activations, where the authors' have biases and PReLU. The authors "
    "trained on CelebA at 160 px and report 0.005524 with weight normalization, 0.006171 without a norm and "
    "0.006355 with BatchNorm. A lower error means that more of the test images can be drawn; it does not mean that "
    "samples look better.",
    evaluations=("reconstruct", "recon_images=500", "recon_steps=200"),
    classifier=CLASSIFIER,
    pictures={"wn_gan.webp": "Seed 0 of the cells `wn`, `batch` and `none` at the end, from left to right."},
)
