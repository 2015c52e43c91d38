"""Weight Fixing Networks reproduced: everything between a params file and a report.

Imports run one way, from room to room in the order in which data flows: base, watching, data, network, training,
measuring, fixing beside comparing and methods, packing, report, which knows saved results only; then ahead, paper and
spreading, which have whole runs in view. The method itself is the library `wfn`, which knows nothing of this.
"""

import os
from pathlib import Path

# Downloads of models and data sets stay in the clone, unless their place has been chosen; read when those libraries are
# imported. DVC_ROOT: the repository itself, also from the folder of a queued experiment.
os.environ.setdefault("HF_HOME", str(Path(os.environ.get("DVC_ROOT", ".")).resolve() / ".cache" / "huggingface"))
# Threads of OpenMP spin while they wait for each other, for milliseconds, which other processes then lack. Here they
# yield after some tens of microseconds (docs/budgets.md); read when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
