"""The code that travels with a packed network into MLflow: pictures in, probabilities out.

MLflow runs this file where the network is loaded or served, beside a copy of `wfn`; nothing else of ours is there.
"""

import base64
import binascii
import io
from typing import Any

import mlflow
import pandas as pd
import torch
from PIL import Image

import wfn


class PackedNetwork(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    """A data frame with a column `image`, each the content of a picture file, or that in base64, as text."""

    def load_context(self, context: Any) -> None:
        """Load the packed file."""
        self._network: Any = wfn.load(context.artifacts["network"])

    def predict(
        self,
        context: Any,
        model_input: pd.DataFrame,
        params: dict[str, object] | None = None,
    ) -> pd.DataFrame:
        """A row of class probabilities for each picture; columns are the names of the classes."""
        pictures = [self._network.transform(_picture(image)) for image in model_input["image"]]
        with torch.inference_mode():
            probabilities = self._network(torch.stack(pictures)).softmax(-1).numpy()
        names = self._network.classes or [str(i) for i in range(probabilities.shape[1])]
        return pd.DataFrame(probabilities, columns=names)


def _picture(image: bytes | str) -> Image.Image:
    try:
        content = base64.b64decode(image, validate=True) if isinstance(image, str) else image
        return Image.open(io.BytesIO(content))
    except (binascii.Error, OSError) as error:
        raise ValueError(f"image: not a picture that Pillow can read ({error})") from None


mlflow.models.set_model(PackedNetwork())
