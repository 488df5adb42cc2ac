"""How a network learns: data, networks, optimisation, checkpoints, prediction."""
