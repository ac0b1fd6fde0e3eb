"""Where the store is: a URL in, its parts out."""

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from store.errors import StoreFailure

DEFAULT_DATABASE = "whipstitch"
_PORTS = {"http": 8123, "https": 8443, "clickhouse": 9000, "clickhouses": 9440}


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    is_secure: bool

    @property
    def netloc(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        """Fit for messages: no password."""
        return f"{self.netloc}/{self.database}"


def address_of(url: str) -> Address:
    """Raises StoreFailure where host or port cannot be read."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise StoreFailure(f"the store's address cannot be read: {error}; correct WHIPSTITCH_STORE") from None
    if not host:
        raise StoreFailure("the store's address names no host; correct WHIPSTITCH_STORE")
    return Address(
        host=host,
        port=port or _PORTS[parts.scheme],
        user=unquote(parts.username or "default"),
        password=unquote(parts.password or ""),
        database=unquote(parts.path.strip("/")) or DEFAULT_DATABASE,
        is_secure=parts.scheme in ("https", "clickhouses"),
    )
