"""Surrogates: a table to a differentiable latency, with its uncertainty."""

from latprof.surrogate._adaptive import SurrogateOracle, measure_adaptively
from latprof.surrogate._composition import Composition
from latprof.surrogate._conformal import COVERAGE, HeldOut
from latprof.surrogate._fit import METHODS, compare, fit
from latprof.surrogate._law import Law
from latprof.surrogate._plots import plot_fit
from latprof.surrogate._surrogate import LabelFit, Prediction, Surrogate

__all__ = [
    "COVERAGE",
    "METHODS",
    "Composition",
    "HeldOut",
    "LabelFit",
    "Law",
    "Prediction",
    "Surrogate",
    "SurrogateOracle",
    "compare",
    "fit",
    "measure_adaptively",
    "plot_fit",
]
