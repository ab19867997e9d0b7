"""The mark: two discs that overlap, in the colours of the two modalities. Drawn, not downloaded."""

from __future__ import annotations

_DISCS = (
    '<circle cx="12" cy="16" r="10" fill="#2F7FC1" fill-opacity="0.9"/>'
    '<circle cx="20" cy="16" r="10" fill="#D97706" fill-opacity="0.85"/>'
    '<path d="M16 6.83a10 10 0 0 1 0 18.34a10 10 0 0 1 0-18.34z" fill="#FFFFFF" '
    'fill-opacity="0.85"/>'
)
ICON = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">{_DISCS}</svg>'
LOGO = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 172 32" width="172" height="32">'
    f'{_DISCS}<text x="40" y="22.5" font-family="Source Sans, Helvetica, Arial, sans-serif" '
    'font-size="20" font-weight="600" fill="#6B7A89">Fusionscope</text></svg>'
)
