"""The published splits of papers, by name, one module per family.

Each module defines its splits (`SPLITS`), the data that they need, and their known figures; `core`
has the contract, the readers of the authors' list files and the discovery. Random numbers are
passed in as `Tools`.
"""
