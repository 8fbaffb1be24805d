"""The training loop, its two steps, its clock and the ways to run them."""
