"""The built-in sample: drawn photographs of synthetic people, with annotations in Pascal VOC."""

from maskbench.data.sample.params import GENERATOR_VERSION, SampleParams
from maskbench.data.sample.writer import generate_sample

__all__ = ["GENERATOR_VERSION", "SampleParams", "generate_sample"]
