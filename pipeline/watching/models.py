"""A packed network as a model of MLflow, that loads and serves itself: `runs:/.../network`."""

from __future__ import annotations

import os
import warnings
from importlib.metadata import version
from pathlib import Path

CODE = Path(__file__).parents[2]
NETWORK = "network"  # the artifact's name, and that of the packed file in it
NEEDED = ("torch", "torchvision", "timm", "numpy", "numba", "pandas", "pillow", "mlflow")


def save_model(packed: Path, folder: Path) -> None:
    """Write a folder that MLflow can load: the packed file, the code to read it, and what that needs."""
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it advises against a signature without an example
        pyfunc.save_model(
            path=str(folder),
            python_model=str(Path(__file__).with_name("served.py")),
            artifacts={NETWORK: packed.absolute().as_uri()},
            code_paths=[str(CODE / "wfn")],
            signature=ModelSignature(inputs=Schema([ColSpec("binary", "image")])),
            pip_requirements=[f"{package}=={version(package)}" for package in NEEDED],
        )
