"""Sliders and buttons, with a text in their place where no kernel runs."""


def show_controls(widget, text):
    """Display an ipywidget; a saved notebook and a page on the web show the text instead.

    text: what the controls show at their start, in lines.
    """
    from html import escape

    from IPython.display import display

    shown = {
        **widget._repr_mimebundle_(),
        "text/plain": text,
        "text/html": f"<pre style='line-height: 1.3'>{escape(text)}</pre>",
    }
    display(shown, raw=True)
