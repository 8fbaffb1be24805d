"""StyleGAN2's two constants, 1/sqrt(2) behind residual blocks and 1/sqrt(H W) in path lengths, with and without."""

from scripts.studies.study import Study

STUDY = Study(
    name="stylegan2_factors",
    question="What do StyleGAN2's factor 1/sqrt(2) on the sum of a residual block and the factor 1/sqrt(H W) on path "
    "lengths change in training?",
    setting=(
        "recipe=stylegan2",
        "dataset=shapes",
        "width=0.03125",
        "generator.z_dim=64",
        "generator.w_dim=64",
        "generator.mapping_layers=2",
        "generator.conditional=true",
        "discriminator.condition=projection",
        "optimizer.g.lr=0.01",
        "optimizer.d.lr=0.01",
        "penalty.r1.weight=0.1",
        "trainer.batch_size=16",
        "trainer.total_steps=6000",
        "trainer.threads=1",
        "trainer.eval_every_steps=2000",
        "trainer.checkpoint_every_steps=2000",
        "trainer.sample_every_steps=2000",
        "trainer.log_every_steps=20",
    ),
    cells={
        "paper": (),
        "sum_unscaled": ("discriminator.residual_scale=1",),
        "length_unscaled": ("penalty.path_length.weight=2048",),
        "no_path_length": ("penalty.path_length.weight=0",),
    },
    seeds=3,
    seeds_in_turn=True,
    budget="a core with AVX-512, about six minutes a run if nothing shares it",
    note="The size is ours and tiny: shapes at 32 px with their classes, nets of 16 channels, a mapping network of two "
    "layers of 64, 6,000 steps of 16 images, where the paper's recipe has 512 channels and 25 million images. Rates "
    "are four times and R1's weight eight times the recipe's: with the recipe's own, and without classes, G drew "
    "blobs. The setting was chosen from short trials of the cell `paper` with seed 0, of which nothing was kept but "
    "the beginning of `paper-0`. "
    "Without the factor 1/sqrt(H W) lengths are 32 times as large at 32 px, and the penalty, a square, 1,024 times: "
    "the cell `length_unscaled` multiplies the weight by that, and `no_path_length` by 0.",
    curves={
        "penalty/path_length": "mean squared deviation of path lengths from their running mean, with the factor "
        "1/sqrt(H W) in every cell and without the weight",
        "grad_norm/d": "norm of the gradient of an update of D",
    },
    pictures={
        "stylegan2_factors.webp": "Seed 0 of the cells `paper`, `sum_unscaled`, `length_unscaled` and `no_path_length` "
        "at step 6,000, from left to right: a row is a class, a column a latent. With `length_unscaled` the latents of "
        "a row look alike.",
    },
)
