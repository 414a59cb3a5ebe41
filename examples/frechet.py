"""The Frechet distance, by which the examples' models are judged."""

import numpy


def frechet(a: numpy.ndarray, b: numpy.ndarray) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2)"""
    cov_a, cov_b = numpy.cov(a, rowvar=False), numpy.cov(b, rowvar=False)
    values, vectors = numpy.linalg.eigh(cov_a)
    root = (vectors * numpy.sqrt(values.clip(min=0))) @ vectors.T
    middle = numpy.sqrt(numpy.linalg.eigvalsh(root @ cov_b @ root).clip(min=0)).sum()
    means = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    return float(means + numpy.trace(cov_a) + numpy.trace(cov_b) - 2 * middle)
