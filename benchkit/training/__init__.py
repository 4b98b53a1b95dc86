"""The trainer: recipes, stacked runs, and the contract check of methods."""
