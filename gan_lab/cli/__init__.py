"""The command line, one file per verb: `gan-lab VERB ...`, `python -m gan_lab VERB ...`, and `python train.py ...`.

Verbs import slow modules, above all torch, inside the function that needs them, so that `--help` is fast.
"""
