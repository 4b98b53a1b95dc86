"""The methods' room: every file here is one method; `baselines.core` is what they stand on.

A method file holds a frozen dataclass of hyperparameters, the loss as a pure function of tensors,
the method, and its `MethodInfo`. Nothing here opens a file or knows a data set; random numbers and
all data come in through the contract of `baselines.core.contract`.
"""
