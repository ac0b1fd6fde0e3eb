"""What Mixpanel's clients tell of a device, a page and themselves, in the canonical form.

Arrives: the members of an event's properties or of an update. Leaves: a context, a library, and traits by their
canonical names. Nothing here refuses an event: what has another type than its place wants is left where it came from.
The names are those of Mixpanel's public docs (Default Properties, Reserved Profile Properties).
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from pipeline.dialects.mixpanel_update import Traits
from pipeline.json_text import as_object
from topics.raw import EMPTY_OBJECT, Stamp

Members = Mapping[str, Raw]

_PLACES: Final = {
    "$current_url": ("page", "url"),
    "current_page_title": ("page", "title"),
    "current_url_path": ("page", "path"),
    "current_url_search": ("page", "search"),
    "$referrer": ("page", "referrer"),
    "$os": ("os", "name"),
    "$os_version": ("os", "version"),
    "$browser": ("browser", "name"),
    "$browser_version": ("browser", "version"),
    "$device": ("device", "name"),
    "$manufacturer": ("device", "manufacturer"),
    "$model": ("device", "model"),
    "$screen_width": ("screen", "width"),
    "$screen_height": ("screen", "height"),
    "$screen_dpi": ("screen", "density"),
    "$app_version_string": ("app", "version"),
    "$app_build_number": ("app", "build"),
    "$carrier": ("network", "carrier"),
    "$wifi": ("network", "wifi"),
    "utm_source": ("campaign", "source"),
    "utm_medium": ("campaign", "medium"),
    "utm_campaign": ("campaign", "name"),
    "utm_term": ("campaign", "term"),
    "utm_content": ("campaign", "content"),
    "mp_lib": ("library", "name"),
    "$lib_version": ("library", "version"),
}
_NO_IP: Final = frozenset({"", "0"})  # how a client says that its address is nobody's business
_TRAIT_NAMES: Final = {
    "$avatar": "avatar",
    "$created": "createdAt",
    "$email": "email",
    "$first_name": "firstName",
    "$last_name": "lastName",
    "$name": "name",
    "$phone": "phone",
}
_NULL: Final = Raw(b"null")
_QUOTE: Final = ord('"')
_NOT_PLAIN: Final = b"{[n"

_decode_text = msgspec.json.Decoder(str).decode


def context_of(members: Members, stamp: Stamp) -> Raw:
    """The context of an event: of the address, what the client says, else what the ingress saw of a browser or app."""
    context: dict[str, Any] = {}
    for name, value in members.items():
        place = _PLACES.get(name)
        if place is not None and _is_plain(value):
            of, what = place
            if of in context:
                context[of][what] = value
            else:
                context[of] = {what: value}
    said = _text_of(members.get("$ip") or members.get("ip"))
    ip = stamp.ip if said is None else said
    if ip is not None and ip not in _NO_IP:
        context["ip"] = ip
    if stamp.key_kind == "public" and stamp.user_agent is not None:
        context["userAgent"] = stamp.user_agent
    return as_object(context) if context else EMPTY_OBJECT


def library_of(members: Members) -> str | None:
    """The client library, as `name/version`."""
    name, version = _text_of(members.get("mp_lib")), _text_of(members.get("$lib_version"))
    return f"{name}/{version}" if name and version else name or None


def traits_of(told: Traits) -> Raw:
    """The traits that an update tells, by their canonical names; one that is taken back is null."""
    taken_back = [told.unset] if isinstance(told.unset, str) else told.unset or []
    once, always = told.set_once or {}, told.set or {}
    members = {**once, **dict.fromkeys(taken_back, _NULL), **always}
    return as_object({_TRAIT_NAMES.get(name, name): value for name, value in members.items()})


def _is_plain(value: Raw) -> bool:
    text = bytes(value)
    return text[0] not in _NOT_PLAIN and text != b'""'


def _text_of(value: Raw | None) -> str | None:
    return _decode_text(value) if value is not None and bytes(value)[0] == _QUOTE else None
