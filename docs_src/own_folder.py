"""Train on a folder of your own: files of one name are one row. Here the files are generated first."""

from pathlib import Path

from antiphon import Run
from antiphon.data.sources import made
from antiphon.recipes import clip

folder = Path("my_files")
folder.mkdir(exist_ok=True)
for row in made.load(96):
    (folder / f"{row['id']}.png").write_bytes(row["image"]["bytes"])
    (folder / f"{row['id']}.txt").write_text(row["text"], encoding="utf-8")

config = clip.tiny().but(data__source="folder", data__options={"folder": str(folder)}, train__steps=5)
measures = clip.run(config, Run.of("clip", config))
print({name: round(value, 3) for name, value in measures.items() if name.startswith("test/image->text/R@")})
