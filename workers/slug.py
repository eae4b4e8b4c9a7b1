"""SLUG: a title as a part of an address. `zmws call SLUG title='How do I begin?' words:=3`"""

import re
import unicodedata

from zmws import worker


@worker("SLUG", retries=0)
def slug(title: str, words: int = 8) -> str:
    """The first words of a title, in lower case and joined by dashes."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return "-".join(re.findall(r"[a-z0-9]+", plain)[:words])
