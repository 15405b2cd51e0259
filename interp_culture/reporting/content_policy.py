"""A content security policy for pages of one file: nothing is loaded, and only our scripts run."""

from __future__ import annotations

import base64
import hashlib
import re

SCRIPT = re.compile(r"<script[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)
# At the beginning of the head, since a policy holds for what comes after it.
AFTER = '<meta charset="utf-8">'


def with_policy(html: str) -> str:
    """The page with a policy that its own scripts, by their hash, and styles satisfy alone.

    A script that data brings into the page has no such hash: the browser does not run it. Nothing
    is requested from any address, images in the page itself excepted.

    >>> page = '<meta charset="utf-8"><script>1</script>'
    >>> with_policy(page)[:67]
    '<meta charset="utf-8">\\n<meta http-equiv="Content-Security-Policy" c'
    """
    hashes = " ".join(sorted({_hash(script) for script in SCRIPT.findall(html)})) or "'none'"
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {hashes}",
            # plotly sets the styles of what it draws.
            "style-src 'unsafe-inline'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    return html.replace(AFTER, f"{AFTER}\n{meta}", 1)


def _hash(script: str) -> str:
    """A script as a policy names it. Browsers read line ends as one character."""
    content = script.replace("\r\n", "\n").replace("\r", "\n")
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
