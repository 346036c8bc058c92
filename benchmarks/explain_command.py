"""Seconds per face of `maskbench explain CHECKPOINT IMAGE` with Grad-CAM on the CPU, as a user waits for it.

    python benchmarks/explain_command.py [--size 64] [--boxes 10] [--rounds 3]

Whole processes of the command line: start, imports, checkpoint, one map, overlay, files. A process with one face bounds
what a person waits for; the difference to one with many faces in the same photograph is what a further face costs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from maskbench.config import Config
from maskbench.models.registry import build_model
from maskbench.training.checkpoint import save_checkpoint

#: Seconds per face that issue 4 allows.
BOUND = 2.0
