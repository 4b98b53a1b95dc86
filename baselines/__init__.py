"""The methods: every file of this folder is one method.

A method file contains a frozen dataclass of hyperparameters, the loss as a pure function of
tensors, the method, and its `MethodInfo`. `baselines.core` has the contract, `baselines.shared` the
code that several methods use. Methods open no files and know no data set; data and random numbers
come in through the contract.
"""
