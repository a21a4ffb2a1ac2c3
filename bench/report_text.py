"""How the reports of bench/report.py write numbers and draw plots."""


def pyplot():
    """matplotlib's, set to write SVG; loaded here, for tables and claims do without it."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "longwave"  # the same data, the same file
    import matplotlib.pyplot

    return matplotlib.pyplot


def milliseconds(value: float) -> str:
    """Three significant digits, as people read times."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def times(ratio: float) -> str:
    """A ratio as people read it: two digits, no exponent."""
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.2g}x"
