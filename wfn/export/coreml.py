"""Core ML: one palette for each weight."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wfn.export.checks import ExportError, Report, compare_values, first_line, need, replacing
from wfn.export.coding import repeating
from wfn.export.tracing import Subject, trace, used_parameters

PALETTE = 256
