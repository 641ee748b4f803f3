"""Inference engines, one a file."""

if __name__ == "inference":
    raise ImportError("'inference' is a link to padl_bayes/inference: write 'import padl_bayes.inference' instead")
