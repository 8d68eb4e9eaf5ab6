"""Colour management: embedded profiles to sRGB, as browsers convert them.

A profile that browsers ignore is ignored. One that they apply is applied at full size, whatever it does to the image:
what an extreme curve makes visible has to be seen.
"""

from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from moderation_service.media import icc
from moderation_service.media.icc import LEVELS, Floats, Profile

_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D65 = (0.3127, 0.3290)
_C = (0.310, 0.316)
_BT709 = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_PRIMARIES: dict[int, tuple[float, ...]] = {  # by ITU-T H.273: x and y of white, red, green and blue
    1: _BT709,
    4: (*_C, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    8: (*_C, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    10: (1 / 3, 1 / 3, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_PQ_WHITE = 400.0  # nits
_HLG_GAIN = 2.46
_LARGEST = 2.0  # of a matrix; times sRGB's own, 8 would overflow the integers of the optimized path of lcms
_EXACT_PIXELS = 8_000_000
"""The most that are converted without that path, which takes 0.3 µs a pixel instead of 0.01."""


class ConversionCostError(Exception):
    """The image is too large for the kind of its profile."""


def profile_from_cicp(primaries: int, transfer: int) -> Profile | None:
    """The profile that two numbers of ITU-T H.273 name; None where browsers know either not."""
    curve = _transfer(transfer)
    if primaries not in _PRIMARIES or curve is None:
        return None
    return Profile("RGB", curves=np.stack([curve] * 3), columns=_columns(_PRIMARIES[primaries]))


def profile_from_gamma(gamma: float, chromaticities: Sequence[float] | None) -> Profile | None:
    """The profile of a PNG's gAMA and cHRM (white, red, green, blue); None where browsers ignore them."""
    if gamma <= 0:
        return None
    curves = np.stack([LEVELS ** (1 / gamma)] * 3)
    try:
        return Profile("RGB", curves=curves, columns=_columns(chromaticities or _BT709))
    except np.linalg.LinAlgError:
        return Profile("RGB", curves=curves, columns=_SRGB_COLUMNS)


def to_srgb(image: Image.Image, profile: Profile | None) -> Image.Image:  # noqa: PLR0911 - a kind of profile each
    """An L, RGB, RGBA or CMYK image in sRGB; as it is where the profile is for images of other channels.

    Raises ConversionCostError, and ImageCms.PyCMSError for a table that is broken.
    """
    if profile is None:
        return image
    if profile.cicp and (named := profile_from_cicp(*profile.cicp)):
        profile = named
    if profile.space == "GRAY":
        if image.mode != "L" or profile.curves is None:
            return image
        return image.point(_lut(profile.curves))
    if image.mode == "CMYK" or profile.space == "CMYK":
        if image.mode != profile.space or profile.table is None:
            return image
        return _converted(image, profile.table, exact=True)
    colours = image.convert("RGB") if image.mode == "L" else image
    if profile.table:
        return _converted(colours, profile.table, exact=True)
    curves, columns = profile.curves, profile.columns
    if curves is None or columns is None:
        return image
    if np.abs(columns - _SRGB_COLUMNS).max() < 0.002:  # noqa: PLR2004 - the primaries are sRGB's own
        return _looked_up(image, curves)
    most = max(1.0, float(curves.max()))  # curves in a profile end at 1, so the matrix takes the rest
    columns, curves = columns * most, curves / most
    return _converted(colours, icc.write(columns, curves), exact=np.abs(columns).max() > _LARGEST)


def _looked_up(image: Image.Image, curves: Floats) -> Image.Image:
    if image.mode == "L" and np.array_equal(curves[0], curves[1]) and np.array_equal(curves[0], curves[2]):
        curves = curves[:1]
    tables = _lut(curves)
    if np.abs(np.array(tables).reshape(-1, 256) - np.arange(256)).max() <= 1:
        return image  # sRGB, but for rounding
    image = image.convert("RGB") if image.mode == "L" and len(curves) > 1 else image
    return image.point([*tables, *range(256)] if image.mode == "RGBA" else tables)


def _lut(curves: Floats) -> list[int]:
    linear = curves.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)  # noqa: PLR2004 - sRGB
    return [round(float(level)) for level in (encoded * 255).flat]


def _converted(image: Image.Image, profile: bytes, *, exact: bool) -> Image.Image:
    if exact and image.width * image.height > _EXACT_PIXELS:
        raise ConversionCostError
    return _transform(profile, image.mode, exact).apply(image)


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str, exact: bool) -> ImageCms.ImageCmsTransform:  # noqa: FBT001 - a cache's key
    """The conversion to sRGB; `exact`: without the approximations of lcms, which level out a steep table."""
    flags = ImageCms.Flags.NOOPTIMIZE if exact else ImageCms.Flags.NONE
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    to = "RGB" if mode == "CMYK" else mode
    return ImageCms.ImageCmsTransform(source, _SRGB, mode, to, ImageCms.Intent.RELATIVE_COLORIMETRIC, flags=flags)


def _transfer(number: int) -> Floats | None:  # noqa: PLR0911 - a function each
    """The linear value of each level; of PQ and HLG as Chromium shows them where there is no HDR."""
    level = LEVELS
    match number:
        case 1 | 6 | 11 | 14 | 15:
            return level**2.4  # of a display by BT.1886
        case 4:
            return level**2.2
        case 5:
            return level**2.8
        case 7:
            return np.where(level < 0.0912, level / 4, ((level + 0.1115) / 1.1115) ** (1 / 0.45))  # noqa: PLR2004
        case 8:
            return level
        case 13:
            return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004
        case 16:
            power = level ** (32 / 2523)
            nits = 10_000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (16384 / 2610)
            return np.minimum(nits / _PQ_WHITE, 1.0)
        case 17:
            return (52.37 / 48) * level**2.6
        case 18:
            scene = np.where(level <= 0.5, level**2 / 3, (np.exp((level - 0.55991073) / 0.17883277) + 0.28466892) / 12)  # noqa: PLR2004
            return np.minimum(scene**1.2 * _HLG_GAIN, 1.0)
        case _:
            return None


def _columns(chromaticities: Sequence[float]) -> Floats:
    """XYZ of red, green and blue [3, 3], a column each, adapted to D50. Raises LinAlgError where they span nothing."""
    x, y = np.reshape(chromaticities, (4, 2)).T
    xyz = np.stack([x, y, 1 - x - y])
    if y[0] <= 0:
        raise np.linalg.LinAlgError
    white, columns = xyz[:, 0] / y[0], xyz[:, 1:]
    columns = columns * np.linalg.solve(columns, white)
    cones = np.diag((_BRADFORD @ icc.D50) / (_BRADFORD @ white))
    return np.asarray(np.linalg.solve(_BRADFORD, cones @ _BRADFORD @ columns))


_SRGB_COLUMNS = _columns(_BT709)
