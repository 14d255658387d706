"""A batch larger than memory: embedded a few rows at a time, with the gradients of the whole batch."""

from antiphon import Run
from antiphon.recipes import clip

whole = clip.tiny().but(train__steps=3)
cached = whole.but(train__microbatch=8)
losses = []
for config in (whole, cached):
    run = Run.of("clip", config)
    clip.run(config, run)
    losses.append([round(line["loss"], 3) for line in run.metrics()])
print(losses[0], losses[1])  # equal but for dropout, which draws other masks for other batches
