"""The command line, one file a verb: `gan-lab VERB ...`, `python -m gan_lab VERB ...`, and `python train.py ...`.

Modules of verbs import what is slow, torch above all, in the function that does the work: `--help` answers at once.
"""
