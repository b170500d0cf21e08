"""A lab's own data set, network and loss."""
