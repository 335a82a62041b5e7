"""Where everything stands on the page; what it does is in `events.py`."""

import json
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ukiyoe.app.controls import EXAMPLES, PIGMENTS, TEXT_ENCODERS
from ukiyoe.app.markup import CLICKS, COMPARE, empty_stage, status, wall
from ukiyoe.app.visit import Visit
from ukiyoe.model import Model
from ukiyoe.settings import APP, DEFAULTS, MAX_PROMPT, MAX_SCALE, ORIENTATIONS, SOLVERS

HEAD = (
    '<header class="u-head"><h1>Ukiyoe</h1>'
    "<p>Postcards in the manner of woodblock prints: the picker moves, the picture follows.</p>"
    "</header>"
)
MEMORY_KEY = "ukiyoe-wall"  # fixed, as is the secret: recipes survive a restart of the server
DRAFT, FINE = "draft", "fine"
FIRST_COLOR = "#1f4e79"


@dataclass(frozen=True)
class Steering:
    """The controls that Create and Edit share.

    Attributes:
        color_on: Whether to steer the color.
        color: Which one.
        color_scale: How strongly.
        prompt: What to steer to, in words.
        text_scale: How strongly.
        pigments: Buttons that set a color.
    """

    color_on: gr.Checkbox
    color: gr.ColorPicker
    color_scale: gr.Slider
    prompt: gr.Textbox
    text_scale: gr.Slider
    pigments: list[gr.Button]

    def values(self) -> list[Any]:
        """Components in the order of `ukiyoe.app.controls.steered`."""
        return [self.color_on, self.color, self.color_scale, self.prompt, self.text_scale]


@dataclass(frozen=True)
class Create:
    """The tab that makes new pictures; its attributes are what is on it."""

    steering: Steering
    orientation: gr.Radio
    seed: gr.Textbox
    random: gr.Checkbox
    count: gr.Slider
    quality: gr.Radio
    solver: gr.Dropdown
    steps: gr.Slider
    text_encoder: gr.Dropdown
    draw: gr.Button
    stop: gr.Button
    status: gr.HTML
    stage: gr.HTML
    examples: list[tuple[gr.Button, tuple[str, str, int]]]


@dataclass(frozen=True)
class Edit:
    """The tab that moves one picture; its attributes are what is on it."""

    steering: Steering
    small: gr.Button
    large: gr.Button
    undo: gr.Button
    stop: gr.Button
    status: gr.HTML
    stage: gr.HTML
    strip: gr.HTML


@dataclass(frozen=True)
class Wall:
    """The tab with all of a visitor's pictures; its attributes are what is on it."""

    pictures: gr.HTML
    status: gr.HTML
    detail: gr.HTML
    compare: gr.Checkbox
    reuse: gr.Button
    redraw: gr.Button
    delete: gr.Button
    zip: gr.Button
    zip_file: gr.DownloadButton
    drop: gr.File


@dataclass(frozen=True)
class Page:
    """The whole page.

    Attributes:
        visit: What the server keeps of the visitor.
        memory: What their browser keeps: recipes.
        tabs: The three tabs.
        create: The first.
        edit: The second.
        wall: The third.
    """

    visit: gr.State
    memory: gr.BrowserState
    tabs: gr.Tabs
    create: Create
    edit: Edit
    wall: Wall


def lay_out(model: Model) -> Page:
    """Put every component on the page.

    Args:
        model: Whose sizes and steps the controls offer.

    Returns:
        The components.
    """
    visit = gr.State(Visit())
    memory = gr.BrowserState([], storage_key=MEMORY_KEY, secret=MEMORY_KEY)
    gr.HTML(HEAD)
    with gr.Tabs() as tabs:
        with gr.Tab("Create", id="create"):
            create = _create(model)
        with gr.Tab("Edit", id="edit"):
            edit = _edit()
        with gr.Tab("Wall", id="wall"):
            on_wall = _wall()
    return Page(visit, memory, tabs, create, edit, on_wall)


def _steering(name: str) -> Steering:
    prompt = gr.Textbox(
        label="What it shows",
        placeholder="a wave, a sakura tree, night ...",
        max_length=MAX_PROMPT,
        elem_id=f"{name}-prompt",
    )
    text_scale = _scale("How much it follows the words", DEFAULTS.text_scale, f"{name}-text-scale")
    with gr.Row():
        color_on = gr.Checkbox(True, label="Steer the color", min_width=150, elem_id=f"{name}-on")
        color = gr.ColorPicker(
            FIRST_COLOR, label="Mean color", min_width=150, elem_id=f"{name}-color"
        )
    pigments = []
    with gr.Row(elem_classes="u-chips"):
        for title, value in PIGMENTS.items():
            button = gr.Button(title, size="sm", elem_classes=f"u-chip-{value[1:]}")
            button.click(None, None, [color, color_on], js=f"() => ['{value}', true]")
            pigments.append(button)
    color_scale = _scale(
        "How much it follows the color", DEFAULTS.color_scale, f"{name}-color-scale"
    )
    return Steering(color_on, color, color_scale, prompt, text_scale, pigments)


