"""Weight Fixing Networks: everything between a params file and a report.

Imports run one way, in the order in which data flows:
config -> data -> models -> training -> wfn -> results -> report; `tracking` looks on from the side.
"""
