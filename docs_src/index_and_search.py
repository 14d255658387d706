"""Keep an index of your files beside a space, and search it by words, pictures or sounds."""

from antiphon import Index, Run, Space
from antiphon.data.sources import made
from antiphon.recipes import clip
from antiphon.search.index import Entry

config = clip.tiny()
run = Run.of("clip", config)
clip.run(config, run)

space = Space.load(run.folder / "space")
rows = made.load(48)
entries = [Entry(row=row["id"], column="image", show=row["text"]) for row in rows]
Index(space.embed(image=rows["image"]), entries).save("index")

for hit in Index.load("index").search(space.embed(text=["a green star"])[0], k=3):
    print(f"{hit.score:.3f} {hit.entry.show}")
