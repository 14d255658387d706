"""Rows of a manifest: a CSV beside the files, its columns named by you."""

import csv
from pathlib import Path

from antiphon.data.sources import folder, made

place = Path("pictures")
place.mkdir(exist_ok=True)
with (place / "list.csv").open("w", newline="", encoding="utf-8") as file:
    lines = csv.writer(file)
    lines.writerow(["photo", "title"])
    for row in made.load(4):
        (place / f"{row['id']}.png").write_bytes(row["image"]["bytes"])
        lines.writerow([f"{row['id']}.png", row["text"]])

rows = folder.load(place / "list.csv", columns={"image": "photo", "text": "title"})
print(rows.column_names, rows["text"][:2])
