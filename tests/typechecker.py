"""The checker behind the shape annotations: beartype, where an int is a fine float (PEP 484)."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
