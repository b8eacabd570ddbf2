"""Networks of the experiments, and the problems made of them; needs torch when called."""
