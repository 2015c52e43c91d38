"""Weight Fixing Networks: everything between a params file and a report.

Imports run one way, in the order in which data flows:
config -> data -> models -> training -> wfn -> results -> report; `tracking` looks on from the side.
"""

import os
from pathlib import Path

# Downloads of models and data sets stay in the clone, unless their place has been chosen; read when those libraries are
# imported. DVC_ROOT: the repository itself, also from the folder of a queued experiment.
os.environ.setdefault("HF_HOME", str(Path(os.environ.get("DVC_ROOT", ".")).resolve() / ".cache" / "huggingface"))
