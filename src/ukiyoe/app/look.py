"""The look: washi paper, indigo, beni. Theme, CSS and what `launch` takes, in one place.

System fonts only: the page makes no request to any host but its own.
"""

from typing import Any

import gradio as gr

from ukiyoe.app.controls import EXAMPLES, PIGMENTS
from ukiyoe.settings import APP

SERIF = ("Iowan Old Style", "Palatino Linotype", "Palatino", "Noto Serif", "Georgia", "serif")
SANS = ("Optima", "Avenir Next", "Segoe UI", "Noto Sans", "DejaVu Sans", "sans-serif")

INDIGO = gr.themes.Color(
    c50="#eef2f6", c100="#d9e2eb", c200="#b4c5d7", c300="#89a3bf", c400="#5c7fa4", c500="#3a6188",
    c600="#1f4e79", c700="#1a4166", c800="#163452", c900="#12283e", c950="#0c1b2a", name="indigo",
)  # fmt: skip
PAPER = gr.themes.Color(
    c50="#fbf8f1", c100="#f5efe2", c200="#e9dfcb", c300="#d6c8ac", c400="#a8987c", c500="#7c6e57",
    c600="#655946", c700="#4a4134", c800="#2e2922", c900="#1f1c18", c950="#161412", name="paper",
)  # fmt: skip


def theme() -> gr.themes.Base:
    """Washi, sumi and indigo; light and dark."""
    base = gr.themes.Base(
        primary_hue=INDIGO,
        secondary_hue=INDIGO,
        neutral_hue=PAPER,
        radius_size=gr.themes.sizes.radius_sm,
        spacing_size=gr.themes.sizes.spacing_lg,
        font=SANS,
        font_mono=("ui-monospace", "DejaVu Sans Mono", "monospace"),
    )
    return base.set(
        body_background_fill="#f3ecdc",
        body_background_fill_dark="#1a1816",
        body_text_color="#2b2723",
        body_text_color_dark="#ece4d4",
        body_text_color_subdued="#655946",
        body_text_color_subdued_dark="#b8ab95",
        background_fill_primary="#fbf8f1",
        background_fill_primary_dark="#24211d",
        background_fill_secondary="#f5efe2",
        background_fill_secondary_dark="#1f1c18",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_shadow="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_text_color="#4a4134",
        block_label_text_color_dark="#d6c8ac",
        block_title_text_color="#4a4134",
        block_title_text_color_dark="#d6c8ac",
        block_info_text_color="#655946",
        block_info_text_color_dark="#b8ab95",
        input_background_fill="#fbf8f1",
        input_background_fill_dark="#24211d",
        input_border_color="#d6c8ac",
        input_border_color_dark="#4a4134",
        input_placeholder_color="#7c6e57",
        input_placeholder_color_dark="#a8987c",
        border_color_primary="#d6c8ac",
        border_color_primary_dark="#4a4134",
        button_primary_background_fill="#1f4e79",
        button_primary_background_fill_hover="#163452",
        button_primary_background_fill_dark="#3a6188",
        button_primary_background_fill_hover_dark="#5c7fa4",
        button_primary_text_color="#fbf8f1",
        button_primary_text_color_dark="#ffffff",
        button_border_width="1px",
        button_border_width_dark="1px",
        button_primary_border_color="#1f4e79",
        button_primary_border_color_dark="#3a6188",
        button_secondary_background_fill="transparent",
        button_secondary_background_fill_dark="transparent",
        button_secondary_background_fill_hover="#e9dfcb",
        button_secondary_background_fill_hover_dark="#2e2922",
        button_secondary_border_color="#a8987c",
        button_secondary_border_color_dark="#7c6e57",
        button_secondary_text_color="#2b2723",
        button_secondary_text_color_dark="#ece4d4",
        slider_color="#1f4e79",
        slider_color_dark="#89a3bf",
        checkbox_background_color_selected="#1f4e79",
        checkbox_label_background_fill="transparent",
        checkbox_label_background_fill_dark="transparent",
        checkbox_label_background_fill_selected="#d9e2eb",
        checkbox_label_background_fill_selected_dark="#163452",
        checkbox_label_text_color_selected="#12283e",
        checkbox_label_text_color_selected_dark="#eef2f6",
        error_text_color="#8f2a3d",
    )


CHIPS = "".join(
    f".u-chips button.u-chip-{color[1:]}::before {{ --chip: {color}; }}\n"
    for color in {*PIGMENTS.values(), *(color for color, _, _ in EXAMPLES.values())}
)

