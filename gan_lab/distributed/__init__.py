"""Several processes as one: collectives, launch, random numbers that ranks share; and how a device computes."""
