"""Foundation models made smaller by dictionaries of few atoms (``pip install 'padl-bayes[compress]'``)."""
