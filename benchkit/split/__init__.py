"""Split files: the model in memory, the HDF5 file, building, comparing, describing, drawing."""
