"""Packed networks on the Hugging Face hub: `push` publishes one, `wfn.load("hf-hub:owner/name")` has it."""

from wfn.hub.publish import push

__all__ = ["push"]
