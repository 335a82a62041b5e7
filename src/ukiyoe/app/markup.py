"""The app's own HTML: pictures as figures, the wall, before and after. Plain strings."""

import base64
import html
from collections.abc import Sequence

from ukiyoe.app.visit import Picture
from ukiyoe.recipe import Recipe

# Also what the page's templates would read as code.
BRACES = {ord("{"): "&#123;", ord("}"): "&#125;", ord("$"): "&#36;", ord("`"): "&#96;"}

# A wave, drawn by us: the empty stage. Decoration, so hidden from screen readers.
WAVE = (
    '<svg viewBox="0 0 240 120" aria-hidden="true"><g fill="none" stroke="currentColor" '
    'stroke-width="2.5" stroke-linecap="round">'
    '<path d="M4 96c30 4 52-10 66-34 14-25 38-42 66-34 22 6 30 30 14 42-12 9-28 2-27-11"/>'
    '<path d="M20 108c40 2 62-16 76-40 10-17 26-26 42-23"/>'
    '<path d="M96 104c30 6 58-2 74-20 16-17 38-18 66-6"/>'
    '<path d="M128 112c30 2 50-6 64-18 10-8 24-9 42-4"/></g></svg>'
)

# Clicks on our buttons become events of the component, with the key of the picture.
CLICKS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (!button) return;
  const key = Number(button.dataset.key);
  if (button.dataset.act === 'edit') trigger('edit', {key});
  if (button.dataset.act === 'select') trigger('select', {key});
  if (button.dataset.act === 'save') {
    const link = document.createElement('a');
    link.href = button.closest('figure').querySelector('img').src;
    link.download = button.dataset.name;
    link.click();
  }
});
"""

# The divider of before and after follows a native range input: touch and keys come with it.
COMPARE = """
const move = () => {
  const range = element.querySelector('input[type=range]');
  if (range) element.style.setProperty('--cut', range.value + '%');
};
element.addEventListener('input', move);
"""


def escape(text: object) -> str:
    """Text as it may stand anywhere in our HTML."""
    return html.escape(str(text)).translate(BRACES)


def data_uri(content: bytes, kind: str) -> str:
    """A picture inside the page itself: no file, no other request."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def describe(recipe: Recipe) -> str:
    """A recipe in a few words: a caption, and what a screen reader says."""
    parts = [f"seed {recipe.seed}"]
    if recipe.variation_seed is not None and recipe.variation > 0:
        parts.append(f"varied {recipe.variation:.0%}")
    if recipe.prompt and recipe.text_scale > 0:
        parts.append(f"“{recipe.prompt[:60]}” {recipe.text_scale:g}")
    if recipe.color and recipe.color_scale > 0:
        parts.append(f"{recipe.color} {recipe.color_scale:g}")
    parts.append(f"{recipe.num_inference_steps} steps")
    return " · ".join(parts)


def shape(recipe: Recipe) -> str:
    """CSS class of a recipe's orientation."""
    return f"u-{recipe.orientation}"


def image(picture: Picture) -> str:
    """The best there is of a picture, as an ``<img>`` or an empty sheet of its color."""
    alt = escape(f"Print, {describe(picture.recipe)}")
    if picture.png is not None:
        uri = data_uri(picture.png, "png")
        return f'<img class="u-print {shape(picture.recipe)}" src="{uri}" alt="{alt}">'
    return thumbnail(picture)


def thumbnail(picture: Picture) -> str:
    """A small view of a picture."""
    alt = escape(f"Print, {describe(picture.recipe)}")
    if picture.thumbnail:
        uri = data_uri(picture.thumbnail, "webp")
        return f'<img class="u-print {shape(picture.recipe)}" src="{uri}" alt="{alt}">'
    color = picture.recipe.color or "transparent"
    return (
        f'<span class="u-print u-blank {shape(picture.recipe)}" style="--wish:{color}" '
        f'role="img" aria-label="{alt}, not drawn yet"></span>'
    )


def empty_stage(text: str) -> str:
    """What the stage shows before anything is drawn."""
    return f'<div class="u-empty">{WAVE}<p>{escape(text)}</p></div>'


