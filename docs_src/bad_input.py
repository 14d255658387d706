"""What cannot be used is named, with the reason, in one line."""

from antiphon.data.checking import decodable
from antiphon.data.sources import made
from antiphon.decode import BadInput, decode_image

try:
    decode_image(b"not a picture")
except BadInput as error:
    print(error)

counts, bad = decodable(made.load(6))
print(counts, bad)