CSS = f"""
:root {{ --u-serif: {", ".join(f"'{name}'" if " " in name else name for name in SERIF)};
  --u-paper: #fbf8f1; --u-ink: #2b2723; --u-soft: #655946; --u-line: #d6c8ac;
  --u-indigo: #1f4e79; --u-beni: #b02a45; --u-shade: 43, 34, 20; }}
.dark {{ --u-paper: #24211d; --u-ink: #ece4d4; --u-soft: #b8ab95; --u-line: #4a4134;
  --u-indigo: #89a3bf; --u-beni: #e0788c; --u-shade: 0, 0, 0; }}
.gradio-container {{ max-width: 1320px !important; width: 100% !important;
  margin: 0 auto !important; }}
.u-head {{ display: flex; align-items: baseline; gap: 1rem; padding: .6rem 0 0; }}
.u-head h1 {{ font: 500 2.3rem/1 var(--u-serif); letter-spacing: .01em; margin: 0;
  color: var(--u-ink); }}
.u-head h1::after {{ content: ""; display: inline-block; width: .62rem; height: .62rem;
  margin-left: .35rem; background: var(--u-beni); border-radius: 1px; transform: rotate(-4deg); }}
.u-head p {{ margin: 0; color: var(--u-soft); font: italic 1.05rem var(--u-serif); }}
.tab-container button {{ font: 500 1.1rem var(--u-serif) !important; }}
.tab-container button.selected {{ color: var(--u-ink) !important; }}
.tab-container button.selected::after {{ background: var(--u-beni) !important; }}
.gradio-container main, .gradio-container .column {{ width: 100%; }}
.u-panel {{ gap: .5rem !important; }}
.u-panel .row {{ gap: .8rem !important; }}
.gradio-container .form {{ background: transparent !important; border: 0 !important;
  gap: .5rem !important; box-shadow: none !important; }}
.u-panel .block {{ padding: .25rem 0 !important; }}
.u-panel button {{ padding-top: .5rem; padding-bottom: .5rem; font-weight: 500; }}
.u-show {{ gap: .9rem !important; }} .u-show .block {{ padding: 0 !important; }}
.u-panel .row.u-chips, .u-chips {{ display: flex; flex-wrap: wrap !important;
  gap: .35rem !important; }}
.u-chips button {{ flex: 0 0 auto !important; width: auto; min-width: 0 !important;
  min-height: 36px; padding: .3rem .65rem !important; font-size: .84rem;
  font-weight: 400; border-radius: 99px; }}
.u-chips button::before {{ content: ""; display: inline-block; width: 1rem; height: 1rem;
  border-radius: 50%; margin-right: .4rem; vertical-align: -.2rem; background: var(--chip, none);
  box-shadow: inset 0 0 0 1px rgba(0, 0, 0, .2); }}
.u-examples button::before {{ border-radius: 2px; width: .75rem; }}
.u-label {{ color: var(--u-soft); font-size: .9rem; }}
.u-empty {{ min-height: min(58vh, 560px); display: flex; flex-direction: column; gap: 1.2rem;
  align-items: center; justify-content: center; color: var(--u-soft); text-align: center;
  border: 1px solid var(--u-line); padding: 2rem; background: var(--u-paper); }}
.u-empty svg {{ width: min(240px, 60%); color: var(--u-indigo); opacity: .75; }}
.u-empty p {{ font: italic 1.1rem var(--u-serif); max-width: 26em; margin: 0; }}
.u-stage {{ display: grid; gap: 1.8rem 1.6rem; align-items: start; justify-items: center; }}
.u-many {{ grid-template-columns: repeat(auto-fill, minmax(min(100%, 250px), 1fr)); }}
.u-stage figure {{ margin: 0; width: 100%; }}
.u-print {{ display: block; background: var(--u-paper); box-sizing: border-box;
  border: 1px solid rgba(var(--u-shade), .35); box-shadow: 0 1px 2px rgba(var(--u-shade), .25),
  0 10px 28px rgba(var(--u-shade), .18); margin: 0 !important; object-fit: contain; }}
.u-stage .u-print {{ width: 100%; height: auto; }}
.u-one .u-print, .u-over .u-print {{ height: auto;
  width: min(100%, calc(var(--tall) * var(--aspect))); }}
.u-stage, .u-compare {{ --tall: min(66vh, 700px); }}
.u-one figure, .u-compare {{ width: 100%; }}
.u-one figure > .u-print {{ margin: 0 auto !important; }}
.u-one figcaption, .u-compare figcaption {{ margin: 0 auto;
  width: min(100%, max(calc(var(--tall) * 2 / 3), 16rem)); }}
.u-blank {{ background: linear-gradient(160deg, var(--u-paper), var(--wish, transparent) 240%);
  display: block; }}
.u-portrait {{ --aspect: 2 / 3; }} .u-landscape {{ --aspect: 3 / 2; }} .u-square {{ --aspect: 1; }}
.u-print.u-portrait, .u-print.u-landscape, .u-print.u-square {{ aspect-ratio: auto var(--aspect); }}
.u-forming img {{ opacity: .96; }}
.u-stage figcaption, .u-compare figcaption {{ display: flex; flex-direction: column;
  gap: .3rem; padding-top: .8rem; font-size: .9rem; color: var(--u-soft); max-width: 34rem; }}
.u-recipe {{ color: var(--u-ink); overflow-wrap: anywhere; }}
.u-actions {{ display: flex; flex-wrap: wrap; gap: .5rem; padding-top: .5rem; }}
.u-button {{ display: inline-block; min-height: 36px; padding: .4rem .9rem; font: inherit;
  color: var(--u-ink) !important; background: none; border: 1px solid var(--u-soft);
  border-radius: 4px; text-decoration: none !important; cursor: pointer; }}
.u-button:hover {{ background: rgba(var(--u-shade), .1); }}
.u-primary {{ background: var(--u-indigo); border-color: var(--u-indigo);
  color: #fbf8f1 !important; }}
.dark .u-primary {{ color: #161412 !important; }}
.u-primary:hover {{ background: #163452; }} .dark .u-primary:hover {{ background: #b4c5d7; }}
.u-button:focus-visible, .u-card:focus-visible, .u-range input:focus-visible {{
  outline: 3px solid var(--u-beni); outline-offset: 2px; }}
.u-status {{ min-height: 1.5rem; font: italic 1rem var(--u-serif); color: var(--u-soft); }}
.u-bar {{ height: 2px; background: var(--u-line); margin-top: .4rem; }}
.u-bar span {{ display: block; height: 100%; background: var(--u-beni);
  transition: width .15s linear; }}
.u-wall {{ display: grid; gap: 1.2rem; align-items: center;
  grid-template-columns: repeat(auto-fill, minmax(118px, 1fr)); }}
.u-strip {{ display: flex; gap: .8rem; overflow-x: auto; padding: .6rem .3rem; }}
.u-card {{ padding: 0; border: 0; background: none; cursor: pointer; min-width: 0; }}
.u-strip .u-card {{ flex: 0 0 76px; }}
.u-card .u-print {{ width: 100%; height: auto; box-shadow: 0 2px 8px rgba(var(--u-shade), .2); }}
.u-card .u-blank {{ height: auto; }}
.u-card[aria-pressed=true] .u-print {{ outline: 3px solid var(--u-beni); outline-offset: 3px; }}
.u-over, .u-range {{ width: min(100%, calc(var(--tall) * var(--aspect))); margin: 0 auto; }}
.u-over {{ position: relative; }}
.u-over .u-print {{ width: 100%; }}
.u-over > .u-before {{ position: absolute; inset: 0;
  clip-path: inset(0 calc(100% - var(--cut, 50%)) 0 0); }}
.u-over .u-before .u-print {{ box-shadow: none; height: 100%; width: 100%; }}
.u-over::after {{ content: ""; position: absolute; top: 0; bottom: 0; left: var(--cut, 50%);
  width: 2px; background: var(--u-beni); }}
.u-range {{ display: flex; gap: .8rem; align-items: center; padding: .8rem 0 0;
  color: var(--u-soft); }}
.u-range input {{ flex: 1; min-width: 0; accent-color: var(--u-beni); height: 24px; }}
{CHIPS}
@media (max-width: 640px) {{
  .gradio-container {{ padding: 0 14px !important; }}
  .u-head {{ flex-direction: column; gap: .4rem; padding-top: 1rem; }}
  .u-head h1 {{ font-size: 1.9rem; }}
  .u-empty {{ min-height: 240px; }}
}}
@media (prefers-reduced-motion: reduce) {{ .u-bar span {{ transition: none; }} }}
"""

# Everything `Blocks.launch` takes that is the same wherever the app is served; tests use it too.
LAUNCH_OPTIONS: dict[str, Any] = {
    "theme": theme(),
    "css": CSS,
    "footer_links": ["api"],
    "run_history": False,  # recipes are kept by us, pictures by nobody
    "enable_monitoring": False,
    "ssr_mode": False,  # needs Node
    "show_error": False,  # our own errors say what is wrong; a bug's traceback stays here
    "state_session_capacity": APP.max_visitors,
    "max_file_size": APP.max_upload,
    "quiet": True,
}
