"""Training: recipes, inputs, epoch plans, stacked runs, the trainer, and the contract check."""
