"""Networks of few values for programs other than torch: ONNX with the codebook inside, torch.export, Core ML.

    import wfn.export

    report = wfn.export.to_onnx(model, "network.onnx", pictures)

Every file is compared with the network before it gets its name. What the formats need is imported by their functions.
"""

from wfn.export.checks import ExportError, Report
from wfn.export.coreml import to_coreml
from wfn.export.onnx_file import to_onnx
from wfn.export.program import to_exported_program

__all__ = ["ExportError", "Report", "to_coreml", "to_exported_program", "to_onnx"]
