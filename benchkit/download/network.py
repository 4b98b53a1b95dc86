"""Time limits of HTTP requests, and network errors in a few words."""

from __future__ import annotations

import requests

TIMEOUT = (15, 60)  # seconds to connect, and between two bytes
_TEMPORARY = {408, 429, 500, 502, 503, 504}  # status codes that may change within minutes


def is_temporary(error: requests.RequestException) -> bool:
    """Whether the same request may succeed a moment later."""
    if error.response is not None:
        return error.response.status_code in _TEMPORARY
    kinds = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, kinds)


def reason(error: requests.RequestException) -> str:
    """A network error in a few words, for the end of a sentence."""
    if error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "the server timed out"
    if isinstance(error, requests.exceptions.ChunkedEncodingError) or "closed early" in str(error):
        return "the connection was cut"
    if isinstance(error, requests.exceptions.SSLError):
        return "the certificate is not trusted"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, requests.exceptions.TooManyRedirects):
        return "the server redirects without end"
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return "the address is not valid"
    return "the request failed"
