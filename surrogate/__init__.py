"""Surrogates: a table to a differentiable latency, with its uncertainty."""

from latprof.surrogate._cache import fit_file
from latprof.surrogate._conformal import COVERAGE, HeldOut
from latprof.surrogate._donors import DonorWarning
from latprof.surrogate._fit import METHODS, compare, fit
from latprof.surrogate._plots import plot_fit
from latprof.surrogate._prediction import Prediction
from latprof.surrogate._shapes import Shapes
from latprof.surrogate._surrogate import LabelFit, Surrogate
from latprof.surrogate.adaptive import SurrogateOracle, chosen_for, chosen_from, measure_adaptively
from latprof.surrogate.compose import Composition
from latprof.surrogate.methods import Law

__all__ = [
    "COVERAGE",
    "METHODS",
    "Composition",
    "DonorWarning",
    "HeldOut",
    "LabelFit",
    "Law",
    "Prediction",
    "Shapes",
    "Surrogate",
    "SurrogateOracle",
    "chosen_for",
    "chosen_from",
    "compare",
    "fit",
    "fit_file",
    "measure_adaptively",
    "plot_fit",
]