def _scale(label: str, value: float, name: str) -> gr.Slider:
    return gr.Slider(0, MAX_SCALE, value, step=0.5, label=label, buttons=[], elem_id=name)


def _create(model: Model) -> Create:
    most = min(APP.max_steps, model.num_train_timesteps)
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300, elem_classes="u-panel"):
            steering = _steering("create")
            with gr.Row():
                draw = gr.Button("Draw", variant="primary", elem_id="create-draw", scale=2)
                stop = gr.Button("Stop", elem_id="create-stop", scale=1)
            orientation = gr.Radio(
                list(ORIENTATIONS), value=model.default_orientation, label="Orientation"
            )
            with gr.Row():
                quality = gr.Radio([DRAFT, FINE], value=FINE, label="Quality", min_width=140)
                count = gr.Slider(
                    1, APP.max_count, 1, step=1, label="Pictures", buttons=[], min_width=140,
                    elem_id="create-count",
                )  # fmt: skip
            with gr.Row():
                seed = gr.Textbox(
                    "7", label="Seed", max_length=19, min_width=140, elem_id="create-seed"
                )
                random = gr.Checkbox(
                    True, label="New seed every time", min_width=140, elem_id="create-random"
                )
            with gr.Accordion("Advanced", open=False):
                solver = gr.Dropdown(list(SOLVERS), value=DEFAULTS.solver, label="Solver")
                steps = gr.Slider(
                    1, most, min(most, DEFAULTS.num_inference_steps), step=1, label="Steps",
                    buttons=[], elem_id="create-steps",
                )  # fmt: skip
                encoder = gr.Dropdown(
                    list(TEXT_ENCODERS), value=DEFAULTS.text_encoder, label="Text encoder"
                )
        with gr.Column(scale=7, min_width=300, elem_classes="u-show"):
            told = gr.HTML(status(""), elem_id="create-status", js_on_load=None)
            stage = gr.HTML(
                empty_stage("Choose a color, say what it shows, and draw."),
                elem_id="create-stage", js_on_load=CLICKS,
            )  # fmt: skip
            examples = []
            with gr.Row(elem_classes=["u-chips", "u-examples"]):
                for title, wish in EXAMPLES.items():
                    button = gr.Button(title, size="sm", elem_classes=f"u-chip-{wish[0][1:]}")
                    examples.append((button, wish))
    for button, (value, words, number) in examples:
        button.click(
            None,
            None,
            [steering.color, steering.color_on, steering.prompt, seed, random],
            js=f"() => {json.dumps([value, True, words, str(number), False])}",
        )
    return Create(
        steering, orientation, seed, random, count, quality, solver, steps, encoder, draw, stop,
        told, stage, examples,
    )  # fmt: skip


def _edit() -> Edit:
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300, elem_classes="u-panel"):
            steering = _steering("edit")
            with gr.Row():
                small = gr.Button("Four small variations", size="sm", elem_id="edit-small")
                large = gr.Button("Four large ones", size="sm", elem_id="edit-large")
            with gr.Row():
                undo = gr.Button("Undo", elem_id="edit-undo")
                stop = gr.Button("Stop", elem_id="edit-stop")
        with gr.Column(scale=7, min_width=300, elem_classes="u-show"):
            told = gr.HTML(status(""), elem_id="edit-status", js_on_load=None)
            stage = gr.HTML(
                empty_stage("Pick a picture on Create or on your Wall, then move the controls: "
                            "the same seed is drawn again."),
                elem_id="edit-stage", js_on_load=CLICKS + COMPARE,
            )  # fmt: skip
            strip = gr.HTML("", elem_id="edit-strip", js_on_load=CLICKS)
    return Edit(steering, small, large, undo, stop, told, stage, strip)


def _wall() -> Wall:
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            pictures = gr.HTML(wall((), ()), elem_id="wall-pictures", js_on_load=CLICKS)
        with gr.Column(scale=4, min_width=300, elem_classes=["u-show", "u-panel"]):
            told = gr.HTML(status(""), elem_id="wall-status", js_on_load=None)
            detail = gr.HTML("", elem_id="wall-detail", js_on_load=CLICKS + COMPARE)
            compare = gr.Checkbox(
                False, label="Compare the last two you picked", elem_id="wall-compare"
            )
            with gr.Row():
                reuse = gr.Button("Use its controls", size="sm", elem_id="wall-reuse")
                redraw = gr.Button("Draw it again", size="sm", elem_id="wall-redraw")
                delete = gr.Button("Delete", size="sm", elem_id="wall-delete")
            pack = gr.Button("Zip of all, with recipes", size="sm", elem_id="wall-zip")
            zip_file = gr.DownloadButton("zip", visible="hidden", elem_id="wall-zip-file")
            drop = gr.File(
                label="Drop a PNG of ours to get its controls back",
                file_types=[".png"], height=180, elem_id="wall-drop",
            )  # fmt: skip
    return Wall(pictures, told, detail, compare, reuse, redraw, delete, pack, zip_file, drop)
