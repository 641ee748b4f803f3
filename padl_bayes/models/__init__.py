"""NumPyro programs, one a file."""

if __name__ == "models":
    raise ImportError("'models' is a link to padl_bayes/models: write 'import padl_bayes.models' instead")
