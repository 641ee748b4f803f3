"""scikit-learn's conventions, kept without it: parameters, tags, names of features, kinds of tables."""

import inspect
import sys

import numpy as np

from ._tables import CONTAINERS, as_table, check_names, names_of
from ._validation import check_choice
from .exceptions import not_fitted


class Conventions:
    """What scikit-learn's tools ask of an estimator with ``components_`` that codes samples.

    scikit-learn itself is only imported when it asks (`__sklearn_tags__`).
    """

    n_features_in_: int
    n_active_: int

    @classmethod
    def _parameter_names(cls):
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep=True):
        """Parameters by name, as scikit-learn's tools expect."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self, **params):
        """Set parameters by name; a ValueError names one that does not exist."""
        names = self._parameter_names()
        for name in params:
            if name not in names:
                raise ValueError(f"PADL has no parameter {name!r}; it has {', '.join(names)}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self):
        signature = inspect.signature(type(self).__init__).parameters
        given = ((name, repr(value)) for name, value in self.get_params().items())
        changed = (f"{name}={value}" for name, value in given if value != repr(signature[name].default))
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_is_fitted__(self):
        return hasattr(self, "fit_")

    def __sklearn_tags__(self):
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type="transformer",
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=["float64", "float32"]),
            input_tags=InputTags(),
        )

    def _check_fitted(self):
        if not hasattr(self, "fit_"):
            raise not_fitted(f"this {type(self).__name__} is not fitted: call fit(X) first")

    def _remember_features(self, names):
        """Keep the names of the features (None: they have none) of the data that were fitted."""
        self.__dict__.pop("feature_names_in_", None)
        if names is not None:
            self.feature_names_in_ = names

    def _check_features(self, X):
        """Other names, or another number of features, than were fitted."""
        check_names(names_of(X), getattr(self, "feature_names_in_", None), type(self).__name__)
        count = X.shape[1] if len(getattr(X, "shape", ())) == 2 else 0
        if count not in (0, self.n_features_in_):
            raise ValueError(
                f"X has {count} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )

    def get_feature_names_out(self, input_features=None):
        """Names of the columns that `transform` returns: padl0, padl1, ...

        Parameters
        ----------
        input_features : sequence of str, optional
            Names of the features; checked, and nothing else.

        Returns
        -------
        ndarray of str, shape (n_active_,)
        """
        self._check_fitted()
        if input_features is not None:
            names = np.asarray(input_features, dtype=object)
            if names.shape != (self.n_features_in_,):
                raise ValueError(
                    f"input_features should have length equal to number of features ({self.n_features_in_}), "
                    f"found shape {names.shape}"
                )
            if not np.array_equal(names, getattr(self, "feature_names_in_", names)):
                raise ValueError("input_features is not equal to feature_names_in_")
        stem = type(self).__name__.lower()
        return np.asarray([f"{stem}{k}" for k in range(self.n_active_)], dtype=object)

    def set_output(self, *, transform=None):
        """Choose what `transform` and `fit_transform` return.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None
            An ndarray or a table with the names of `get_feature_names_out`; None changes nothing. Left alone, the
            setting of ``sklearn.set_config(transform_output=...)`` holds.

        Returns
        -------
        PADL
            Itself.
        """
        if transform is not None:
            check_choice(transform, "transform", CONTAINERS)
            # scikit-learn's `clone` copies the attribute of this name.
            self._sklearn_output_config = {"transform": transform}
        return self

    def _as_output(self, codes, X):
        """Codes in the container that was asked for."""
        kind = getattr(self, "_sklearn_output_config", {}).get("transform")
        if kind is None:
            sklearn = sys.modules.get("sklearn")
            kind = "default" if sklearn is None else sklearn.get_config()["transform_output"]
        return codes if kind == "default" else as_table(codes, self.get_feature_names_out(), X, kind)
