"""Units of measure behind a number: those of one scale are told apart, and spelt in one way."""

from __future__ import annotations

__all__ = ["UNIT", "unit_of"]

UNIT = "~"
"""What stands between a number and its unit in canonical spelling."""

_SPELT = {
    "in": "inch inches",
    "ft": "foot feet",
    "yd": "yard yards yds",
    "mi": "mile miles",
    "mm": "millimeter millimeters millimetre millimetres",
    "cm": "centimeter centimeters centimetre centimetres",
    "m": "meter meters metre metres",
    "km": "kilometer kilometers kilometre kilometres kms",
    "mg": "milligram milligrams",
    "g": "gram grams",
    "kg": "kilogram kilograms kgs",
    "oz": "ounce ounces",
    "lb": "pound pounds lbs",
    "ton": "tons tonne tonnes",
    "ml": "milliliter milliliters millilitre millilitres mL",
    "L": "liter liters litre litres",
    "cup": "cups",
    "pt": "pint pints",
    "qt": "quart quarts",
    "gal": "gallon gallons",
    "s": "second seconds sec secs",
    "min": "minute minutes mins",
    "h": "hour hours hr hrs",
    "day": "days",
    "week": "weeks",
    "month": "months",
    "year": "years yr yrs",
    "cent": "cents",
    "rad": "radian radians",
}
_UNITS = {word: unit for unit, words in _SPELT.items() for word in (unit, *words.split())}
_POWERS = {"square": "^2", "sq": "^2", "squared": "^2", "cubic": "^3", "cubed": "^3"}
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}


def unit_of(words: str, power: str = "") -> str:
    r"""Return what of the words behind a number counts: a power of ten, a unit of measure, or nothing.

    "million" is `\cdot10^6`, "square feet" is `~ft^2`, "apples" are nothing.
    """
    said = words.strip().rstrip(".").split()
    tens = sum(_SCALES.get(word.casefold(), 0) for word in said)
    scale = rf"\cdot10^{tens}" if tens else ""
    units = [unit for word in said if (unit := _UNITS.get(word) or _UNITS.get(word.casefold()))]
    if not units:
        return scale
    powers = [_POWERS[word.casefold()] for word in said if word.casefold() in _POWERS]
    raised = "".join(powers) or "".join(power.replace("{", "").replace("}", "").split())
    return f"{scale}{UNIT}{'/'.join(units)}{raised}"
