"""One of the losses in a training loop of your own; benchkit does not see the loop."""

import torch

from benchkit.losses import distribution_balanced_loss
from benchkit.metrics import average_precision

generator = torch.Generator().manual_seed(0)
frequency = torch.tensor([0.5, 0.3, 0.15, 0.08, 0.04])
labels = (torch.rand(400, 5, generator=generator) < frequency).long()
features = labels.float() @ torch.randn(5, 16, generator=generator)
features += torch.randn(400, 16, generator=generator)

train, test = slice(0, 300), slice(300, 400)
class_counts = labels[train].sum(0)

model = torch.nn.Linear(16, 5)
optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(30):
    for rows in torch.randperm(300, generator=generator).split(32):
        logits = model(features[train][rows])
        loss = distribution_balanced_loss(
            logits, labels[train][rows], class_counts=class_counts, num_images=300
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

with torch.no_grad():
    scores = model(features[test]).numpy()
print("test mAP", average_precision(scores, labels[test].numpy()).mean().round(3))
