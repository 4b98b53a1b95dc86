"""The splits that papers published, by name, one module per family.

Each module says what it makes (`SPLITS`), from what, and which figures are known; `core` holds the
contract, the readers of the authors' list files and the discovery. Random numbers come in as
`Tools`, so that nothing here owns a generator.
"""
