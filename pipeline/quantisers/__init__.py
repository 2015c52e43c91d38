"""The methods that WFN is compared with, one module each; `pipeline.quantising` says what such a module provides."""
