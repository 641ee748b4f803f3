"""Dictionaries of a network's tokens, and what they save: needs ``pip install 'padl-bayes[compress]'``.

Nothing here is imported by ``import padl_bayes``.
"""
