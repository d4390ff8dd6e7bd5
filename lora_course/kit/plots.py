"""One look for every figure: white ground, Okabe-Ito colors, a caption and an alternative text.

Colors: Okabe and Ito, "Color Universal Design" (2008), told apart by the color-blind as well.
matplotlib is imported inside the functions. pyplot is never used, so the reader's own settings and
backend stay as they are.
"""

COLORS = {
    "base": "#0072B2",  # blue: the model before training
    "full": "#D55E00",  # vermilion: full fine-tuning
    "lora": "#009E73",  # green: LoRA
    "qlora": "#CC79A7",  # purple: QLoRA
    "extra": "#E69F00",  # orange: anything else
    "grey": "#6E6E6E",  # grey: limits, guides, the rest
}
TEXT = {  # the same colors, dark enough to read on white: 4.5 to 1 or more (WCAG 2.2, 1.4.3)
    "base": "#0072B2",
    "full": "#B04E00",
    "lora": "#007A58",
    "qlora": "#A3487B",
    "extra": "#8F6200",
    "grey": "#6E6E6E",
}
DPI = 220  # pixels per inch; shown at half the size, so that a sharp screen has enough of them


def _style():
    """Context in which the course's look, and nothing of the reader's matplotlibrc, applies."""
    import matplotlib as mpl

    style = {
        **{key: value for key, value in mpl.rcParamsDefault.items() if key != "backend"},
        "axes.prop_cycle": mpl.cycler(color=list(COLORS.values())),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#E4E4E4",
        "font.size": 10,
        "lines.linewidth": 2,
    }
    return mpl.rc_context(style)


def figure(width=7, height=3.2, ncols=1):
    """Return a new figure and its axes in the course's look.

    width, height: inches, of the whole figure.
    ncols: axes side by side; 1 gives `fig, ax`, more gives `fig, array of ncols axes`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _style():
        fig = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        FigureCanvasAgg(fig)
        axes = fig.subplots(ncols=ncols)
    return fig, axes


def png(fig):
    """Return the figure as PNG bytes on white; same figure, same bytes (no date, no version)."""
    from io import BytesIO

    for ax in fig.axes:
        if legend := ax.get_legend():
            legend.get_frame().set(linewidth=0, alpha=0.85)
    buffer = BytesIO()
    with _style():
        fig.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def show(fig, caption, alt):
    """Display the figure, then its caption, and close the figure.

    caption: Markdown, shown as "Figure. caption"; says what there is to see.
    alt: plain text for those who cannot see the picture: kinds of marks, axes, main values.
    Raises ValueError when one of them is empty.

    The text stands in the output's metadata, where nbconvert's classic template finds the `alt` of
    an image. JupyterLab 4.6 and nbconvert's lab template give a PNG output no `alt` at all, hence
    the fold-out description under the caption, which every screen reader reaches.
    """
    from base64 import b64encode
    from html import escape

    from IPython.display import display

    caption, alt = " ".join(caption.split()), " ".join(alt.split())
    if not caption or not alt:
        raise ValueError(
            f"A figure needs a caption and an alternative text; got caption={caption!r} and "
            f"alt={alt!r}. Write one sentence for each."
        )
    image, width = b64encode(png(fig)).decode("ascii"), round(fig.get_figwidth() * DPI / 2)
    display(
        {"image/png": image, "text/plain": f"[{alt}]"},
        metadata={"image/png": {"alt": alt, "width": width}},
        raw=True,
    )
    fold = f"<details><summary>Description</summary>{escape(alt)}</details>"
    display(
        {
            "text/markdown": f"**Figure.** {caption}\n\n{fold}",
            "text/plain": f"Figure. {caption}",
        },
        raw=True,
    )
    fig.clear()
