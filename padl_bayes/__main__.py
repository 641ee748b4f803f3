"""``python -m padl_bayes`` is the command ``padl``."""

from padl_bayes.cli import main

if __name__ == "__main__":
    main(prog_name="padl")
