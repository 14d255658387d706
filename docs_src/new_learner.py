"""A learner of your own: views of a batch, and losses from the views. Resume, GradCache and DDP come with `fit`."""

import torch

from antiphon import Branch, Config, ContrastiveLearner, Head, Run, Scale, Train, fit, open_encoder, symmetric_contrast
from antiphon.data.collate import by_column
from antiphon.data.sources import made


class Settings(Config):
    train: Train = Train(steps=10, batch_size=16, lr=1e-3, log_every=1)


class Pair(ContrastiveLearner):
    def __init__(self):
        super().__init__()
        speech, text = open_encoder("speech", "scratch-tiny"), open_encoder("text", "scratch-tiny")
        self.speech, self.text = Branch(speech, Head(speech.width, 32)), Branch(text, Head(text.width, 32))
        self.scale = Scale(0.07)

    def embed(self, batch):
        return {"speech": self.speech(batch["speech"]), "text": self.text(batch["text"])}

    def losses(self, views):
        return {"speech-text": symmetric_contrast(self.scale(views["speech"] @ views["text"].T))}


torch.manual_seed(0)
settings, learner = Settings(), Pair()
run = Run.of("pair", settings)
collate = by_column(speech=learner.speech.encoder, text=learner.text.encoder)
fit(learner, made.load(48), settings.train, run, collate=collate)
print([round(line["loss"], 2) for line in run.metrics()])
