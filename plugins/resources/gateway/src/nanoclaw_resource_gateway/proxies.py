"""The proxies between the gateway and its upstreams, from the environment of the host."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from nanoclaw_core import SettingsError

SUPPORTED = ("http", "https")
_REMEDY = (
    "Set HTTP_PROXY and HTTPS_PROXY to an http:// or https:// proxy, or NO_PROXY to * for no proxy, and restart the"
    " host."
)


def require_supported_proxies(environment: Mapping[str, str]) -> None:
    """Check the proxies for http and https upstreams.

    The gateway would speak HTTP to a proxy of another kind, and so send it the key.

    Raises:
        SettingsError: A variable names a proxy of another scheme, or none at all. The proxy may hold a password, so the
            error names only its scheme.
    """
    for upstream_scheme in SUPPORTED:
        variable = _variable(upstream_scheme, environment)
        if variable is None or _is_exempt("", environment):
            continue
        try:
            parts = urlsplit(_with_scheme(environment[variable]))
            scheme, is_complete = parts.scheme, bool(parts.hostname) and parts.port != 0
        except ValueError:  # an invalid host or port
            scheme, is_complete = "", False
        if is_complete and scheme not in SUPPORTED:
            raise SettingsError(f"{variable}: the scheme must be http or https, got {scheme[:20]}", _REMEDY)
        if not is_complete:
            raise SettingsError(f"{variable}: must be the address of a proxy, like http://proxy.example:3128", _REMEDY)


def proxy_for(url: str, environment: Mapping[str, str]) -> str | None:
    """Return the proxy that the host's environment sets for an address, or None."""
    parts = urlsplit(url)
    variable = _variable(parts.scheme, environment)
    if variable is None or _is_exempt(parts.hostname or "", environment):
        return None
    return _with_scheme(environment[variable])


def _variable(scheme: str, environment: Mapping[str, str]) -> str | None:
    """Return the variable that sets the proxy for upstreams of a scheme, or None."""
    names = (f"{scheme}_proxy", "all_proxy")
    return next((key for name in names for key in (name, name.upper()) if environment.get(key)), None)


def _with_scheme(proxy: str) -> str:
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_exempt(host: str, environment: Mapping[str, str]) -> bool:
    no_proxy = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    domains = [entry.strip().lstrip(".").lower() for entry in no_proxy.split(",") if entry.strip()]
    return "*" in domains or any(host == domain or host.endswith(f".{domain}") for domain in domains)