def stage(
    finished: Sequence[Picture], previews: Sequence[bytes], waiting: int, orientation: str
) -> str:
    """The pictures of one request: finished, forming, and still to come.

    Args:
        finished: Pictures that are done.
        previews: WebP previews of the next ones.
        waiting: How many more are to come after those.
        orientation: Shape of them all.

    Returns:
        HTML, with the pictures in order.
    """
    figures = [figure(picture) for picture in finished]
    for preview in previews:
        uri = data_uri(preview, "webp")
        figures.append(
            f'<figure class="u-forming"><img class="u-print u-{orientation}" src="{uri}" '
            'alt="A print in the making"></figure>'
        )
    blank = f'<figure><span class="u-print u-blank u-{orientation}"></span></figure>'
    figures += [blank] * waiting
    many = "u-many" if len(figures) > 1 else "u-one"
    return f'<div class="u-stage {many}">{"".join(figures)}</div>'


def figure(picture: Picture) -> str:
    """A finished picture with what was achieved, and what to do with it."""
    save = ""
    if picture.png is not None:  # the page holds the file already: no second copy, no request
        save = (
            '<button type="button" class="u-button" data-act="save" '
            f'data-name="seed-{picture.recipe.seed}.png">Save PNG</button>'
        )
    return (
        f'<figure>{image(picture)}<figcaption><span class="u-recipe">'
        f"{escape(describe(picture.recipe))}</span>"
        f'<span class="u-achieved">{escape(picture.words)}</span>'
        f'<span class="u-actions"><button type="button" class="u-button u-primary" '
        f'data-act="edit" data-key="{picture.key}">Edit this one</button>{save}</span>'
        "</figcaption></figure>"
    )


def compare(before: Picture, after: Picture, names: tuple[str, str] = ("Before", "After")) -> str:
    """Two pictures over each other, with a divider to drag."""
    captions = "".join(
        f'<span class="u-recipe">{name}: {escape(describe(picture.recipe))}</span>'
        f'<span class="u-achieved">{escape(picture.words)}</span>'
        for name, picture in zip(names, (before, after), strict=True)
    )
    return (
        f'<div class="u-compare {shape(after.recipe)}"><div class="u-over">{image(after)}'
        f'<div class="u-before">{image(before)}</div></div>'
        f'<label class="u-range"><span>{names[0]}</span><input type="range" min="0" max="100" '
        f'value="50" aria-label="Divider between {names[0]} and {names[1]}">'
        f"<span>{names[1]}</span></label><figcaption>{captions}</figcaption></div>"
    )


def strip(pictures: Sequence[Picture], current: int | None) -> str:
    """Small pictures in a row, each a button."""
    items = [
        f'<button type="button" class="u-card" data-act="select" data-key="{picture.key}" '
        f'aria-pressed="{"true" if picture.key == current else "false"}" '
        f'aria-label="{escape(f"Step {number}: {describe(picture.recipe)}")}">'
        f"{thumbnail(picture)}</button>"
        for number, picture in enumerate(pictures, 1)
    ]
    return f'<div class="u-strip">{"".join(items)}</div>'


def wall(pictures: Sequence[Picture], chosen: Sequence[int]) -> str:
    """Every picture of a visitor, each a button."""
    if not pictures:
        return empty_stage("Your wall is empty. What you make hangs here, newest first.")
    items = [
        f'<button type="button" class="u-card" data-act="select" data-key="{picture.key}" '
        f'aria-pressed="{"true" if picture.key in chosen else "false"}" '
        f'aria-label="{escape(describe(picture.recipe))}">{thumbnail(picture)}</button>'
        for picture in pictures
    ]
    return f'<div class="u-wall">{"".join(items)}</div>'


def status(text: str, share: float | None = None) -> str:
    """A line over a bar of how far it is; screen readers announce the ends, not every step."""
    width = 0 if share is None else round(100 * share)
    live = ' role="status" aria-live="polite"' if share is None else ""
    return (
        f'<div class="u-status"{live}>{escape(text)}</div>'
        f'<div class="u-bar" aria-hidden="true"><span style="width:{width}%"></span></div>'
    )
