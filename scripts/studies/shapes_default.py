"""What twelve parts of the default of `python train.py` are worth: one changed at a time."""

from scripts.studies.study import Study

STUDY = Study(
    name="shapes_default",
    question="What do twelve parts of the default on shapes change, if one alone is exchanged?",
    setting=("trainer.threads=1",),
    cells={
        "default": (),
        "no_mapping": ("generator.mapping_layers=0",),
        "no_hidden_layer": ("discriminator.hidden_features=0",),
        "dcgan_weights_in_d": ("discriminator.init_std=0.02",),
        "deconvolutions": ("generator.upsampling=transposed",),
        "no_classes": ("dataset.labels=false",),
        "narrower_g": ("generator.width=0.125",),
        "d_as_wide_as_g": ("discriminator.width=0.1875",),
        "equal_rates": ("optimizer.g.lr=0.003",),
        "constant_rates": ("optimizer.lr_scale=1",),
        "penalty_weight_1": ("penalty.r1r2.weight=1",),
        "penalty_every_step": ("penalty.r1r2.interval=1",),
        "nonsaturating": ("loss=nonsaturating",),
    },
    seeds=3,
    seeds_in_turn=True,
    budget="a core with AVX-512, about a minute a run if nothing shares it",
    note="The rates, widths and weights of the default were chosen by earlier runs of its seeds 0 to 2, so it has an "
    "advantage that the other cells lack: each might do better at rates of its own, which was not tried. The default's "
    "runs are those of `shapes_norms` with these seeds, made again. The machine was shared: images/s and wall time "
    "compare nothing.",
    curves={"precision_shapes": "share of G's images among the real ones, at most 1, higher is better"},
    pictures={
        "shapes_default.webp": "Seed 0 of the cells `default`, `no_mapping`, `deconvolutions`, `dcgan_weights_in_d` "
        "and `no_classes` at the end, from left to right: a row is a class, a column a latent. Without classes each "
        "image has a latent of its own.",
    },
)
