"""The hot step: `reference` is the plain-JAX truth that every fast version must agree with."""
