"""Draws docs/lora.png, the picture in README.md: python docs/make_picture.py"""

from pathlib import Path

from lora_course.kit.plots import COLORS, figure, png

SIDE = 2.0  # of W, in drawing units
THIN = 0.26  # drawn for r; to scale, r = 8 of 4096 would be too thin to see
MIDDLE = 1.75  # height of the row of matrices


def matrix(ax, x, width, height, color, name, lines):
    """A matrix as a box with its name inside (or above, if thin) and lines of text below."""
    from matplotlib.patches import Rectangle

    y = MIDDLE - height / 2
    ax.add_patch(Rectangle((x, y), width, height, facecolor=color, edgecolor="none", alpha=0.85))
    thin = min(width, height) < 1
    where = (x + width / 2, y + height + 0.2 if thin else MIDDLE)
    ax.text(*where, name, ha="center", va="center", size=15, color="black" if thin else "white")
    for row, line in enumerate(lines):
        ax.text(x + width / 2, 0.45 - 0.27 * row, line, ha="center", va="center", size=9.5)


def sign(ax, x, text):
    ax.text(x, MIDDLE, text, ha="center", va="center", size=17)


def main():
    fig, ax = figure(width=8, height=3)
    ax.set(xlim=(0, 8.8), ylim=(-0.25, 3.1), aspect="equal")
    ax.axis("off")
    matrix(ax, 0.1, SIDE, SIDE, COLORS["grey"], "W'", ["4096 × 4096", "used for the answer"])
    sign(ax, 2.45, "=")
    matrix(ax, 2.8, SIDE, SIDE, COLORS["base"], "W", ["4096 × 4096", "16.8 M numbers, frozen"])
    sign(ax, 5.35, r"$+\ \frac{\alpha}{r}$")
    matrix(ax, 5.9, THIN, SIDE, COLORS["lora"], "B", ["4096 × 8", "begins at zero"])
    matrix(ax, 6.6, SIDE, THIN, COLORS["lora"], "A", ["8 × 4096", "begins at random"])
    ax.text(7.6, 2.55, "trained: 65,536 numbers,\n0.4 % of W", ha="center", size=9.5)
    Path(__file__).with_name("lora.png").write_bytes(png(fig))


if __name__ == "__main__":
    main()
