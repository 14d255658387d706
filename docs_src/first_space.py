"""Train a tiny space of pictures and words on generated rows, and ask it for a picture."""

from antiphon import Run, Space
from antiphon.data.sources import made
from antiphon.recipes import clip

config = clip.tiny().but(train__steps=60)
run = Run.of("clip", config)  # runs/clip-<hash>-seed0: the same config finds the same folder, and goes on there
measures = clip.run(config, run)
print(f"R@1 from picture to words, of pairs never trained on: {measures['test/image->text/R@1']:.2f}")

space = Space.load(run.folder / "space")
rows = made.load(48)  # every shape in every colour
scores = space.embed(text=["a red circle"]) @ space.embed(image=rows["image"]).T
print("nearest to 'a red circle':", rows["text"][int(scores.argmax())])
